"""Reading a corpus: memory-mapped shards and the table that says what is in them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int, UInt8

from usfmae.base.errors import CorpusError, FolderError
from usfmae.base.files import file_sha256, read_json
from usfmae.corpus.manifest import read_table
from usfmae.corpus.part import SHARD_FILE, part_folder

CORPUS_FILE, MANIFEST_FILE = "corpus.json", "manifest.parquet"


@dataclass(frozen=True)
class Corpus:
    """A pool of prepared images on disk. Picklable: worker processes open the shards themselves."""

    folder: Path
    """Made by `usfmae corpus build`."""

    record: dict[str, Any] = field(repr=False)
    """The content of corpus.json."""

    manifest: pa.Table = field(repr=False)
    """One row per image; columns as in `manifest.SCHEMA`."""

    def __len__(self) -> int:
        return int(self.manifest.num_rows)

    @property
    def size_px(self) -> int:
        """Side of the stored images."""
        return int(self.record["size_px"])

    @property
    def sha256(self) -> str:
        """Hash of everything in the pool, pixels included."""
        return str(self.record["sha256"])

    def content_hashes(self) -> set[str]:
        """Content hash of every image."""
        return set(self.manifest["content_hash"].to_pylist())

    def read(self, indices: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n size size"]:
        """The images of some rows of the manifest.

        Each image is read straight into the answer by one system call. Mapped pages would count as this
        process's memory and grow to the size of the corpus; these stay with the system's cache.

        Raises:
            IndexError: a row that is not there.
            CorpusError: a shard is shorter than it says.
        """
        size = self.size_px
        out = np.empty((len(indices), size, size), dtype=np.uint8)
        shards, rows = self._places
        for k, index in enumerate(indices):
            handle, start = self._open(int(shards[index]))
            got = os.preadv(handle, [out[k]], start + int(rows[index]) * size * size)
            if got != size * size:
                path = part_folder(self.folder, int(shards[index])) / SHARD_FILE
                raise CorpusError(f"{path}: ends early", hint=_REBUILD)
        return out

    @cached_property
    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return self.manifest["shard"].to_numpy(), self.manifest["row"].to_numpy()

    @cached_property
    def _handles(self) -> dict[int, tuple[int, int]]:
        return {}

    def _open(self, shard: int) -> tuple[int, int]:
        if shard not in self._handles:
            path = part_folder(self.folder, shard) / SHARD_FILE
            start = npy_start(path)
            self._handles[shard] = (os.open(path, os.O_RDONLY), start)
        return self._handles[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "record": self.record, "manifest": self.manifest}

    def __del__(self) -> None:
        for handle, _ in self.__dict__.get("_handles", {}).values():
            os.close(handle)


_REBUILD = "build it again with: usfmae corpus build ... --overwrite"


def open_corpus(folder: Path) -> Corpus:
    """Open a corpus and check that all its shards are there in full length.

    Raises:
        CorpusError: not a corpus, unfinished, or a shard is missing or of another length.
    """
    try:
        record = read_json(folder / CORPUS_FILE)
    except FolderError as error:
        raise CorpusError(
            f"{folder}: is no corpus ({error.message})", hint="make one: usfmae corpus build"
        ) from error
    if record.get("status") != "finished":
        raise CorpusError(f"{folder}: is not finished", hint="go on with: usfmae corpus build ... --resume")
    wrong = [
        f"{shard['path']} ({'missing' if not (folder / shard['path']).exists() else 'of another length'})"
        for shard in record["shards"]
        if not (folder / shard["path"]).exists() or (folder / shard["path"]).stat().st_size != shard["bytes"]
    ]
    if wrong:
        raise CorpusError(
            f"{folder}: {len(wrong)} of {len(record['shards'])} shards are damaged (first: {wrong[0]})",
            hint=_REBUILD,
        )
    try:
        manifest = read_table(folder / MANIFEST_FILE)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{folder / MANIFEST_FILE}: cannot be read ({error})", hint=_REBUILD) from error
    return Corpus(folder, record, manifest)


def verify_corpus(folder: Path) -> int:
    """Check every byte against the checksums of corpus.json; returns the number of files checked.

    Raises:
        CorpusError: a file is missing or differs; the first is named.
    """
    corpus = open_corpus(folder)
    files: Sequence[dict[str, Any]] = [
        *corpus.record["shards"],
        {"path": MANIFEST_FILE, "sha256": corpus.record["manifest_sha256"]},
    ]
    wrong = [entry["path"] for entry in files if file_sha256(folder / entry["path"]) != entry["sha256"]]
    if wrong:
        raise CorpusError(
            f"{folder}: {len(wrong)} of {len(files)} files are damaged (checksum; first: {wrong[0]})",
            hint=_REBUILD,
        )
    return len(files)


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
        raise CorpusError(f"{path}: cannot be read ({error})", hint=_REBUILD) from error
