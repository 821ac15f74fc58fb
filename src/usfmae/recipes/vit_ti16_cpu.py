"""ViT-Ti/16 at 128 px on CPU cores: the smallest run whose encoder is worth fine-tuning.

Cost: about 4 minutes per 10 epochs of 6,200 images on 2 cores with bf16 (250 images/s), under 2 GB.
Expect: ahead of the same network from scratch; docs/results/journey.md has the numbers with intervals.
Run:  usfmae pretrain vit_ti16_cpu --corpus corpora/mine --out runs/ti

Settings: grey, 75 % hidden, normalised pixels, a light decoder (192 wide, 2 blocks), the paper's views
(docs/results/pretraining.md says why), batch 128 at a rate of 1e-3.
"""

from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import PAPER_VIEWS
from usfmae.models.mae import DecoderConfig, MaeConfig
from usfmae.models.vit import ViTConfig
from usfmae.pretrain.config import PretrainConfig, WatchConfig


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return PretrainConfig(
        model=MaeConfig(
            encoder=ViTConfig(size="ti", image_px=128),
            decoder=DecoderConfig(dim=192, num_layers=2, num_heads=6),
        ),
        augment=PAPER_VIEWS,
        optim=OptimConfig(lr_per_256=2e-3, warmup_epochs=5),
        loop=LoopConfig(checkpoint_steps=200, log_steps=10),
        watch=WatchConfig(every_epochs=5),
        global_batch=128,
        epochs=80,
    )
