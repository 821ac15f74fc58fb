"""How a set is used to compare encoders: what a reader has to know before a number on it is believed."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.base.config import Config

TaskKind = Literal["classify", "segment"]
MainMetric = Literal["macro_f1", "dice"]


class TaskFacts(Config):
    """What a set states of itself as a task."""

    kind: TaskKind
    """What is to be told: the class of an image, or the outline of a structure in it."""

    split: str
    """Which images are learnt from, which are tested, and who decided it."""

    groups: str
    """What stays on one side of a split, and how it is known."""

    main_metric: MainMetric
    """The one that a comparison is decided on."""

    image_policy: str
    """What of a picture a network is shown."""

    traps: tuple[str, ...] = Field(min_length=1)
    """What has made published numbers on this set better than they are."""

    subgroups: tuple[str, ...]
    """Columns of its tables by which results are given too, where a copy has them."""

    size_cuts: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None
    """Bounds, as shares of the picture, between small, middle and large structures; the same for every copy
    and split, so that results compare. None to take the thirds of the training images."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "TaskFacts":
        if (self.main_metric == "dice") != (self.kind == "segment"):
            raise ValueError(f"{self.main_metric} is no metric of a task to {self.kind}")
        if list(self.size_cuts or ()) != sorted(set(self.size_cuts or ())):
            raise ValueError("size_cuts must ascend")
        return self
