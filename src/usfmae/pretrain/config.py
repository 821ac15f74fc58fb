"""Every knob of a pretraining run."""

from typing import Literal

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.input_spec import GREY_MEAN, GREY_STD, InputSpec, height_width
from usfmae.corpus.balance import BalanceConfig
from usfmae.engine.devices import AugmentPlace
from usfmae.engine.ema import EmaConfig
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.models.mae import MaeConfig
from usfmae.models.masked_models import AnyMaskedConfig
from usfmae.models.sparse_cnn import SparseCnnConfig
from usfmae.pretrain.replay import ReplayConfig


class WatchConfig(Config):
    """What is looked at while a run goes on."""

    every_epochs: float = Field(default=5.0, gt=0, le=1e6)
    """Epochs between pictures and between live evaluations."""

    num_pictures: int = Field(default=8, ge=0)
    """Images shown as visible / reconstructed / original."""

    utilisation: bool = True
    """Log `mfu`: the share of the device's matmul rate, measured at the start in about a second."""

    spike_factor: float | None = Field(default=3.0, gt=1)
    """A loss above this multiple of the running median is logged, its batch kept in spikes/; None: never."""


class ResolutionConfig(Config):
    """A first part of the run at a smaller size, where a step costs less."""

    start_px: int | tuple[int, int] | None = None
    """Side, or (height, width), of the images of the first part; None for one size throughout."""

    start_ratio: float = Field(default=0.5, gt=0, lt=1)
    """Share of the steps that the first part takes, rounded to a step."""

    def size_px(self, step: int, *, total_steps: int, final_px: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the images of a step, counted from 0."""
        if self.start_px is None or step >= round(self.start_ratio * total_steps):
            return final_px
        return height_width(self.start_px)


class PretrainConfig(Config):
    """Masked-autoencoder pretraining of one network on one corpus."""

    model: AnyMaskedConfig = MaeConfig()
    """Encoder, decoder, what is hidden and what is predicted: of a ViT or of a convolutional network."""

    mean: tuple[float, ...] = (GREY_MEAN,)
    """Standardisation of pixels in [0, 1]: mean, one value or one per channel."""

    std: tuple[float, ...] = (GREY_STD,)
    """Standardisation of pixels in [0, 1]: standard deviation."""

    augment: AugmentConfig = AugmentConfig()
    """Random crops, flips and changes of brightness."""

    augment_on: AugmentPlace = "auto"
    """Where views are made: with OpenCV on the "cpu", in batches on the "device", or "auto": on a GPU if it
    trains there. Both make the same views to about one grey level."""

    resolution: ResolutionConfig = ResolutionConfig()
    """Steps of image size; weights and input spec are those of the final one, `model.encoder.image_px`."""

    balance: BalanceConfig = BalanceConfig()
    """How often images of large sources and long clips are drawn."""

    replay: ReplayConfig = ReplayConfig()
    """The pool that was learnt before, where a run goes on with another one."""

    optim: OptimConfig = OptimConfig()
    """Optimiser and learning rate."""

    ema: EmaConfig = EmaConfig()
    """A moving average of the encoder's weights, saved as weights_ema.safetensors; off by default."""

    loop: LoopConfig = LoopConfig()
    """Precision, accumulation, checkpoints."""

    watch: WatchConfig = WatchConfig()
    """Pictures and live evaluation."""

    global_batch: int = Field(default=256, ge=1)
    """Images per optimiser step, over all devices."""

    epochs: float = Field(default=400.0, gt=0)
    """Times that each image is seen; on average over the pool where it is balanced. Images of `replay.corpus`
    do not count."""

    seed: int = Field(default=0, ge=0)
    """With the settings and the corpus it decides every number of the run."""

    workers: int = Field(default=0, ge=0)
    """Processes that prepare batches ahead; the batches are the same whatever the number."""

    demand: tuple[Literal["commercial", "share", "derivatives"], ...] = ()
    """What the licences of the whole pool must allow; a run on another pool is refused."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None for all that this process may use."""

    def model_post_init(self, _context: object) -> None:
        self._check_resolution()
        self._check_agreement()
        self._check_norms()
        self.num_old  # noqa: B018  (refuses a ratio that rounds to none or all of a batch)
        self.input_spec  # noqa: B018  (refuses a mean or std that does not fit the channels)

    @property
    def input_spec(self) -> InputSpec:
        """What the encoder will want to see, but for `fit` and `crop`, which are the corpus's."""
        encoder = self.model.encoder
        return InputSpec(image_px=encoder.image_px, channels=encoder.channels, mean=self.mean, std=self.std)

    @property
    def num_old(self) -> int:
        """Images of the old pool in every global batch."""
        return self.replay.num_old(self.global_batch)

    @property
    def num_new(self) -> int:
        """Images of the new (or only) pool in every global batch; they make the epochs."""
        return self.global_batch - self.num_old

    def _check_agreement(self) -> None:
        kind = self.model.agreement.kind
        if kind == "none":
            return
        if self.global_batch == 1:
            raise ValueError(
                f"model.agreement.kind={kind} looks at the spread of a batch; one image has none"
            )
        if self.loop.accumulate > 1:
            raise ValueError(
                f"loop.accumulate={self.loop.accumulate} cuts the batch of which model.agreement.kind={kind} "
                "takes the spread; loop.activation_checkpointing=true, more processes or a smaller "
                "global_batch need less memory too"
            )

    def _check_norms(self) -> None:
        """The norms of a convolutional network are of a whole batch, and their averages of every forward."""
        if not isinstance(self.model, SparseCnnConfig):
            return
        reasons = {
            "accumulate": (self.loop.accumulate > 1, "takes its batch norm over the whole batch"),
            "activation_checkpointing": (
                self.loop.activation_checkpointing, "would see its batch twice in its running statistics"
            ),
            "compile": (self.loop.compile != "off", "changes its layers as it hides, unseen by a compiler"),
            "on_bad_step": (
                self.loop.on_bad_step == "skip", "has a bad step in its running statistics already"
            ),
        }  # fmt: skip
        for name, (is_set, reason) in reasons.items():
            if is_set:
                raise ValueError(
                    f"loop.{name}={getattr(self.loop, name)} does not go with a convolutional network, "
                    f"which {reason}"
                )

    def _check_resolution(self) -> None:
        start, encoder = self.resolution.start_px, self.model.encoder
        if start is None:
            return
        small = height_width(start)
        if any(side % encoder.patch_px or side < encoder.patch_px for side in small):
            raise ValueError(
                f"resolution.start_px={start} is not a multiple of model.encoder.patch_px={encoder.patch_px}"
            )
        final = encoder.image_size_px
        if small == final or small[0] > final[0] or small[1] > final[1]:
            raise ValueError(
                f"resolution.start_px={start} is not smaller than model.encoder.image_px={encoder.image_px}"
            )
        try:
            self.model.check_hiding((small[0] // encoder.patch_px, small[1] // encoder.patch_px))
        except ValueError as error:
            raise ValueError(f"resolution.start_px={start}: {error}") from error
