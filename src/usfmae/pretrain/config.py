"""Every knob of a pretraining run."""

from typing import Literal

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.input_spec import GREY_MEAN, GREY_STD, InputSpec
from usfmae.corpus.balance import BalanceConfig
from usfmae.engine.devices import AugmentPlace
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.models.mae import MaeConfig


class WatchConfig(Config):
    """What is looked at while a run goes on."""

    every_epochs: float = Field(default=5.0, gt=0)
    """Epochs between pictures and between live evaluations."""

    num_pictures: int = Field(default=8, ge=0)
    """Images shown as visible / reconstructed / original."""


class PretrainConfig(Config):
    """Masked-autoencoder pretraining of one network on one corpus."""

    model: MaeConfig = MaeConfig()
    """Encoder, decoder, what is hidden and what is predicted."""

    mean: tuple[float, ...] = (GREY_MEAN,)
    """Standardisation of pixels in [0, 1]: mean, one value or one per channel."""

    std: tuple[float, ...] = (GREY_STD,)
    """Standardisation of pixels in [0, 1]: standard deviation."""

    augment: AugmentConfig = AugmentConfig()
    """Random crops, flips and changes of brightness."""

    augment_on: AugmentPlace = "auto"
    """Where views are made: with OpenCV on the "cpu", in batches on the "device", or "auto": on a GPU if it
    trains there. Both make the same views to about one grey level."""

    balance: BalanceConfig = BalanceConfig()
    """How often images of large sources and long clips are drawn."""

    optim: OptimConfig = OptimConfig()
    """Optimiser and learning rate."""

    loop: LoopConfig = LoopConfig()
    """Precision, accumulation, checkpoints."""

    watch: WatchConfig = WatchConfig()
    """Pictures and live evaluation."""

    global_batch: int = Field(default=256, ge=1)
    """Images per optimiser step, over all devices."""

    epochs: float = Field(default=400.0, gt=0)
    """Times that each image is seen; on average over the pool where it is balanced."""

    seed: int = Field(default=0, ge=0)
    """With the settings and the corpus it decides every number of the run."""

    workers: int = Field(default=0, ge=0)
    """Processes that prepare batches ahead; the batches are the same whatever the number."""

    demand: tuple[Literal["commercial", "share", "derivatives"], ...] = ()
    """What the licences of the whole pool must allow; a run on another pool is refused."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""

    def model_post_init(self, _context: object) -> None:
        if isinstance(self.model.encoder.image_px, tuple):
            raise ValueError("model.encoder.image_px: pretraining takes square images")
        self.input_spec  # noqa: B018  (refuses a mean or std that does not fit the channels)

    @property
    def input_spec(self) -> InputSpec:
        """What the encoder will want to see, but for `fit` and `crop`, which are the corpus's."""
        encoder = self.model.encoder
        return InputSpec(
            image_px=encoder.image_size_px[0], channels=encoder.channels, mean=self.mean, std=self.std
        )
