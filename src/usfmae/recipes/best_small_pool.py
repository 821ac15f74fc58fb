"""What a few thousand images are best used for here: EfficientNet-Lite0 goes gently on from ImageNet, 128 px.

Cost: about 75 s per epoch of 2,500 images on one core (35 images/s in fp32), 4 GB.
Expect: fine-tuned with a tenth of the labels, .05 (BUS-BRA) and .11 (MMOTU-2D) macro-F1 ahead of a ViT-Ti
after plain MAE for the same time, .04 and .06 ahead of the same network as ImageNet left it (in AUROC .04
behind and .03 ahead; docs/results/pretraining.md, "Beyond pixels"). Frozen, ImageNet's own are better.
Run:  usfmae pretrain best_small_pool --corpus corpora/mine --out runs/best --weights imagenet

`sparse_cnn_cpu` at two fifths of its rate, lower layers slower still, and with views as evaluation shows
images: upright, smooth, hardly cropped. Most of its gain is the moments of batch norms, which are taken over
whole images of the pool at the end. For ultrasound alone from the first pixel: `vit_ti16_cpu`.
"""

from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.pretrain.config import PretrainConfig, WatchConfig
from usfmae.recipes import sparse_cnn_cpu


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return sparse_cnn_cpu.recipe().model_copy(
        update={
            "augment": AugmentConfig(scale=(0.6, 1.0), rotate_deg=(-10.0, 10.0)),
            "optim": OptimConfig(
                lr_per_256=8e-4, betas=(0.9, 0.95), layer_decay=0.8, weight_decay=0.05, warmup_epochs=1.2
            ),
            "loop": LoopConfig(checkpoint_steps=100, log_steps=10),
            "watch": WatchConfig(every_epochs=3),
            "global_batch": 64,
            "epochs": 12.0,
        }
    )
