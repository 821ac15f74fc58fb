"""Every knob of fine-tuning."""

from pydantic import Field

from usfmae.engine.ema import EmaConfig
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.method_config import EncoderUseConfig
from usfmae.evaluate.start import Weights
from usfmae.models.classifier import HeadNorm
from usfmae.models.encoders import CNN_NAMES, EncoderName


class FinetuneConfig(EncoderUseConfig):
    """A ViT with a linear classifier, trained whole on each split.

    The defaults suit pretrained transformers; `finetune_defaults` gives those of other networks and starts.
    """

    head_norm: HeadNorm = "batch"
    """What the pooled vector passes before the classifier: a batch norm without parameters, as in MAE's
    linear probe (docs/results/benchmarks.md, "The recipe", says what it is worth), or nothing."""

    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance to skip the last block; falls linearly to 0 at the first."""

    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Probability spread over all classes."""

    mixup: float = Field(default=0.0, ge=0)
    """Alpha of mixup: images of a batch are laid over each other in shares drawn from Beta(alpha, alpha), and
    so are their labels; 0 for none. 0.2 on ImageNet in the paper, 0.8 in MAE's recipe for fine-tuning."""

    ema: EmaConfig = EmaConfig()
    """A moving average of all weights, which is tested and kept in their place; off by default."""

    moment_images: int = Field(default=0, ge=0)
    """Training views over which the running moments of batch norms are taken anew when training has ended;
    0 leaves them as the last steps left them. What it is worth: docs/results/benchmarks.md, "The recipe".
    With `ema` a convolutional network needs it: the moments are of the weights, not of their average."""

    balanced: bool = True
    """Weigh each class by the inverse of its number of images, as macro-F1 does."""

    augment: AugmentConfig = AugmentConfig(scale=(0.6, 1.0))
    """Crops milder than in pretraining, so that the lesion stays in; mirror images."""

    optim: OptimConfig = OptimConfig(
        lr_per_256=1.6e-3,
        head_lr_ratio=20.0,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        warmup_epochs=3.0,
    )
    """AdamW; 1.6e-3 per 256 is 1e-4 at a batch of 16. The warm-up takes at most a tenth of the epochs. There
    is no layer decay: after little pretraining lower layers have to learn, too; large networks want .65."""

    loop: LoopConfig = LoopConfig(checkpoint_steps=200, keep_checkpoints=1)
    """Precision, accumulation, checkpoints."""

    epochs: float = Field(default=30.0, gt=0)
    """Times that each training image is seen. Fixed: the last weights are tested, not the best ones."""

    batch: int = Field(default=16, ge=1)
    """Images per step. With a few hundred labels many small steps do better than few large ones
    (docs/results/benchmarks.md, "The recipe")."""

    mirror_test: bool = False
    """Test on the mean of each image and its mirror image."""

    watch_epochs: float = Field(default=5.0, gt=0)
    """Epochs between looks at the validation images, for the curve in the report."""

    seed: int = Field(default=0, ge=0)
    """Of the start, the order, the crops and the skipped blocks; the splits have their own."""

    def model_post_init(self, _context: object) -> None:
        at_once = self.batch // self.loop.accumulate
        if self.head_norm == "batch" and at_once < 2:
            raise ValueError(
                f"head_norm=batch takes the mean and spread of the images in memory at once, here {at_once}; "
                "use a larger batch, fewer parts (loop.accumulate), or head_norm=none"
            )


CNN_LR_PER_256 = 8e-3
"""Convolutional networks learn at a higher rate: 5e-4 at a batch of 16."""

SCRATCH_VIT_LR_PER_256 = 4.8e-3
"""And so do transformers without pretraining: 3e-4 at a batch of 16."""


def finetune_defaults(weights: Weights, encoder: EncoderName = "vit") -> FinetuneConfig:
    """What to start from: as chosen on validation images (docs/results/benchmarks.md, "The recipe").

    Args:
        weights: from a random start a transformer gets a higher rate, a convolutional network half of it.
        encoder: convolutional networks get a higher rate than transformers, the same for the classifier, and
            no batch norm before it, which they have inside.
    """
    scratch, cnn = weights == "scratch", encoder in CNN_NAMES
    plain = FinetuneConfig()
    optim: dict[str, float] = {}
    if cnn:
        optim = {"lr_per_256": CNN_LR_PER_256 / (2 if scratch else 1), "head_lr_ratio": 1.0}
    elif scratch:
        optim = {"lr_per_256": SCRATCH_VIT_LR_PER_256, "head_lr_ratio": 10.0}
    changes = {"optim": plain.optim.model_copy(update=optim), **({"head_norm": "none"} if cnn else {})}
    return plain.model_copy(update=changes)
