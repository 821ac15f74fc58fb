"""Most public sets: files whose names say what they are, with tables or lists beside them.

A card gives templates (`{label}/images/{case}.png`); nothing here knows a dataset by name. The same
description draws the fakes (`fake_files.py`), so reader and fake cannot drift apart.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from usfmae.base.config import Config, nearest
from usfmae.base.errors import DatasetError
from usfmae.datasets.joins import Facts, NameLists, TableJoin, missing_note
from usfmae.datasets.label_maps import AnyMeaning, LabelMap
from usfmae.datasets.reading import Layout, Reading, finish, labels_of, refuse_no_patient
from usfmae.datasets.record import SPLIT_SIDES, GroupKind, Item, Media
from usfmae.datasets.tables import listed, nearest_file
from usfmae.datasets.template import NameField, Template
from usfmae.images.read import is_image_path

JUNK = ("__MACOSX", "Thumbs.db")


class Masks(Config):
    """Label maps that go with a part's files; those with equal fields belong together."""

    file: str
    meaning: AnyMeaning
    frame: str | None = None
    """The field that numbers the annotated frame; None where the label map is for the whole file."""
    first_frame: int = 0
    """Frames are counted from here in the name."""
    everywhere: bool = True
    """False where only some of the files have one."""


class Part(Config):
    """Files of one kind; a set may have several."""

    files: str
    """Template of their paths."""
    media: Media = "image"
    label: str | None = None
    """What the fields say of the class, each by its meaning: `{label}`."""
    group: str | None = None
    """What the fields say of the patient (or clip), as written: `{patient}`."""
    split: str | None = None
    """What the fields say of the side, by meaning; anything but train, val and test is no side."""
    extras: dict[str, str] = Field(default_factory=dict)
    """What else the fields say, by the name under which it is kept: `grade: "{grade}"`."""
    masks: tuple[Masks, ...] = ()
    channels_first: bool = False
    """The picture is stored as a volume of three equal slices, and the first of them is meant."""
    optional: bool = False
    """A copy without it is complete: an older name, a second archive."""


