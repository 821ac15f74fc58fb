"""A plan of comparison: tasks x encoders x ways x seeds, and the cells that it falls into.

A cell is one encoder used in one way on one split of one task with one seed. Its result is an ordinary result
folder, so a plan is no more than a list of `usfmae evaluate` commands with one budget for all.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from usfmae.base.config import Config, make_config
from usfmae.base.errors import SettingError
from usfmae.evaluate.methods import METHODS, MethodName
from usfmae.evaluate.statistics import BootstrapConfig
from usfmae.models.encoders import EncoderName

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+ %-]*$"
"""Names become folders."""


class PlanTask(Config):
    """One labelled dataset."""

    name: str
    """Name of its card: bus-bra, mmotu-2d, folder."""

    data: str = ""
    """Its folder, below the one that `--data` gives; its name if empty."""

    folds: tuple[int | str, ...] | None = None
    """Splits to report on; None for all that are here."""

    settings: tuple[str, ...] = ()
    """Further settings of the task for every cell, such as "task.val_ratio=0.2"."""

    @property
    def folder(self) -> str:
        """Where it lies below `--data`."""
        return self.data or self.name


class PlanEncoder(Config):
    """One contender."""

    name: str = Field(pattern=NAME)
    """How tables call it."""

    encoder: EncoderName | None = None
    """Which network; None for what the file of a run says, else a ViT."""

    weights: str = "scratch"
    """File, run folder, `scratch` or `imagenet`; {task}, {split} and {seed} are filled in, so that each fold
    can have an encoder that was pretrained without it."""

    like: str | None = None
    """With `scratch` and a ViT, weights whose shape and input are taken; filled in likewise."""

    settings: tuple[str, ...] = ()
    """Settings of this contender alone; the page lists them, since they are what its rivals do not have."""

    licence: str = ""
    """Of its weights, for the page."""

    def filled(self, pattern: str, *, task: str, split: str, seed: int) -> str:
        """A path with the cell's names in it.

        Raises:
            SettingError: it has other braces.
        """
        try:
            return pattern.format(task=task, split=split, seed=seed)
        except (KeyError, IndexError, ValueError) as error:
            raise SettingError(
                f"{pattern}: only {{task}}, {{split}} and {{seed}} can be filled in"
            ) from error


class PlanWay(Config):
    """One way to use an encoder."""

    method: MethodName
    """Nearest neighbours, linear or attentive classifier on frozen features, or fine-tuning."""

    label_ratio: float = Field(default=1.0, gt=0, le=1)
    """Fraction of the training labels, in whole patients; each seed draws others."""

    labels_per_class: int | None = Field(default=None, ge=1)
    """Training images of each class instead, in whole patients; each seed draws others."""

    settings: tuple[str, ...] = ()
    """Settings for every contender, such as "epochs=30"."""

    def model_post_init(self, _context: object) -> None:
        if self.label_ratio < 1 and self.labels_per_class is not None:
            raise ValueError("label_ratio and labels_per_class both say how many labels are used; set one")

    @property
    def name(self) -> str:
        """How tables and folders call it: "finetune 10%", "knn 5 per class"."""
        if self.labels_per_class is not None:
            return f"{self.method} {self.labels_per_class} per class"
        return self.method if self.label_ratio == 1 else f"{self.method} {100 * self.label_ratio:g}%"

    @property
    def is_few(self) -> bool:
        """Whether some training labels are left out."""
        return self.label_ratio < 1 or self.labels_per_class is not None


class Plan(Config):
    """What is compared with what, on what, how often."""

    tasks: tuple[PlanTask, ...] = Field(min_length=1)
    encoders: tuple[PlanEncoder, ...] = Field(min_length=2)
    """The first is the one whose claim is examined: all others are compared with it."""

    ways: tuple[PlanWay, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Of random starts, orders, crops and draws of few labels; test sides are the same for all."""

    settings: tuple[str, ...] = ()
    """Settings of every cell."""

    bootstrap: BootstrapConfig = BootstrapConfig()
    """Intervals and paired differences."""

    allow_contamination: bool = False
    """Go on where a test image is in the pool an encoder was pretrained on. The page then says so on top."""

    allow_unchecked: bool = False
    """Go on where nobody can say whether an encoder has seen the test images, since what it was pretrained on
    is not at hand, or its publisher names the set. The page then says so on top."""

    @field_validator("tasks", "encoders", "ways")
    @classmethod
    def _named_once(cls, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there twice")
        for place, name in enumerate(names):
            for other in names[:place]:
                if _folder_name(name).casefold() == _folder_name(other).casefold():
                    raise ValueError(
                        f"{other!r} and {name!r} would be one folder ({_folder_name(other)}); rename one"
                    )
        return entries

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed is there twice")
        return seeds


@dataclass(frozen=True)
class Cell:
    """One evaluation of a plan."""

    task: PlanTask
    split: str
    encoder: PlanEncoder
    way: PlanWay
    seed: int

    @property
    def folder(self) -> Path:
        """Below the plan's folder."""
        names = (self.task.name, self.split, self.encoder.name, self.way.name, f"seed-{self.seed}")
        return Path("cells", *map(_folder_name, names))

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.task.name} {self.split}, {self.encoder.name}, {self.way.name}, seed {self.seed}"

    @property
    def weights(self) -> str:
        """As `--weights` takes it."""
        return self.encoder.filled(
            self.encoder.weights, task=self.task.name, split=self.split, seed=self.seed
        )

    @property
    def like(self) -> Path | None:
        """As `--like` takes it."""
        if self.encoder.like is None:
            return None
        names: dict[str, Any] = {"task": self.task.name, "split": self.split, "seed": self.seed}
        return Path(self.encoder.filled(self.encoder.like, **names))


