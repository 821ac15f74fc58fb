"""Draws a `FilesLayout`: every name, table and list is written by the templates that read it."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from usfmae.base.files import write_bytes, write_text
from usfmae.datasets.fake_media import sheet_bytes, write_media
from usfmae.datasets.fake_pictures import Picture
from usfmae.datasets.files_layout import FilesLayout, Masks, Part
from usfmae.datasets.joins import TableJoin
from usfmae.datasets.template import Template, names_in

NUM_FRAMES = 6
"""Of a fake clip or volume; an even number, as codecs like it."""

ANNOTATED_FRAMES = (1, 4)
"""Where a clip's label maps are drawn apart."""

SIDE_TURNS = ("train", "train", "train", "val", "test")


def write_files(base: Path, layout: FilesLayout, pictures: Sequence[Picture], classes: Sequence[str]) -> None:
    """Write the pictures as the layout says, with label maps, tables and lists.

    Patients take turns among the parts that are not optional, and among the sides of a published split.

    Args:
        base: the folder of the layout.
        layout: what to write.
        pictures: in the order of their patients.
        classes: class names; `Picture.label` counts into them.
    """
    _Writer(base, layout, classes).write(pictures)


class _Writer:
    def __init__(self, base: Path, layout: FilesLayout, classes: Sequence[str]) -> None:
        self.base, self.layout, self.classes = base, layout, classes
        self.parts = [part for part in layout.parts if not part.optional]
        self.sides = self._known_sides()
        self.rows: list[dict[str, dict[str, str]]] = [{} for _ in layout.tables]
        self.lines: dict[str, dict[str, str]] = defaultdict(dict)

    def write(self, pictures: Sequence[Picture]) -> None:
        numbers = [0] * len(self.parts)
        written: set[str] = set()
        for picture in pictures:
            turns = self._turns(picture)
            turn = turns[picture.patient % len(turns)]
            fields = self._fields(self.parts[turn], picture, numbers[turn] + 1)
            path = Template(self.parts[turn].files, self.layout.fields).write(fields)
            if path in written:
                continue  # a set with one image per patient
            written.add(path)
            numbers[turn] += 1
            self._write_picture(self.parts[turn], picture, fields)
            for table, rows in zip(self.layout.tables, self.rows, strict=True):
                if table.concerns(path, fields) and not table.optional:
                    rows[table.equals.format(**fields)] = self._row(table, picture, fields)
            if self.layout.lists is not None:
                name = self.layout.lists.name(fields)
                self.lines[self._side(picture)][name] = self._line(picture, name)
        for table, rows in zip(self.layout.tables, self.rows, strict=True):
            if rows:
                write_table(self.base / table.file, list(rows.values()))
        if self.layout.lists is not None:
            for side, file in self.layout.lists.files.items():
                write_text(self.base / file, "".join(f"{line}\n" for line in self.lines[side].values()))

    def _turns(self, picture: Picture) -> list[int]:
        """The parts that may hold a picture of this class: those without a class of their own, or with it."""
        wanted = self.classes[picture.label] if self.classes else None
        fixed = [part.label if part.label and not names_in(part.label) else None for part in self.parts]
        fitting = [number for number, label in enumerate(fixed) if label == wanted and label is not None]
        return fitting or [number for number, label in enumerate(fixed) if label is None]

    def _known_sides(self) -> list[str]:
        found: set[str] = set()
        for part in self.parts:
            for name in Template(part.split or "", self.layout.fields).names:
                found |= set((self.layout.fields[name].words or {}).values())
        for table in self.layout.tables:
            found |= set(table.sides.values())
        if self.layout.lists is not None:
            found |= set(self.layout.lists.files)
        return [side for side in SIDE_TURNS if side in found]

    def _side(self, picture: Picture) -> str:
        if not self.sides:
            return ""
        return self.sides[(picture.patient // max(1, len(self.classes))) % len(self.sides)]

    def _fields(self, part: Part, picture: Picture, number: int) -> dict[str, str]:
        rules = self.layout.fields
        of = {
            role: set(Template(getattr(part, role) or "", rules).names)
            for role in ("label", "group", "split")
        }
        templates = [Template(part.files, rules), *(Template(masks.file, rules) for masks in part.masks)]
        names = dict.fromkeys(name for template in templates for name in template.names)
        values: dict[str, str] = {}
        for name in names:
            rule = rules.get(name)
            counted = picture.patient + 1 if name in of["group"] else number
            if rule is None:
                values[name] = f"x{counted:03d}"
            elif rule.words is not None:
                wanted = self._wanted(name, of, picture)
                fitting = [word for word, meaning in rule.words.items() if wanted in (None, meaning)]
                choice = fitting or list(rule.words)
                turn = picture.patient if name in of["group"] else picture.shot
                values[name] = choice[turn % len(choice)]
            elif rule.digits is not None:
                values[name] = rule.number(counted)
            else:
                values[name] = rule.fake.format(
                    number=counted, patient=picture.patient + 1, label=picture.label + 1
                )
        return values

    def _wanted(self, name: str, of: dict[str, set[str]], picture: Picture) -> str | None:
        """What a field of words has to mean for this picture; None where it does not matter."""
        if name in of["label"] and self.classes:
            return self.classes[picture.label]
        if name in of["split"]:
            return self._side(picture)
        return None

    def _write_picture(self, part: Part, picture: Picture, fields: dict[str, str]) -> None:
        path = self.base / Template(part.files, self.layout.fields).write(fields)
        if part.channels_first:
            write_media(path, np.stack([picture.pixels] * 3))
        elif part.media == "image":
            write_media(path, picture.pixels)
        else:
            write_media(path, np.stack([np.roll(picture.pixels, k, axis=1) for k in range(NUM_FRAMES)]))
        for masks in part.masks:
            self._write_masks(part, masks, picture, fields)

    def _write_masks(self, part: Part, masks: Masks, picture: Picture, fields: dict[str, str]) -> None:
        template = Template(masks.file, self.layout.fields)
        labels = _structures(picture.lesion, len(masks.meaning.structures))
        if masks.frame is not None:
            for frame in ANNOTATED_FRAMES:
                rule = self.layout.fields[masks.frame]
                named = {**fields, masks.frame: rule.number(frame + masks.first_frame)}
                rolled = np.roll(labels, frame, axis=1)
                write_media(self.base / template.write(named), masks.meaning.stored(rolled))
        elif part.media == "image":
            write_media(self.base / template.write(fields), masks.meaning.stored(labels))
        else:
            volume = np.stack([np.roll(labels, k, axis=1) for k in range(NUM_FRAMES)])
            volume[0] = volume[-1] = 0
            write_media(self.base / template.write(fields), masks.meaning.stored(volume))

    def _row(self, table: TableJoin, picture: Picture, fields: dict[str, str]) -> dict[str, str]:
        row = {table.key: table.equals.format(**fields)}
        if table.label:
            row[table.label] = _inverse(table.labels, self.classes[picture.label])
        if table.group:
            row[table.group] = str(picture.patient + 1)
        if table.split:
            row[table.split] = _inverse(dict(table.sides), self._side(picture))
        if table.fold:
            row[table.fold] = str(picture.patient // max(1, len(self.classes)) % 5 + table.first_fold)
        if table.spacing_mm:
            row[table.spacing_mm] = "0.1"
        for column in table.extras:
            row.setdefault(column, "")
        return row

    def _line(self, picture: Picture, name: str) -> str:
        lists = self.layout.lists
        assert lists is not None
        words = [name, str(picture.label)] if lists.label_word is not None else [name]
        return (lists.separator or " ").join(words)


def _structures(
    lesion: UInt8[np.ndarray, "height width"], num_structures: int
) -> UInt8[np.ndarray, "height width"]:
    """The lesion in upright stripes, one for each structure, so that every label is there."""
    columns = np.flatnonzero((lesion > 0).any(axis=0))
    stripe = np.zeros(lesion.shape[1], np.uint8)
    for number, part in enumerate(np.array_split(columns, num_structures), start=1):
        stripe[part] = number
    striped: UInt8[np.ndarray, "height width"] = np.where(lesion > 0, stripe, 0).astype(np.uint8)
    return striped


def _inverse(words: dict[str, str] | None, meaning: str) -> str:
    """The text that a table writes for a meaning."""
    if not words:
        return meaning
    return next((text for text, stands_for in words.items() if stands_for == meaning), "")


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    """A csv or xlsx table, by suffix, with the columns of the first row."""
    header = list(rows[0])
    lines = [[row[column] for column in header] for row in rows]
    if path.suffix.lower() == ".xlsx":
        write_bytes(path, sheet_bytes(header, lines))
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    write_text(path, text.getvalue())
