"""Embeddings of any pile of files: one table, written as it goes, a row per frame.

    features.parquet          path, frame, embedding (fixed-size list of float32)
    features.json             what made it, and every file that could not be read
    features.parquet.parts/   while it is being made: what `resume` goes on with

Rows hold the path as it was named and the number of the frame, never what a DICOM file says of a person.
Memory does not grow with the number of files: some frames are read ahead, and rows leave by the thousand.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import FolderError, ImageError, SettingError
from usfmae.base.files import claimed_folder, read_json, remove_folder, remove_partials, write_by, write_json
from usfmae.base.logs import Bar, get_logger, progress_bar
from usfmae.base.record import made_by
from usfmae.engine.devices import PrecisionName
from usfmae.evaluate.embedder import Embedder
from usfmae.evaluate.frame_stream import FrameStream, ReadFile
from usfmae.images.read import is_image_path
from usfmae.models.classifier import PoolName

log = get_logger(__name__)

FILES_PER_PART = 1000
"""Files that are written, and after a kill taken up again, together."""

ROWS_AT_ONCE = 4096
"""Rows of a row group."""

NUM_NAMED = 10
"""Unreadable files that are named on stderr; the JSON names all."""

MARKER = "embed.json"


class EmbedConfig(Config):
    """What decides the numbers."""

    every: int = Field(default=1, ge=1)
    """Of a clip or volume each frame whose number (from 0) this divides."""

    pool: PoolName = "mean"
    """How tokens become one vector."""

    precision: PrecisionName = "fp32"
    """Of the encoder."""

    batch: int = Field(default=64, ge=1)
    """Frames in the network at a time; another number may change the last bits."""


def find_files(named: Sequence[Path]) -> list[Path]:
    """The files that are named and those that lie in named folders, which are searched through, in order.

    Raises:
        FolderError: there is no such file, nothing was named, or a folder holds no image.
        SettingError: a file is there twice.
    """
    if not named:
        raise FolderError("no files were named", hint="usfmae embed FILE DIR --out features.parquet")
    found: list[Path] = []
    for path in named:
        if path.is_dir():
            found += _images_below(path)
        elif path.exists():
            found.append(path)
        else:
            raise FolderError(f"{path}: no such file or folder", hint="check the path for a typing slip")
    first: dict[Path, Path] = {}
    for path in found:
        other = first.get(path.resolve())
        if other is not None:
            raise SettingError(
                f"{path}: is there twice" + ("" if other == path else f" (also as {other})"),
                hint="name each file once, and not a folder besides what is in it",
            )
        first[path.resolve()] = path
    return found


def _images_below(folder: Path) -> list[Path]:
    inside = sorted(path for path in folder.rglob("*") if path.is_file() and is_image_path(path))
    if not inside:
        raise FolderError(
            f"{folder}: holds no image",
            hint="stills (PNG, JPEG ...), DICOM, clips (MP4 ...) and volumes (NIfTI ...) are found by their "
            "names; name other files one by one",
        )
    return inside


def embed_files(
    named: Sequence[Path],
    embedder: Embedder,
    *,
    out: Path,
    config: EmbedConfig,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the embeddings of all frames of all files; returns the content of the JSON beside the table.

    Args:
        named: files and folders.
        embedder: on the device where it is to run.
        out: the table, `.parquet`.
        config: which frames, and how they are encoded.
        resume: go on where an earlier call was stopped.
        overwrite: replace an earlier table.

    Raises:
        FolderError: as for `find_files`; the table exists, or was begun with other weights, files or
            settings.
        SettingError: `out` is no `.parquet`, or a file is named twice.
        ImageError: not one file can be read.
    """
    if out.suffix != ".parquet":
        raise SettingError(f"--out {out}: is no .parquet file", hint=f"--out {out.with_suffix('.parquet')}")
    files = find_files(named)
    record: dict[str, Any] = {
        "made_by": made_by("embed", settings=config, inputs={"weights": embedder.sha256}),
        "weights": embedder.name,
        "weights_sha256": embedder.sha256,
        "input_spec": embedder.input_spec.model_dump(mode="json"),
        "device": next(embedder.encoder.parameters()).device.type,
        "plan_sha256": _plan_sha256(files, embedder, config),
    }
    about, parts = out.with_suffix(".json"), out.with_name(f"{out.name}.parts")
    if out.exists() and not overwrite:
        earlier: dict[str, Any] = read_json(about) if resume and about.is_file() else {}
        if earlier.get("plan_sha256") == record["plan_sha256"]:
            log.info("%s: is finished already", out)
            return earlier
        why = "was made with other weights, files or settings" if resume else "exists already"
        raise FolderError(f"{out}: {why}", hint="--overwrite starts again, or choose another --out")
    with claimed_folder(parts, marker=MARKER, doing="embedding", resume=resume, overwrite=overwrite):
        begun: dict[str, Any] = read_json(parts / MARKER) if (parts / MARKER).exists() else record
        if begun["plan_sha256"] != record["plan_sha256"]:
            raise FolderError(
                f"{out}: was begun with other weights, files or settings",
                hint="--overwrite starts again, or choose another --out",
            )
        write_json(parts / MARKER, begun)
        remove_partials(parts)
        started = time.perf_counter()
        done = _write_parts(files, embedder, parts, config)
        record |= _gather(done, out, record, num_files=len(files))
        record["seconds"] = time.perf_counter() - started
        write_json(about, record)
        remove_folder(parts)
    return record


