"""ViT-Ti/16 at 64 px: a smoke run, not science.

Cost: about 20 s on 2 CPU cores for 1,000 images. Expect: loss falls from about 1.0 to below 0.9.
Run:  usfmae pretrain tiny_cpu --corpus corpora/mine --out runs/tiny
"""

from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.models.mae import DecoderConfig, MaeConfig
from usfmae.models.vit import ViTConfig
from usfmae.pretrain.config import PretrainConfig, WatchConfig


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return PretrainConfig(
        model=MaeConfig(
            encoder=ViTConfig(size="ti", image_px=64),
            decoder=DecoderConfig(dim=96, num_layers=1, num_heads=3),
        ),
        optim=OptimConfig(lr_per_256=1.5e-3, warmup_epochs=1),  # 5 epochs are too few for the usual 40
        loop=LoopConfig(checkpoint_steps=50, log_steps=5),
        watch=WatchConfig(every_epochs=1),
        global_batch=64,
        epochs=5,
    )
