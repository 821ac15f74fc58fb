"""What stands beside the images: a table with labels, patients, sides and pitch, or lists of names."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import DatasetError
from usfmae.datasets.tables import listed, read_sheet, read_text
from usfmae.datasets.template import names_in

Facts = dict[str, str]
"""What is said of one image: label, group, split, fold, spacing, and `extra:<column>`."""


class TableJoin(Config):
    """A csv or xlsx table with a row per image, clip or patient."""

    file: str
    key: str
    """Column that names the image, clip or patient."""
    equals: str
    """How `key` is made from the fields of a file name, with {field}s; {path} is the whole name."""
    drop_suffix: bool = False
    """Names are compared without what follows their last dot."""
    label: str | None = None
    labels: dict[str, str] | None = None
    """What the texts of the label column mean; None for themselves."""
    group: str | None = None
    """Column of the patient."""
    split: str | None = None
    sides: dict[str, Literal["train", "val", "test"]] = Field(default_factory=dict)
    """What the texts of the split column mean; others are on no side."""
    fold: str | None = None
    first_fold: int = 1
    """The fold column counts from here."""
    spacing_mm: str | None = None
    """Column with the pixel pitch in millimetres, the same down and across."""
    where: str = ""
    """Only files whose path begins so are looked up."""
    optional: bool = False
    """A copy without it is complete."""
    extras: tuple[str, ...] = ()
    """Columns to keep as they are, where the table has them."""

    def read(self, base: Path) -> dict[str, Facts]:
        """What the table says of each key.

        Raises:
            DatasetError: it is not there, lacks a column, or a label or fold makes no sense.
        """
        columns = (self.label, self.group, self.split, self.fold, self.spacing_mm)
        table = base / self.file
        if self.optional and not table.exists():
            return {}
        rows = read_sheet(table, required=[self.key, *(column for column in columns if column)])
        facts: dict[str, Facts] = {}
        for row in rows:
            said: Facts = {f"extra:{name}": row[name] for name in self.extras if name in row}
            if self.label and row[self.label]:
                said["label"] = self._label(table, row[self.label])
            if self.group:
                said["group"] = row[self.group]
            if self.split and row[self.split] in self.sides:
                said["split"] = self.sides[row[self.split]]
            if self.fold and row[self.fold].isdecimal():
                said["fold"] = str(int(row[self.fold]) - self.first_fold + 1)
            if self.spacing_mm:
                said["spacing"] = row[self.spacing_mm]
            facts.setdefault(self._name(row[self.key]), {}).update(said)
        return facts

    def concerns(self, path: str, fields: dict[str, str]) -> bool:
        """Whether a file may be in this table: its place fits, and its name has the fields of the key."""
        return path.startswith(self.where) and all(name in fields for name in names_in(self.equals))

    def name(self, fields: dict[str, str]) -> str:
        """The key of an image, from the fields of its file name."""
        return self._name(self.equals.format(**fields))

    def _name(self, text: str) -> str:
        stem, dot, _ = text.rpartition(".")
        name = stem if self.drop_suffix and dot else text
        return str(int(name)) if name.isdecimal() else name  # a spreadsheet makes 12 of 000012

    def _label(self, table: Path, text: str) -> str:
        if self.labels is None:
            return text
        if text not in self.labels:
            raise DatasetError(
                f"{table}: {self.label} '{text}' is none of its labels",
                hint=f"known: {', '.join(self.labels)}",
            )
        return self.labels[text]


class NameLists(Config):
    """One text file per side of the split; the first word of a line names an image, clip or patient."""

    files: dict[Literal["train", "val", "test"], str]
    equals: str
    """How a name is made from the fields of a file name."""
    separator: str | None = None
    """What parts the words of a line; None for blanks."""
    label_word: int | None = None
    """Which word of a line, counted from 0, is the class index; None where there is none."""

    def read(self, base: Path, classes: tuple[str, ...] | None) -> dict[str, Facts]:
        """The side (and label) of each name; lists that are not here say nothing.

        Raises:
            DatasetError: a name stands on two sides, or a class index is out of range.
        """
        facts: dict[str, Facts] = {}
        for side, file in self.files.items():
            path = base / file
            if not path.exists():
                continue
            for number, line in enumerate(read_text(path).splitlines(), start=1):
                words = [word.strip() for word in line.split(self.separator)]
                if not words or not words[0]:
                    continue
                said: Facts = {"split": side}
                if self.label_word is not None:
                    said["label"] = self._label(path, number, words, classes)
                before = facts.get(words[0], said)["split"]
                if before != side:
                    raise DatasetError(f"{path}: line {number}: '{words[0]}' is in the list of {before} too")
                facts[words[0]] = said
        return facts

    def concerns(self, path: str, fields: dict[str, str]) -> bool:
        """Whether a file may be in the lists: its name has the fields that are listed."""
        return all(name in fields for name in names_in(self.equals))

    def name(self, fields: dict[str, str]) -> str:
        """The name of an image, from the fields of its file name."""
        return self.equals.format(**fields)

    def _label(self, path: Path, number: int, words: list[str], classes: tuple[str, ...] | None) -> str:
        assert classes is not None
        assert self.label_word is not None
        word = words[self.label_word] if self.label_word < len(words) else ""
        if not word.isdecimal() or int(word) >= len(classes):
            raise DatasetError(f"{path}: line {number}: '{word}' is no class index in 0..{len(classes) - 1}")
        return classes[int(word)]


def missing_note(join: TableJoin | NameLists, unmatched: list[str], *, total: int) -> str:
    """A note on names that a table or list gives and no file has."""
    where = join.file if isinstance(join, TableJoin) else "the lists"
    return f"{listed(sorted(unmatched))} of {total:,} names in {where} have no file here"
