"""Which files go into a pool, in which order, and who they belong to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from usfmae.base.errors import CorpusError, FolderError
from usfmae.corpus.config import BuildConfig
from usfmae.datasets.registry import get_card, read_dataset
from usfmae.datasets.terms import NOTHING_STATED, Terms, terms_of, terms_of_licence
from usfmae.images.read import is_image_path


@dataclass(frozen=True)
class Source:
    """A folder of ultrasound files."""

    name: str
    """Unique name in the corpus."""

    root: Path
    """Where its files are."""

    dataset: str | None = None
    """Card of a known dataset, whose reader says which files are images and whose; None for any folder."""

    licence: str | None = None
    """SPDX name that a folder without a card is under, as its owner says; None for not stated."""

    anatomy: str | None = None
    """What a folder without a card shows, as its owner says."""


@dataclass(frozen=True)
class SourceFile:
    """One file to read."""

    source: str
    """Name of its source."""

    path: Path
    """Where it is."""

    name: str
    """Its path below the source's root, with forward slashes; bytes that are no UTF-8 read `\\xe9`."""

    group: str
    """What must stay together: the patient where known, else the file itself."""

    frame: int | None = None
    """The one frame that is meant; None for all."""

    array: str | None = None
    """The array that holds the pixels, in a file of arrays."""

    spacing_mm: tuple[float, float] | None = None
    """Pixel pitch (down, across) where a table of the set gives it and the file does not."""


@dataclass(frozen=True)
class Listing:
    """All files of a source, sorted by name."""

    source: Source
    files: tuple[SourceFile, ...]
    excluded: tuple[str, ...]
    """Names left out by a pattern (label maps)."""

    other_kinds: tuple[str, ...]
    """Names of files that are no images by their suffix: tables, texts, videos."""

    licence: str | None
    """From the card or the owner; None where nobody said."""

    terms: Terms
    """What the licence allows."""

    anatomy: str | None = None
    """From the card or the owner; None where nobody said."""


def list_source(source: Source, config: BuildConfig) -> Listing:
    """Find the files of a source.

    Raises:
        FolderError: the folder is not there.
        CorpusError: it holds no image.
        DatasetError: a known dataset is not laid out as its card says.
        SettingError: a licence whose terms are not known.
    """
    if not source.root.is_dir():
        raise FolderError(f"{source.root}: no such folder", hint="check the path for a typing slip")
    if source.dataset is not None:
        labelled = read_dataset(source.dataset, source.root, find_clusters=False)
        files = tuple(
            SourceFile(
                source=source.name,
                path=item.path,
                name=printable(item.name),
                group=printable(f"{source.name}/{item.group}"),
                frame=item.frame,
                array=item.array,
                spacing_mm=item.spacing_mm,
            )
            for item in labelled.items
        )
        card = get_card(source.dataset)
        licence = card.licence.spdx or card.licence.stated
        return Listing(source, files, (), (), licence, terms_of(card), card.anatomy_group)
    found, excluded, others = [], [], []
    for path in _files_below(source.root):
        name = printable(path.relative_to(source.root).as_posix())
        if not is_image_path(path):
            others.append(name)
        elif is_excluded(name, config.exclude):
            excluded.append(name)
        else:
            found.append(SourceFile(source.name, path, name, f"{source.name}/{name}"))
    if not found:
        why = f" ({len(excluded)} look like label maps, {len(others)} are of another kind)"
        raise CorpusError(
            f"{source.root}: no image found{why}",
            hint="stills (PNG, JPEG ...), DICOM, clips (MP4 ...), volumes (NIfTI ...) are read; check it",
        )
    terms = NOTHING_STATED if source.licence is None else terms_of_licence(source.licence)
    return Listing(
        source, tuple(found), tuple(excluded), tuple(others), source.licence, terms, source.anatomy
    )


def unique_sources(sources: Sequence[Source]) -> list[Source]:
    """The sources with distinct names: a second `scans` becomes `scans-2`.

    Raises:
        CorpusError: no source at all, or the same folder twice.
    """
    if not sources:
        raise CorpusError("no source was given", hint="name folders with --images DIR or --dataset NAME=DIR")
    taken: set[str] = set()
    folders: set[Path] = set()
    unique = []
    for source in sources:
        folder = source.root.resolve()
        if folder in folders:
            raise CorpusError(f"{source.root}: is given twice")
        folders.add(folder)
        name, number = source.name, 1
        while name in taken:
            number += 1
            name = f"{source.name}-{number}"
        taken.add(name)
        unique.append(replace(source, name=name))
    return unique


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether the last part of a path, or its last two parts, match a pattern."""
    parts = name.split("/")
    tails = (parts[-1], "/".join(parts[-2:]))
    return any(fnmatchcase(tail, pattern) for tail in tails for pattern in patterns)


def printable(name: str) -> str:
    """A file name that JSON and Parquet can hold: bytes that are no UTF-8 become `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files_below(root: Path) -> list[Path]:
    """All files below a folder but hidden ones, sorted by the parts of their paths; links are followed.

    A link that leads nowhere is a file too, so that it is counted as unreadable; pipes and devices are not.

    Raises:
        FolderError: a folder may not be entered.
    """

    def refuse(error: OSError) -> None:
        raise FolderError(f"{error.filename}: {error.strerror}", hint="make it readable, or move it away")

    found: list[Path] = []
    entered: set[Path] = set()
    for here, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        folder = Path(here)
        real = folder.resolve()
        folders[:] = [] if real in entered else [name for name in folders if not name.startswith(".")]
        if real not in entered:
            paths = [folder / name for name in files if not name.startswith(".")]
            found += [path for path in paths if _is_listed(path)]
        entered.add(real)
    return sorted(found)


def _is_listed(path: Path) -> bool:
    try:
        return path.is_file() or path.is_symlink()
    except OSError:  # a link whose goal may not even be asked for
        return True
