"""ViT-S/16 at 128 px on CPU cores: for a night, not for a coffee.

Cost: about 10 minutes per 10 epochs of 6,200 images on 2 cores with bf16 (100 images/s), under 2.5 GB.
Expect: needs more epochs than ViT-Ti before it pays; start there.
Run:  usfmae pretrain vit_s16_cpu --corpus corpora/mine --out runs/s
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
            encoder=ViTConfig(size="s", image_px=128),
            decoder=DecoderConfig(dim=192, num_layers=2, num_heads=6),
        ),
        augment=PAPER_VIEWS,
        optim=OptimConfig(lr_per_256=1.5e-3, warmup_epochs=10),
        loop=LoopConfig(checkpoint_steps=200, log_steps=10),
        watch=WatchConfig(every_epochs=10),
        global_batch=128,
        epochs=200,
    )
