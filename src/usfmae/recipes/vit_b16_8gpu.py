"""ViT-B/16 at 224 px on eight GPUs: MAE's own batch of 4,096.

Cost: estimated, not run: 57 GFLOP an image; at 45 % of 700 TFLOP/s and nine tenths of eight cards some 40,000
images/s, so 400 epochs of 360,000 images in about an hour. Each process makes 5,000 views/s, one or two cores
each, or none where views are made on the GPU (`augment_on`, the default there).
Expect: not measured yet.
Run:  torchrun --standalone --nproc-per-node 8 -m \\
          usfmae pretrain vit_b16_8gpu --corpus corpora/openus46 --out runs/b8

Settings: those of `vit_b16_1gpu`, 512 images a card. A smaller pool has few steps in an epoch at this batch:
below 50,000 images take a smaller one.
"""

from usfmae.pretrain.config import PretrainConfig
from usfmae.recipes import vit_b16_1gpu


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return vit_b16_1gpu.recipe().model_copy(update={"global_batch": 4096})
