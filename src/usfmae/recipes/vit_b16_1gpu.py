"""ViT-B/16 at 224 px on one large GPU: the network of the paper with MAE's own settings, grey, from scratch.

Cost: estimated, not run: 57 GFLOP an image; at 45 % of an H200's 700 TFLOP/s (bf16) some 5,500 images/s, so
400 epochs of 360,000 images in about 7 hours; `benchmarks/gpu.sh` holds the run that will say.
Expect: not measured yet.
Run:  usfmae pretrain vit_b16_1gpu --corpus corpora/mine --out runs/b --device cuda

Settings: He et al. 2022, table 8 (base rate 1.5e-4 per 256, weight decay .05, betas .9 and .95, 40 epochs
of warm-up, normalised pixels), with the physically sensible augmentation of this package.
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
            encoder=ViTConfig(size="b", image_px=224),
            decoder=DecoderConfig(dim=512, num_layers=8, num_heads=16),
        ),
        optim=OptimConfig(lr_per_256=1.5e-4, warmup_epochs=40),
        loop=LoopConfig(checkpoint_steps=2000, log_steps=50),
        watch=WatchConfig(every_epochs=20),
        global_batch=512,
        epochs=400,
        workers=8,
    )