def _folder_name(name: str) -> str:
    return name.replace(" ", "-").replace("%", "pc")


def cells_of(plan: Plan, splits: dict[str, Sequence[str]]) -> Iterator[Cell]:
    """All cells, cheap ways first within a task, so that a first table is there soon.

    With a frozen encoder all cells of one contender follow each other, those of the same weights together:
    its features are made once and need not be kept for the other contenders' time.

    Args:
        plan: the plan.
        splits: names of each task's splits, by the task's name.
    """
    for task in plan.tasks:
        for way in sorted(plan.ways, key=lambda way: not METHODS[way.method].is_frozen):
            cells = [
                Cell(task, split, encoder, way, seed)
                for seed in plan.seeds
                for split in splits[task.name]
                for encoder in plan.encoders
            ]
            if METHODS[way.method].is_frozen:
                first = {
                    (cell.encoder.name, cell.weights): place for place, cell in reversed([*enumerate(cells)])
                }
                places = {one.name: place for place, one in enumerate(plan.encoders)}
                cells.sort(
                    key=lambda cell: (places[cell.encoder.name], first[cell.encoder.name, cell.weights])
                )
            yield from cells


def read_plan(path: Path) -> Plan:
    """A plan from a Python file with a function `plan()`, or from a YAML file of the same names.

    Raises:
        SettingError: there is no such file, or it holds no plan.
    """
    if not path.is_file():
        raise SettingError(f"{path}: no such plan", hint="a plan is a .py or .yaml file; see docs/compare.md")
    if path.suffix == ".py":
        return _from_python(path)
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: is no YAML ({error})") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path}: holds no plan", hint="its top level names tasks, encoders and ways")
    return make_config(Plan, content)


def _from_python(path: Path) -> Plan:
    spec = importlib.util.spec_from_file_location("usfmae_plan", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = module.plan()
    except SettingError:
        raise
    except Exception as error:
        raise SettingError(
            f"{path}: cannot be run as a plan ({type(error).__name__}: {error})",
            hint="it defines plan(), which returns a usfmae.evaluate.plan.Plan",
        ) from error
    if not isinstance(made, Plan):
        raise SettingError(f"{path}: plan() returned {type(made).__name__}, not a Plan")
    return made
