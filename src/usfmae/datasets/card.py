"""What is known of one dataset: a YAML file in `cards/`, checked when it is read.

Every fact stands there; one that is not known is `null`, never left out and never guessed.
"""

from functools import cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from usfmae.base.config import Config, make_config
from usfmae.base.errors import SettingError
from usfmae.datasets.coco_layout import CocoLayout
from usfmae.datasets.files_layout import FilesLayout
from usfmae.datasets.hdf5_layout import Hdf5Layout
from usfmae.datasets.layouts import ClassFolders, ListsLayout, TableLayout
from usfmae.datasets.own_folder import OwnFolder
from usfmae.datasets.task_facts import TaskFacts

AnyLayout = Annotated[
    TableLayout | ListsLayout | ClassFolders | FilesLayout | CocoLayout | Hdf5Layout | OwnFolder,
    Field(discriminator="kind"),
]

AccessLevel = Literal["open", "credential", "registration", "request", "manual", "unavailable"]
"""Open: no login. Credential: a token (Kaggle). Registration: an account and an agreement. Request: a person
approves. Manual: a page in the browser. Unavailable: the site is down."""


class Counts(Config):
    """What the complete set holds, as published."""

    images: int | None
    videos: int | None
    volumes: int | None
    frames: int | None
    """Frames or slices in all videos and volumes."""
    patients: int | None
    note: str | None


class Pools(Config):
    """How many of its images published pools hold; the paper gives no numbers per set."""

    openus46: int | None
    openus42: int | None
    us43d: str | None
    estimate: int | None
    """Ours, for a pool of labelled frames or slices."""


class Download(Config):
    """One file of the publisher."""

    name: str
    url: str | None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    bytes: int | None
    note: str | None


class Access(Config):
    """Where the set is to be had."""

    level: AccessLevel | None
    page: str | None
    host: str | None
    record: str | None
    files: tuple[Download, ...]
    needs: str | None
    """Account, form or token; None where a plain download does."""
    archive: str | None
    """What comes down: zip, split zip, plain files of a repository."""
    note: str | None


class Licence(Config):
    """What the publisher allows; None is "not known", not a refusal."""

    spdx: str | None
    stated: str | None
    commercial_use: bool | None
    redistribution: bool | None
    note: str | None


class Citation(Config):
    """What to cite."""

    short: str | None
    paper_doi: str | None
    dataset_doi: str | None


class ClassFact(Config):
    """One class and how many images the complete set has of it."""

    name: str
    images: int | None


class Card(Config):
    """All facts about one dataset that the program and its readers need."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    aliases: tuple[str, ...]
    openus46_index: int | None
    """Its number in the list of the 46 sets of the paper; None if it is not one of them."""
    anatomy: str | None
    anatomy_group: str | None
    modality: str | None
    site: str | None
    devices: tuple[str, ...] | None
    counts: Counts
    pools: Pools
    access: Access
    licence: Licence
    citation: Citation
    classes: tuple[ClassFact, ...] | None
    """In the order of the labels; None where the files decide."""
    layout: AnyLayout | None
    """How a reader finds images, labels and groups; None where nobody has told how the files lie."""
    files: str | None
    """The layout in words."""
    labels: str | None
    masks: str | None
    group_by: Literal["patient", "clip", "near-duplicate cluster"]
    """What must not be parted by a split. A set without patient ids is grouped by what its images show."""
    official_splits: str | None
    quality_issues: tuple[str, ...]
    overlaps: tuple[str, ...]
    unknown: tuple[str, ...]
    sources: tuple[str, ...]
    verified: Literal["yes", "partly", "no"]
    """yes: count, access, and layout or labels agree in two independent sources or come from the publisher;
    partly: an important one rests on a single source; no: listed only."""
    task: TaskFacts | None
    """How encoders are compared on it; None where nobody has thought that through."""

    @model_validator(mode="after")
    def _adds_up(self) -> "Card":
        counted = [fact.images for fact in self.classes or () if fact.images is not None]
        complete = self.classes is not None and len(counted) == len(self.classes)
        if complete and self.counts.images is not None and sum(counted) != self.counts.images:
            raise ValueError(
                f"classes add up to {sum(counted)} images, counts.images is {self.counts.images}"
            )
        return self

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Class names in the order of their labels."""
        return None if self.classes is None else tuple(fact.name for fact in self.classes)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of plain values alone, as both are; in C all cards take 0.06 s and not 0.57 s."""


@cache
def all_cards() -> dict[str, Card]:
    """Every card of the package by name, sorted; read once."""
    folder = resources.files("usfmae.datasets") / "cards"
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".yaml"):
            card = card_from_yaml(entry.read_text(encoding="utf-8"), place=entry.name)
            assert entry.name == f"{card.id}.yaml", f"{entry.name} holds the card of {card.id}"
            found[card.id] = card
    return found


def card_from_yaml(text: str, *, place: str) -> Card:
    """A card from the text of its file.

    Raises:
        SettingError: no YAML, or facts that are missing, unknown or contradict each other; `place` is named.
    """
    try:
        values = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise SettingError(f"{place}: is no YAML ({error})") from error
    if not isinstance(values, dict):
        raise SettingError(f"{place}: is not a table of facts")
    try:
        return make_config(Card, values)
    except SettingError as error:
        raise SettingError(f"{place}: {error.message}", hint=error.hint) from error