class FilesLayout(Layout):
    """Files found by their names."""

    kind: Literal["files"]
    fields: dict[str, NameField] = Field(default_factory=dict)
    parts: tuple[Part, ...] = Field(min_length=1)
    tables: tuple[TableJoin, ...] = ()
    lists: NameLists | None = None
    groups_are: Literal["patient", "clip", "near-duplicate cluster"] = "patient"
    """What the parts' `group` names. Of a near-duplicate cluster it is what certainly belongs together, and
    what shows the same joins it. A `group` that a table gives is always the patient."""

    @model_validator(mode="after")
    def _groups_all_or_none(self) -> "FilesLayout":
        grouped = [part.files for part in self.parts if part.group]
        if grouped and len(grouped) < len(self.parts) and self.groups_are != "near-duplicate cluster":
            bare = next(part.files for part in self.parts if not part.group)
            raise ValueError(f"'{grouped[0]}' has a group and '{bare}' has none: its images could be parted")
        return self

    def read(self, root: Path, classes: tuple[str, ...] | None) -> Reading:
        base, names = self._find_base(root)
        items: list[Item] = []
        notes: list[str] = []
        said: list[str | None] = []
        without_patient: list[str] = []
        used: set[str] = set()
        joins = self._read_joins(base, classes)
        named: list[set[str]] = [set() for _ in joins]
        num_by_table = 0
        for part in self.parts:
            for name, fields, masks in self._collect(part, base, names, notes):
                facts = self._from_name(part, fields)
                wants_patient, keyed = False, {**fields, "path": name}
                for (join, table), seen in zip(joins, named, strict=True):
                    key = join.name(keyed) if join.concerns(name, keyed) else None
                    if key in table:
                        assert key is not None
                        seen.add(key)
                        facts.update(table[key])
                        num_by_table += "group" in table[key]
                    elif key is not None and isinstance(join, TableJoin):
                        wants_patient |= join.group is not None and not join.optional
                used |= {name, *(label_map.path.relative_to(base).as_posix() for label_map in masks)}
                if wants_patient and "group" not in facts:
                    without_patient.append(name)
                    continue
                said.append(facts.get("label"))
                items.append(_item(base, name, part, facts, masks))
        notes += _patient_notes(base, without_patient, num_used=len(items))
        notes += self._unread_notes(names, used)
        missing: list[str] = []
        for (join, table), seen in zip(joins, named, strict=True):
            unmatched = [name for name in table if name not in seen]
            if unmatched:
                notes.append(missing_note(join, unmatched, total=len(table)))
            missing += unmatched
        items, class_names = _labelled(root, items, said, classes, notes)
        by_table = bool(items) and num_by_table == len(items)
        kind = "patient" if by_table else self._group_kind(items)
        if kind == "patient":
            refuse_no_patient(base, "the patient", items)
        return finish(
            root,
            items,
            class_names,
            notes,
            group_kind=kind,
            wants_masks=self._wants_masks,
            missing=missing,
            wants_classes=False,  # one archive of several, for pretraining
        )

    @property
    def _wants_masks(self) -> bool:
        return all(any(masks.everywhere for masks in part.masks) for part in self.parts)

    def _group_kind(self, items: Sequence[Item]) -> GroupKind:
        if any(part.group for part in self.parts) or any(table.group for table in self.tables):
            return "file" if self.groups_are == "near-duplicate cluster" else self.groups_are
        return "clip" if all(item.media != "image" for item in items) else "file"

    def _find_base(self, root: Path) -> tuple[Path, list[str]]:
        """The folder, `root` or one of `inside`, where most templates fit, and all names below it."""
        if not root.is_dir():
            what = "is a file, not a folder" if root.exists() else "no such folder"
            raise DatasetError(f"{root}: {what}", hint=nearest_file(root) if not root.exists() else "")
        everything = _names_below(root)
        templates = [Template(part.files, self.fields) for part in self.parts]
        best: tuple[int, Path, list[str]] = (0, root, everything)
        for inside in ("", *self.inside):
            prefix = f"{inside}/" if inside else ""
            names = [name.removeprefix(prefix) for name in everything if name.startswith(prefix)]
            num_fit = sum(any(template.read(name) for template in templates) for name in names)
            if num_fit > best[0]:
                best = (num_fit, root / inside, names)
        if not best[0]:
            raise self._nothing_fits(root, everything, templates)
        return best[1], best[2]

    def _nothing_fits(self, root: Path, names: list[str], templates: list[Template]) -> DatasetError:
        expected = " or ".join(template.text for template in templates[:3])
        there = sorted({name.partition("/")[0] for name in names})
        found = listed(there, first=4) if there else "nothing"
        wanted = next((top for top in (*self.inside, *(t.top for t in templates)) if top), None)
        hint = nearest(wanted, there) if wanted and there else "unpack the publisher's archive there"
        return DatasetError(f"{root}: no file is named like {expected}; found {found}", hint=hint)

    def _collect(
        self, part: Part, base: Path, names: list[str], notes: list[str]
    ) -> list[tuple[str, dict[str, str], tuple[LabelMap, ...]]]:
        """The files of a part with their fields and label maps."""
        template = Template(part.files, self.fields)
        kinds = [Template(masks.file, self.fields) for masks in part.masks]
        maps: list[dict[tuple[str, ...], list[LabelMap]]] = [defaultdict(list) for _ in kinds]
        shared = [[name for name in kind.names if name in template.names] for kind in kinds]
        found: list[tuple[str, dict[str, str]]] = []
        for name in names:
            for masks, kind, by_key, keys in zip(part.masks, kinds, maps, shared, strict=True):
                fields = kind.read(name)
                if fields is not None:
                    frame = int(fields[masks.frame]) - masks.first_frame if masks.frame else None
                    by_key[tuple(fields[key] for key in keys)].append(
                        LabelMap(base / name, masks.meaning, frame)
                    )
                    break
            else:
                fields = template.read(name)
                if fields is not None:
                    found.append((name, fields))
        if not found and not part.optional:
            notes.append(f"no file named like {part.files} is here")
        used: list[set[tuple[str, ...]]] = [set() for _ in kinds]
        collected = []
        for name, fields in found:
            mine: list[LabelMap] = []
            for by_key, keys, taken in zip(maps, shared, used, strict=True):
                key = tuple(fields[field] for field in keys)
                mine += by_key.get(key, [])
                taken.add(key)
            collected.append((name, fields, tuple(mine)))
        orphans = [
            label_map.path.relative_to(base).as_posix()
            for by_key, taken in zip(maps, used, strict=True)
            for key, label_maps in by_key.items()
            if key not in taken
            for label_map in label_maps
        ]
        if orphans:
            notes.append(f"label maps without an image: {listed(sorted(orphans))}")
        return collected

    def _unread_notes(self, names: list[str], used: set[str]) -> list[str]:
        """A note on images, clips and volumes that no part takes: copies, another archive, or a slip."""
        kinds = [Template(masks.file, self.fields) for part in self.parts for masks in part.masks]
        unread = [
            name
            for name in names
            if name not in used and is_image_path(Path(name)) and not any(kind.read(name) for kind in kinds)
        ]
        return [f"images that the card does not take: {listed(unread)}"] if unread else []

    def _from_name(self, part: Part, fields: dict[str, str]) -> Facts:
        meanings = {
            name: self.fields[name].meaning(text) if name in self.fields else text
            for name, text in fields.items()
        }
        facts: Facts = {}
        if part.label:
            facts["label"] = part.label.format(**meanings)
        if part.group:
            facts["group"] = part.group.format(**fields)
        if part.split:
            facts["split"] = part.split.format(**meanings)
        return facts | {f"extra:{name}": text.format(**meanings) for name, text in part.extras.items()}

    def _read_joins(
        self, base: Path, classes: tuple[str, ...] | None
    ) -> list[tuple[TableJoin | NameLists, dict[str, Facts]]]:
        joins: list[tuple[TableJoin | NameLists, dict[str, Facts]]] = []
        joins += [(table, table.read(base)) for table in self.tables]
        if self.lists is not None:
            joins.append((self.lists, self.lists.read(base, classes)))
        return joins


