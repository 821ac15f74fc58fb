"""The paper's own settings (Megahed et al., arXiv 2510.22990, its notebook), weak points included.

Cost: the paper trained on one GPU; not measured here yet (`benchmarks/gpu.sh`).
Expect: the paper reports no pretraining loss.
Run:  usfmae pretrain usfmae_paper --corpus corpora/openus46 --out runs/paper \\
          --weights mae_pretrain_vit_base_full.pth

MAE ViT-B/16 at 224 px, three channels with ImageNet's mean and deviation, decoder 512 wide with 8 blocks
and 16 heads, plain pixels, 75 % hidden; AdamW with default betas, base rate 3e-4 times 128/256 at a batch
of 64, weight decay .01, clip 1.0; 100 epochs, half a cosine down to 1e-5 after 10 % of warm-up; bf16. Its
start is the ImageNet MAE checkpoint of He et al. (CC BY-NC), given by `--weights`. Augmentation: rotation
by 0 to 90 degrees, flips both ways, random resized crop with scale (0.5, 2.0), nearest neighbour.

One thing differs: a corpus keeps the aspect ratio, where the notebook squeezes images to a square.
"""

from usfmae.base.input_spec import IMAGENET_INPUT
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import PAPER_VIEWS
from usfmae.models.mae import DecoderConfig, MaeConfig
from usfmae.models.vit import ViTConfig
from usfmae.pretrain.config import PretrainConfig

PEAK_LR = 3e-4 * 128 / 256
"""The notebook scales by 128/256 although its batch is 64."""

BATCH = 64


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return PretrainConfig(
        model=MaeConfig(
            encoder=ViTConfig(size="b", image_px=224, channels=3),
            decoder=DecoderConfig(dim=512, num_layers=8, num_heads=16),
            hide_ratio=0.75,
            normalised_pixels=False,
        ),
        mean=IMAGENET_INPUT.mean,
        std=IMAGENET_INPUT.std,
        augment=PAPER_VIEWS,
        optim=OptimConfig(
            lr_per_256=PEAK_LR * 256 / BATCH,
            floor_lr_per_256=1e-5 * 256 / BATCH,
            weight_decay=0.01,
            betas=(0.9, 0.999),
            clip_norm=1.0,
            warmup_epochs=10,
        ),
        loop=LoopConfig(precision="bf16", checkpoint_steps=2000, log_steps=50),
        global_batch=BATCH,
        epochs=100,
        workers=4,
    )