def _plan_sha256(files: Sequence[Path], embedder: Embedder, config: EmbedConfig) -> str:
    """Of all that decides the rows."""
    decides = {
        "weights": embedder.sha256,
        "input_spec": embedder.input_spec.model_dump(mode="json"),
        "settings": config.model_dump(mode="json"),
        "files": [str(path) for path in files],
    }
    return hashlib.sha256(json.dumps(decides).encode("utf-8", "backslashreplace")).hexdigest()


def _write_parts(files: Sequence[Path], embedder: Embedder, parts: Path, config: EmbedConfig) -> list[Path]:
    starts = range(0, len(files), FILES_PER_PART)
    made = [parts / f"part-{number:05d}.parquet" for number in range(len(starts))]
    there = sum(
        len(files[start : start + FILES_PER_PART])
        for start, part in zip(starts, made, strict=True)
        if part.exists()
    )
    with progress_bar("embed", total=len(files), done=there) as bar:
        for start, part in zip(starts, made, strict=True):
            if not part.exists():
                chunk = files[start : start + FILES_PER_PART]
                write_by(part, partial(_write_part, chunk, embedder, config, bar))
    return made


def _write_part(files: Sequence[Path], embedder: Embedder, config: EmbedConfig, bar: Bar, path: Path) -> None:
    schema = _schema(embedder.width * (2 if config.pool == "mean+cls" else 1))
    problems: list[dict[str, Any]] = []
    threads = min(8, len(os.sched_getaffinity(0)))
    with (
        FrameStream(files, embedder.prepare_one, every=config.every, threads=threads) as stream,
        pq.ParquetWriter(path, schema) as writer,
    ):
        for rows in _grouped(_encoded(stream, embedder, config, bar, problems), ROWS_AT_ONCE):
            writer.write_table(_table(rows, schema))
        writer.add_key_value_metadata({"usfmae": json.dumps({"unreadable": problems})})


Row = tuple[str, int, "np.ndarray[Any, np.dtype[np.float32]]"]
"""Path, number of the frame, embedding."""


def _encoded(
    stream: FrameStream,
    embedder: Embedder,
    config: EmbedConfig,
    bar: Bar,
    problems: list[dict[str, Any]],
) -> Iterator[Row]:
    waiting: list[tuple[str, int, Any]] = []

    def encoded() -> Iterator[Row]:
        squares = np.stack([square for _, _, square in waiting])
        vectors = embedder.encode(squares, batch=config.batch, pool=config.pool, precision=config.precision)
        yield from ((name, frame, vector) for (name, frame, _), vector in zip(waiting, vectors, strict=True))
        waiting.clear()

    for item in stream:
        if isinstance(item, ReadFile):
            bar.advance()
            if item.problem is not None:
                problems.append({"path": _printable(item.path), "why": item.problem, "rows": item.num_frames})
            continue
        waiting.append((_printable(item.path), item.frame, item.square))
        if len(waiting) == config.batch:
            yield from encoded()
    if waiting:
        yield from encoded()


def _grouped(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _schema(width: int) -> pa.Schema:
    return pa.schema(
        [("path", pa.string()), ("frame", pa.int32()), ("embedding", pa.list_(pa.float32(), width))]
    )


def _table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    vectors = np.stack([vector for _, _, vector in rows])
    columns = [
        pa.array([name for name, _, _ in rows], pa.string()),
        pa.array([frame for _, frame, _ in rows], pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1]),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _gather(parts: Sequence[Path], out: Path, record: dict[str, Any], *, num_files: int) -> dict[str, Any]:
    """Make one table of the parts; what became of the files."""
    unreadable: list[dict[str, Any]] = []
    num_rows = 0
    for part in parts:
        metadata = pq.read_metadata(part)
        num_rows += metadata.num_rows
        unreadable += json.loads(metadata.metadata[b"usfmae"])["unreadable"]
    for problem in unreadable[:NUM_NAMED]:
        log.warning("not read: %s", problem["why"])
    if len(unreadable) > NUM_NAMED:
        log.warning("%d more files could not be read; the JSON names them", len(unreadable) - NUM_NAMED)
    if not num_rows:
        raise ImageError(
            f"not one of {num_files:,} files can be read (first: {unreadable[0]['why']})",
            hint="`usfmae embed` takes stills, DICOM, clips and volumes",
        )
    schema = pq.read_schema(parts[0]).remove_metadata()
    width = schema.field("embedding").type.list_size
    names = ("weights", "weights_sha256", "input_spec")
    about = {name: record[name] for name in names} | {"settings": record["made_by"]["settings"]}

    def write(path: Path) -> None:
        with pq.ParquetWriter(path, schema.with_metadata({"usfmae": json.dumps(about)})) as writer:
            for part in parts:
                with pq.ParquetFile(part) as file:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group))

    write_by(out, write)
    return {
        "num_files": num_files,
        "num_rows": num_rows,
        "width": width,
        "unreadable": {"count": len(unreadable), "named": unreadable},
    }


def _printable(path: Path) -> str:
    """A path as text; bytes that are no UTF-8 read `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