def _names_below(root: Path) -> list[str]:
    """Paths below a folder with forward slashes, sorted; hidden files and junk left out."""
    names = []
    for here, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in JUNK]
        place = Path(here).relative_to(root)
        names += [
            (place / name).as_posix() for name in files if not name.startswith(".") and name not in JUNK
        ]
    return sorted(names)


def _patient_notes(base: Path, names: list[str], *, num_used: int) -> list[str]:
    """A note on files whose patient no row of a table names: a split could part them from their like."""
    if names and not num_used:
        raise DatasetError(
            f"{base}: the table names the patient of none of its {len(names):,} files (first: {names[0]})",
            hint="file names and the table must come from the same archive",
        )
    if not names:
        return []
    return [f"without a row in the table, so without a patient, and not used: {listed(names)}"]


def _item(base: Path, name: str, part: Part, facts: Facts, masks: tuple[LabelMap, ...]) -> Item:
    side = facts.get("split")
    spacing = _spacing(facts.get("spacing"))
    return Item(
        path=base / name,
        label=None,
        group=facts.get("group", name),
        masks=masks,
        split=side if side in SPLIT_SIDES else None,
        fold=int(facts["fold"]) if "fold" in facts else None,
        extras={key.removeprefix("extra:"): text for key, text in facts.items() if key.startswith("extra:")},
        name=name,
        media=part.media,
        frame=0 if part.channels_first else None,
        spacing_mm=spacing,
    )


def _spacing(text: str | None) -> tuple[float, float] | None:
    try:
        pitch = float(text or "nan")
    except ValueError:
        return None
    return (pitch, pitch) if 0 < pitch < 10 else None


def _labelled(
    root: Path,
    items: Sequence[Item],
    said: Sequence[str | None],
    classes: tuple[str, ...] | None,
    notes: list[str],
) -> tuple[list[Item], tuple[str, ...]]:
    """The items with class indices; those that nothing labels keep None, and a note says how many."""
    texts = [text for text in said if text is not None]
    if not texts:
        return list(items), classes or ()
    names, labels = labels_of(texts, classes, place=str(root))
    numbers = iter(labels)
    bare = [item.name for item, text in zip(items, said, strict=True) if text is None]
    if bare:
        notes.append(f"{listed(sorted(bare))} of {len(items):,} images have no label")
    labelled = [
        item if text is None else replace(item, label=next(numbers))
        for item, text in zip(items, said, strict=True)
    ]
    return labelled, names
