"""Reading a corpus: memory-mapped shards and the table that says what is in them."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt8

from usfmae.base.config import make_config
from usfmae.base.errors import CorpusError, FolderError
from usfmae.base.files import file_sha256, read_json
from usfmae.base.input_spec import Crop, Fit
from usfmae.base.logs import progress_bar
from usfmae.corpus.manifest import read_table
from usfmae.corpus.part import SHARD_FILE, part_folder, read_fingerprints
from usfmae.datasets.terms import NOTHING_STATED, Terms, strictest
from usfmae.images.fingerprint import CELLS, fingerprint
from usfmae.images.prepare import content_box

CORPUS_FILE, MANIFEST_FILE = "corpus.json", "manifest.parquet"

FORMAT = 1
"""Of the folder; a corpus from before this was written has it, too."""

MAX_OPEN_SHARDS = 256
"""A process may usually have 1,024 files open; a corpus of a million images has 4,000 shards."""


@dataclass(frozen=True)
class Corpus:
    """A pool of prepared images on disk. Picklable: worker processes open the shards themselves."""

    folder: Path
    """Made by `usfmae corpus build`."""

    record: dict[str, Any] = field(repr=False)
    """The content of corpus.json."""

    manifest: pa.Table = field(repr=False)
    """One row per image; columns as in `manifest.SCHEMA`."""

    rows: Int[np.ndarray, " n"] | None = field(default=None, repr=False, compare=False)
    """Rows of the whole pool that these images are; None for all of them."""

    def only(self, rows: Int[np.ndarray, " n"]) -> "Corpus":
        """Some images of the pool, numbered from 0 in the order of `rows`; hash and terms are the pool's."""
        before = np.arange(len(self)) if self.rows is None else self.rows
        return Corpus(self.folder, self.record, self.manifest.take(rows), before[rows])

    def __len__(self) -> int:
        return int(self.manifest.num_rows)

    @property
    def size_px(self) -> int:
        """Side of the stored images."""
        return int(self.record["size_px"])

    @property
    def fit(self) -> Fit:
        """How pictures were made square; "pad" in a corpus from before this was a choice."""
        fit: Fit = self.record.get("fit", "pad")
        return fit

    @property
    def crop(self) -> Crop:
        """What of each picture is stored; all of it in a corpus from before this was a choice."""
        crop: Crop = self.record.get("crop", "none")
        return crop

    @property
    def terms(self) -> dict[str, bool | None]:
        """What the strictest licence of its sources allows; empty in a corpus from before this was kept."""
        kept: dict[str, bool | None] = self.record.get("terms", {})
        return kept

    @property
    def sha256(self) -> str:
        """Hash of everything in the pool, pixels included."""
        return str(self.record["sha256"])

    def content_hashes(self) -> set[str]:
        """Content hash of every image."""
        return set(self.manifest["content_hash"].to_pylist())

    def fingerprints(self) -> UInt8[np.ndarray, "n 22 22"]:
        """What every image looks like, as `images.fingerprint.fingerprint` sees the picture of its file.

        In a corpus from before they were kept they are taken from the stored pixels.

        Raises:
            CorpusError: a shard or its fingerprints are missing or damaged.
        """
        thumbs = np.zeros((len(self), CELLS, CELLS), dtype=np.uint8)
        shards, rows = self._places
        if "fingerprints" not in self.record:
            for index in range(len(self)):
                thumbs[index] = fingerprint(self.read_unpadded(index))
            return thumbs
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero(shards == shard)
            try:
                thumbs[here] = read_fingerprints(self.folder, shard)[rows[here]]
            except (FolderError, IndexError) as error:
                raise CorpusError(f"fingerprints are damaged ({error})", hint=REBUILD) from error
        return thumbs

    def read_unpadded(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """The image of one row without the black around it."""
        rows, columns = (int(self.manifest[side][index].as_py()) for side in ("height", "width"))
        top, left, height, width = content_box(rows, columns, self.size_px, fit=self.fit)
        return self.read(np.array([index]))[0, top : top + height, left : left + width]

    def read(self, indices: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size"]:
        """The images of some rows of the manifest.

        Each image is read straight into the answer by one system call. Mapped pages would count as this
        process's memory and grow to the size of the corpus; these stay with the system's cache. Threads may
        read at the same time.

        Args:
            indices: rows, each in [0, len(self)); in any order, repeats allowed.

        Raises:
            IndexError: a row that is not there.
            CorpusError: a shard is missing, cannot be read, or is shorter than it says.
        """
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"rows must be 0 to {len(self) - 1}, not {indices.min()} to {indices.max()}")
        size = self.size_px
        out = np.empty((len(indices), size, size), dtype=np.uint8)
        shards, rows = self._places
        places = zip(shards[indices].tolist(), rows[indices].tolist(), strict=True)
        for image, (shard, row) in zip(out, places, strict=True):
            opened = self._opened(shard)
            try:
                complete = (
                    os.preadv(opened.handle, [image.data], opened.start + row * size * size) == size * size
                )
            except OSError as error:
                raise CorpusError(f"{opened.path}: cannot be read ({error.strerror})") from error
            if not complete:
                raise CorpusError(f"{opened.path}: ends early", hint=REBUILD)
        return out

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return self.manifest["shard"].to_numpy(), self.manifest["row"].to_numpy()

    @cached_property
    def _opened(self) -> Callable[[int], "_OpenShard"]:
        folder = self.folder  # not self: a cache that holds its owner is never freed
        known: dict[int, tuple[Path, int]] = {}  # with 4,000 shards, batches read in a third of the time

        def opened(shard: int) -> _OpenShard:
            if shard not in known:
                path = part_folder(folder, shard) / SHARD_FILE
                known[shard] = path, npy_start(path)
            return _OpenShard(*known[shard])

        return lru_cache(MAX_OPEN_SHARDS)(opened)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.rows is None:
            return open_corpus, (self.folder,)
        return _open_only, (self.folder, self.rows)


class _OpenShard:
    """A file that stays open as long as somebody refers to it, so threads may read what the cache dropped."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.start = start
        try:
            self.handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read ({error.strerror})", hint=REBUILD) from error

    def __del__(self) -> None:
        if "handle" in self.__dict__:
            os.close(self.handle)


REBUILD = "build it again with: usfmae corpus build ... --overwrite"


def open_corpus(folder: Path) -> Corpus:
    """Open a corpus and check that its table is whole and all its shards are there in full length.

    Raises:
        CorpusError: not a corpus, unfinished, of another format, its table is damaged or that of another
            corpus, or a shard is missing or of another length.
    """
    record = _read_record(folder)
    wrong = [
        f"{shard['path']} ({'missing' if not (folder / shard['path']).exists() else 'of another length'})"
        for shard in record["shards"]
        if not (folder / shard["path"]).exists() or (folder / shard["path"]).stat().st_size != shard["bytes"]
    ]
    if wrong:
        raise CorpusError(
            f"{folder}: {len(wrong)} of {len(record['shards'])} shards are damaged (first: {wrong[0]})",
            hint=REBUILD,
        )
    try:
        manifest = read_table(folder / MANIFEST_FILE)
        sha256 = file_sha256(folder / MANIFEST_FILE)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{folder / MANIFEST_FILE}: cannot be read ({error})", hint=REBUILD) from error
    if manifest.num_rows != record["num_images"] or sha256 != record["manifest_sha256"]:
        raise CorpusError(
            f"{folder / MANIFEST_FILE}: is damaged, or of another corpus ({manifest.num_rows} images; "
            f"{CORPUS_FILE} tells of {record['num_images']}, and its checksum differs)",
            hint=REBUILD,
        )
    return Corpus(folder, record, manifest)


def _read_record(folder: Path) -> dict[str, Any]:
    """The content of corpus.json, if it is that of a finished corpus that can be read here."""
    try:
        record = read_json(folder / CORPUS_FILE)
    except FolderError as error:
        raise CorpusError(
            f"{folder}: is no corpus ({error.message})", hint="make one: usfmae corpus build"
        ) from error
    found = record.get("format", FORMAT) if isinstance(record, dict) else None
    if found != FORMAT:
        raise CorpusError(
            f"{folder}: is a corpus of another version of usfmae (format {found}, here {FORMAT})",
            hint=f"use that version, or {REBUILD}",
        )
    if record.get("status") != "finished":
        raise CorpusError(f"{folder}: is not finished", hint="go on with: usfmae corpus build ... --resume")
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        raise CorpusError(f"{folder / CORPUS_FILE}: is damaged ({missing[0]} is missing)", hint=REBUILD)
    return dict(record)


_NEEDED = ("sha256", "size_px", "num_images", "manifest_sha256", "sources", "shards")
"""What every finished corpus.json has had since the first."""


def _open_only(folder: Path, rows: Int[np.ndarray, " n"]) -> Corpus:
    return open_corpus(folder).only(rows)


def joint_terms(corpora: Sequence[Corpus]) -> dict[str, bool | None]:
    """What the strictest licence of several pools allows; of one pool, its own terms.

    A pool from before terms were kept states nothing.
    """
    if len(corpora) == 1:
        return corpora[0].terms
    terms = (make_config(Terms, corpus.terms) if corpus.terms else NOTHING_STATED for corpus in corpora)
    return strictest(terms).model_dump()


def verify_corpus(folder: Path) -> int:
    """Check every byte against the checksums of corpus.json; returns the number of files checked.

    Raises:
        CorpusError: a file is missing or differs; the first is named.
    """
    corpus = open_corpus(folder)
    files = [*corpus.record["shards"], *corpus.record.get("fingerprints", ())]
    expected = {file["path"]: file["sha256"] for file in files}
    expected[MANIFEST_FILE] = corpus.record["manifest_sha256"]
    wrong = []
    with progress_bar("corpus verify", total=len(expected)) as bar:
        for name, sha256 in expected.items():
            if not (folder / name).exists() or file_sha256(folder / name) != sha256:
                wrong.append(name)
            bar.advance()
    if wrong:
        raise CorpusError(
            f"{folder}: {len(wrong)} of {len(expected)} files are damaged (checksum; first: {wrong[0]})",
            hint=REBUILD,
        )
    return len(expected)


def npy_start(path: Path) -> int:
    """Offset in bytes of the numbers in a .npy file of uint8.

    Raises:
        CorpusError: no such file, or not one of ours.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            _, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if fortran or dtype != np.uint8:
                raise ValueError("not row-major bytes")
            return file.tell()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path}: cannot be read ({error})", hint=REBUILD) from error
