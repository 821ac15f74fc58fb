"""The only writer: a file or folder appears whole or not at all.

Everything is written to a temporary neighbour, flushed to the disk and renamed, so a kill at
any moment leaves either the old content or the new, never half.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from usfmae.base.errors import FolderError, UsfmaeError
from usfmae.base.logs import get_logger

log = get_logger(__name__)
PARTIAL = ".partial-"
"""Prefix of temporary names; whatever starts with it may be deleted at any time."""


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends without an error.

    Raises:
        FolderError: the disk is full or the folder cannot be written.
    """
    with _or_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=path.parent)
    temporary = Path(name)
    with _or_folder_error(path, unfinished=temporary):
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with new_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON (two spaces, keys in the order given, no NaN) to `path`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_by(path: Path, save: Callable[[Path], object]) -> None:
    """Let a library that wants a path write `path`, whole or not at all.

    Args:
        path: the file to make.
        save: called with a temporary path that has the same suffix.

    Raises:
        FolderError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    with _or_folder_error(path, unfinished=temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        save(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FolderError: the file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FolderError(f"{path}: no such file") from error
    except (ValueError, OSError) as error:
        raise FolderError(f"{path}: cannot be read as JSON ({error})") from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that becomes `path` when the block ends without an error.

    Yields:
        The temporary folder to fill.

    Raises:
        FolderError: the disk is full or the folder cannot be written.
    """
    with _or_folder_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
    with _or_folder_error(path, unfinished=temporary):
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        _sync_folder(path.parent)


def claim_folder(
    out: Path, *, marker: str, resume: bool = False, overwrite: bool = False, resumable: bool = True
) -> None:
    """Make `out` ready to be written, by the one rule all stages share.

    A new or empty folder is made. One that exists is an error unless `resume` (go on there) or
    `overwrite` (delete what is there first). A folder is gone on with or overwritten only if it holds
    `marker` (or nothing but what a killed writer left), so a typing slip can neither delete somebody's data
    nor make them look like ours.

    Args:
        out: the output folder.
        marker: name of the JSON file by which the stage knows its own folder, `corpus.json`.
        resume: go on with what is there.
        overwrite: start again.
        resumable: whether the command has `--resume`, for the hint.

    Raises:
        FolderError: the folder exists and neither was asked for, or is not one of ours.
    """
    if resume and overwrite:
        raise FolderError("--resume and --overwrite exclude each other", hint="give one of the two")
    if out.exists() and not out.is_dir():
        raise FolderError(f"{out}: is a file, not a folder", hint="choose another --out")
    filled = out.is_dir() and any(out.iterdir())
    if filled and not resume and not overwrite:
        resuming = "--resume goes on there, " if resumable else ""
        raise FolderError(
            f"{out}: exists already", hint=f"{resuming}--overwrite starts again, or choose another --out"
        )
    others = sorted(path.name for path in out.iterdir() if not _is_partial(path)) if filled else []
    if others and not (out / marker).exists():
        raise FolderError(
            f"{out}: holds no {marker} to go on with, but {others[0]}"
            if resume
            else f"{out}: holds no {marker}, so it was not made by this command and is not deleted",
            hint="choose another --out, or delete it yourself",
        )
    with _or_folder_error(out):
        if overwrite and others:
            _empty_folder(out, last=marker)
        out.mkdir(parents=True, exist_ok=True)


def _is_partial(path: Path) -> bool:
    return path.name.startswith(PARTIAL)


def _empty_folder(folder: Path, *, last: str) -> None:
    """Delete what is in a folder, not the folder: its lock is held by what it is, not by what it is called.

    Everything gets a temporary name first and `last`, by which we know the folder, gets it last: a kill at
    any moment leaves either that or nothing but temporary names.
    """
    doomed = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    kept = [path for path in folder.iterdir() if not _is_partial(path)]
    for path in sorted(kept, key=lambda path: (path.name == last, path.name)):
        path.rename(doomed / path.name)
    shutil.rmtree(doomed)


@contextmanager
def alone_in(folder: Path, *, doing: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock on a folder that ends with this process, however it ends.

    Args:
        folder: must exist.
        doing: what the other one does, for the message: "another `doing` is writing there".
        wait_s: how long to wait for the lock; processes that a killed one leaves hold it for some seconds.

    Raises:
        FolderError: another process holds it, or the folder was deleted meanwhile.
    """
    until = time.monotonic() + wait_s
    while True:
        with _or_folder_error(folder):
            handle = os.open(folder, os.O_RDONLY)
        try:
            if not _lock(handle, until=until):
                raise FolderError(f"{folder}: another {doing} is writing there", hint="wait until it ends")
            if _is_still(folder, handle):
                yield
                return
        finally:
            os.close(handle)


def _lock(handle: int, *, until: float) -> bool:
    """Whether the lock was had in time; where the file system knows none, it always is."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        except OSError:
            log.debug("this file system knows no locks")
            return True


def _is_still(folder: Path, handle: int) -> bool:
    """Whether the open folder is the one of that name, not one that was deleted while we waited."""
    return folder.is_dir() and os.path.samestat(os.fstat(handle), folder.stat())


@contextmanager
def claimed_folder(
    out: Path, *, marker: str, doing: str, resume: bool = False, overwrite: bool = False, wait_s: float = 0.0
) -> Iterator[None]:
    """`claim_folder` and `alone_in`: a folder in which another works is neither entered nor deleted."""
    if not out.is_dir():
        claim_folder(out, marker=marker, resume=resume, overwrite=overwrite)
    with alone_in(out, doing=doing, wait_s=wait_s):
        claim_folder(out, marker=marker, resume=resume, overwrite=overwrite)
        yield


def said_by_disk(error: BaseException) -> OSError | None:
    """What the operating system said, also where a library written in Rust (safetensors) says it in words.

    None where it said nothing, and for errors of ours, which may quote what it said of a file that was read.
    """
    if isinstance(error, OSError):
        return error
    found = None if isinstance(error, UsfmaeError) else re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def remove_folder(path: Path) -> None:
    """Delete a folder in such a way that a kill does not leave half of it under its name."""
    doomed = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_partials(folder: Path) -> int:
    """Delete what killed writers left below `folder`; returns how many."""
    left = list(folder.rglob(f"{PARTIAL}*"))
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _or_folder_error(path: Path, *, unfinished: Path | None = None) -> Iterator[None]:
    """Whatever goes wrong inside leaves nothing unfinished; what the disk says becomes a FolderError."""
    try:
        yield
    except BaseException as error:
        if unfinished is not None and unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        elif unfinished is not None:
            unfinished.unlink(missing_ok=True)
        said = said_by_disk(error)
        if said is None:
            raise
        hint = HINTS.get(said.errno or 0, "")
        why = os.strerror(said.errno) if said.errno else str(said)  # Arrow wraps it in a paragraph
        raise FolderError(f"{path}: cannot be written ({why})", hint=hint) from error


HINTS = {
    errno.ENOSPC: "free some space, then go on with --resume",
    errno.EDQUOT: "free some of your share of the disk, then go on with --resume",
    errno.EFBIG: "files may not grow so large here (ulimit -f); raise that, then go on with --resume",
    errno.EACCES: "choose a folder that you may write into",
    errno.EROFS: "choose a folder that you may write into",
}
"""What to do, by what the operating system says when something cannot be written."""
