"""ViT-S/16 at 224 px on one consumer GPU with 12 GB.

Cost: estimated, not run: 10 GFLOP an image; at a third of 160 TFLOP/s (bf16, a card like the RTX 4090) some
5,000 images/s, so 100 epochs of 100,000 images in about 35 minutes; about 8 GB at 512 images. A card that has
less takes `--set loop.accumulate=2`.
Expect: not measured yet.
Run:  usfmae pretrain vit_s16_1gpu --corpus corpora/mine --out runs/s --device cuda

Settings: MAE's own (He et al. 2022, table 8) with a lighter decoder, 256 wide with 4 blocks: with the paper's
decoder a step of this encoder would cost 3.6 times as much, nearly all of it thrown away.
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
            encoder=ViTConfig(size="s", image_px=224),
            decoder=DecoderConfig(dim=256, num_layers=4, num_heads=8),
        ),
        optim=OptimConfig(lr_per_256=1.5e-4, warmup_epochs=20),
        loop=LoopConfig(checkpoint_steps=1000, log_steps=50),
        watch=WatchConfig(every_epochs=10),
        global_batch=512,
        epochs=200,
        workers=6,
    )
