"""EfficientNet-Lite0 at 128 px on CPU cores: a convolutional network goes on from ImageNet with ultrasound.

Cost: about 2 minutes per epoch of 6,200 images on 2 cores (some 25 images/s a core in fp32).
Expect: not measured yet.
Run:  usfmae pretrain sparse_cnn_cpu --corpus corpora/mine --out runs/cnn --weights imagenet

SparK (Tian et al. 2023): 60 % of the patches of 32 px hidden from every layer, normalised pixels, a UNet
decoder 128 wide. SparK trains from scratch with LAMB at 2e-4 per 256 and batches of 4,096; here it is AdamW
at 1e-3 for batches of 128, and lower layers, which know their edges already, learn more slowly. Without
--weights it starts at random, and then wants more epochs and one rate for all layers (`--set
optim.layer_decay=1 --set epochs=200`). Mean and deviation are those of the ImageNet weights, whose three
channels then fold into one exactly.
"""

from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import PAPER_VIEWS
from usfmae.models.sparse_cnn import SparseCnnConfig
from usfmae.pretrain.config import PretrainConfig, WatchConfig


def recipe() -> PretrainConfig:
    """The settings of this run."""
    return PretrainConfig(
        model=SparseCnnConfig(),
        mean=(127 / 255,),
        std=(128 / 255,),
        augment=PAPER_VIEWS,
        optim=OptimConfig(
            lr_per_256=2e-3, betas=(0.9, 0.95), layer_decay=0.9, weight_decay=0.05, warmup_epochs=2
        ),
        loop=LoopConfig(checkpoint_steps=200, log_steps=10),
        watch=WatchConfig(every_epochs=5),
        global_batch=128,
        epochs=30,
    )
