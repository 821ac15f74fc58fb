"""Every knob of segmentation."""

from pydantic import Field

from usfmae.base.config import Config
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.segment_task import SegmentTaskConfig
from usfmae.evaluate.start import Use
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.models.vit import ViTConfig


class SegmentConfig(Config):
    """An encoder with a light decoder, trained whole on each split.

    The defaults suit pretrained weights; `scratch_segment_config` gives those of a random start.
    """

    task: SegmentTaskConfig = SegmentTaskConfig()
    """Which images are learnt from and which are tested."""

    bootstrap: BootstrapConfig = BootstrapConfig()
    """Intervals."""

    use: Use = "research"
    """What the result is for: "commercial" refuses weights whose licence does not allow it."""

    network: ViTConfig = ViTConfig(size="ti", image_px=128)
    """Shape of a random start; weights bring their own."""

    image_px: int | None = Field(default=None, ge=8)
    """Input side in pixels; None for that of the weights. Finer maps need a larger one."""

    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Chance to skip the last block; falls linearly to 0 at the first."""

    dice_weight: float = Field(default=1.0, ge=0)
    """Of the soft Dice loss beside the cross-entropy; 1 as in nnU-Net (Isensee et al. 2021)."""

    augment: AugmentConfig = AugmentConfig(scale=(0.5, 1.0))
    """Crops and mirror images, the same for image and label map; the look changes the image alone."""

    optim: OptimConfig = OptimConfig(
        lr_per_256=8e-3, betas=(0.9, 0.999), layer_decay=0.9, weight_decay=0.05, warmup_epochs=3.0
    )
    """AdamW; 8e-3 per 256 is 1e-3 at a batch of 32. The warm-up takes at most a tenth of the epochs."""

    loop: LoopConfig = LoopConfig(checkpoint_steps=200, keep_checkpoints=1)
    """Precision, accumulation, checkpoints."""

    epochs: float = Field(default=30.0, gt=0)
    """Times that each training image is seen. Fixed: the last weights are tested, not the best ones."""

    batch: int = Field(default=32, ge=1)
    """Images per step."""

    mirror_test: bool = False
    """Test on the mean of each image and its mirror image."""

    min_area_ratio: float = Field(default=1e-3, ge=0, lt=1)
    """Predicted parts that cover less of the picture are no instances. On the 1,499 label maps of BUS-BRA
    and the 1,000 of MMOTU-2D here the smallest part covers 0.0057."""

    watch_epochs: float = Field(default=5.0, gt=0)
    """Epochs between looks at the validation images, for the curve in the report."""

    seed: int = Field(default=0, ge=0)
    """Of the start, the order, the crops and the skipped blocks; the splits have their own."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""


def scratch_segment_config() -> SegmentConfig:
    """The defaults of a random start: half the learning rate, the same in every layer, as in fine-tuning."""
    plain = SegmentConfig()
    optim = plain.optim.model_copy(update={"lr_per_256": 4e-3, "layer_decay": 1.0})
    return plain.model_copy(update={"optim": optim})
