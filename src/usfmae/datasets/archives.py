"""What is inside an archive, one member at a time, whatever its format; nothing is written here."""

import bz2
import gzip
import io
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from usfmae.base.errors import ArchiveError
from usfmae.datasets.split_archive import Joined, parts_of

Format = Literal["zip", "tar", "gz", "bz2", "xz", "7z", "rar"]

MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gz"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)
TAR_MAGIC_AT = 257
DIRECTORY_BYTES = 65_557
"""The end of a zip's directory lies within this many bytes of the end of the file."""
ENTRY_BYTES = 46
"""An entry of that directory without its name."""
BLOCK = 512
"""Bytes of a tar block."""
MAX_HEADER_BYTES = 1 << 20
"""Of a long name or extended header of a tar, which is read into memory whole."""
MAX_PADDING_BYTES = 1 << 28
"""After the end mark of a tar."""

OPENERS: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError, struct.error, UnicodeError, ValueError),
)
"""What the standard library raises on damaged bytes."""


class NoArchiveError(ArchiveError):
    """A file with the first bytes of no archive."""


@runtime_checkable
class Readable(Protocol):
    """Whatever gives bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    """As the archive spells it; not to be trusted."""

    size: int
    """Bytes as declared; not to be trusted."""

    trouble: str | None
    """Why it must not be unpacked ("is a symbolic link"), or None for a plain file."""

    stream: Readable | None
    """Its content; None for trouble."""


def find_format(archive: Path) -> Format:
    """The format of an archive by its first bytes.

    Raises:
        ArchiveError: missing, empty, a web page, or of a format that is not known (`NoArchiveError`).
    """
    try:
        with parts_of(archive)[0].open("rb") as file:
            head = file.read(BLOCK)
            file.seek(max(0, archive.stat().st_size - DIRECTORY_BYTES))
            tail = file.read() if parts_of(archive) == [archive] else b""
    except OSError as error:
        raise ArchiveError(f"{archive}: {error.strerror or error}") from error
    if not head:
        raise ArchiveError(f"{archive}: is empty (0 bytes)", hint="fetch it again")
    if re.match(rb"\s*(<!doctype html|<html|<\?xml[^>]*>\s*<!doctype html)", head, re.IGNORECASE):
        raise ArchiveError(
            f"{archive}: is a web page, not an archive; probably a login or error page",
            hint="open the dataset's page in a browser, log in, and download the file itself",
        )
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar":
        return "tar"
    if b"PK\x05\x06" in tail:
        return "zip"  # the last part of a split one, whose directory tells how many there are
    raise NoArchiveError(
        f"{archive}: is no archive of a known format", hint="zip, tar, gz, bz2, xz, 7z and rar are unpacked"
    )


@contextmanager
def open_members(archive: Path, kind: Format, *, max_members: int) -> Iterator[Iterator[Member]]:
    """The members of a zip, tar or singly compressed file, read one after the other.

    Args:
        archive: the file, or the last part of a split zip.
        kind: as `find_format` says.
        max_members: an archive that declares more is refused before it is listed.

    Raises:
        ArchiveError: parts are missing, too many members, damaged.
    """
    with ExitStack() as stack:
        try:
            if kind == "zip":
                yield _zip_members(stack, archive, max_members)
            elif kind == "tar":
                yield _tar_members(stack.enter_context(archive.open("rb")), max_members)
            else:
                yield _compressed_members(stack, archive, kind, max_members)
        except ArchiveError:
            raise
        except MemoryError as error:
            raise ArchiveError(f"{archive}: needs more memory than there is") from error
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, EOFError):
                raise
            raise ArchiveError(
                f"{archive}: is damaged or cut short ({error or type(error).__name__})",
                hint="fetch it again; usfmae datasets fetch goes on where a download stopped",
            ) from error


def _zip_members(stack: ExitStack, archive: Path, max_members: int) -> Iterator[Member]:
    parts = parts_of(archive)
    file: Any = stack.enter_context(Joined(parts) if len(parts) > 1 else archive.open("rb"))
    num_members, disk = _declared(file, archive, max_members)
    if num_members > max_members:
        raise ArchiveError(
            f"{archive}: declares {num_members:,} members; at most {max_members:,} are unpacked",
            hint="if it is meant to hold so many, unpack it yourself",
        )
    split = len(parts) > 1 and archive.suffix[1:].isdigit() is False
    if disk and not split:
        raise ArchiveError(
            f"{archive}: is the last of {disk + 1} parts, and the others are not beside it "
            f"(first: {archive.stem}.z01)",
            hint="put all parts into one folder, with equal names before the dot",
        )
    content = stack.enter_context(zipfile.ZipFile(file))
    if split:
        assert isinstance(file, Joined)
        _mend_offsets(content, file)
    return _zip_files(content)


def _zip_files(content: zipfile.ZipFile) -> Iterator[Member]:
    for info in content.infolist():
        mode = info.external_attr >> 16
        if info.orig_filename and info.is_dir():
            continue
        trouble = None
        if info.flag_bits & 1:
            trouble = "is encrypted"
        elif mode and stat.S_ISLNK(mode):
            trouble = "is a symbolic link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            trouble = "is no plain file"
        if trouble or not info.orig_filename or "\0" in info.orig_filename:
            yield Member(info.orig_filename, info.file_size, trouble, None)
            continue
        with content.open(info) as stream:
            yield Member(info.orig_filename, info.file_size, None, stream)


def _declared(file: Any, archive: Path, max_members: int) -> tuple[int, int]:
    """How many members the directory at the end declares or holds, and the number of the last disk."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - DIRECTORY_BYTES))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise ArchiveError(
            f"{archive}: is damaged or cut short (no directory at its end)", hint="fetch it again"
        )
    disk, _, _, num_members = struct.unpack("<4H", tail[at + 4 : at + 12])
    (directory_bytes,) = struct.unpack("<L", tail[at + 12 : at + 16])
    ends_at = size - len(tail) + at
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if wide >= 0 and wide + 48 <= len(tail):
        num_wide, wide_bytes = struct.unpack("<2Q", tail[wide + 32 : wide + 48])
        num_members, directory_bytes = (
            max(num_members, num_wide),
            max(directory_bytes % 0xFFFFFFFF, wide_bytes),
        )
        ends_at = size - len(tail) + wide
    if directory_bytes > max_members * ENTRY_BYTES:  # the number may be a lie: zipfile lists what is there
        num_members = max(num_members, _num_entries(file, ends_at - directory_bytes, ends_at, max_members))
    file.seek(0)
    return num_members, 0 if disk == 0xFFFF else disk


def _num_entries(file: Any, start: int, stop: int, enough: int) -> int:
    """How many entries a directory really has; counting ends when there are more than enough."""
    number, at = 0, max(0, start)
    while at < stop and number <= enough:
        file.seek(at)
        entry = file.read(ENTRY_BYTES)
        if len(entry) < ENTRY_BYTES or entry[:4] != b"PK\x01\x02":
            break
        at += ENTRY_BYTES + sum(struct.unpack("<3H", entry[28:34]))
        number += 1
    return number


def _mend_offsets(content: zipfile.ZipFile, file: "Joined") -> None:
    """Offsets of a split zip count from the start of the part; zipfile takes them from the whole."""
    shift = file.starts[-1]  # what zipfile has added: the directory begins in the last part
    for info in content.infolist():
        info.header_offset += file.starts[min(info.volume, len(file.starts) - 1)] - shift
        if hasattr(info, "_end_offset"):
            info._end_offset = None


class _SmallHeader(tarfile.TarInfo):
    """A tar header that refuses to be followed by a gigabyte of name."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_SmallHeader":
        info = super().frombuf(buf, encoding, errors)
        if info.type in b"xgXLK" and info.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {info.size:,} bytes")
        return info


def _tar_members(file: Readable, max_members: int) -> Iterator[Member]:
    ending = _Ending(file)
    with tarfile.open(fileobj=ending, mode="r|", errorlevel=2, tarinfo=_SmallHeader) as content:
        for number, info in enumerate(content):
            vars(content)["members"] = []  # a million of them would fill the memory
            if number > max_members:
                raise tarfile.ReadError(f"more than {max_members:,} files and folders, the most allowed")
            if info.isdir():
                continue
            trouble = None
            if info.issym():
                trouble = "is a symbolic link"
            elif info.islnk():
                trouble = "is a hard link"
            elif not info.isreg():
                trouble = "is no plain file"
            yield Member(info.name, info.size, trouble, None if trouble else content.extractfile(info))
    if not ending.ended:
        raise EOFError("no end mark")
    padding = 0
    while more := len(file.read(1 << 20)):  # to the end, so that a compressed file checks its sum
        padding += more
        if padding > MAX_PADDING_BYTES:
            raise tarfile.ReadError(f"more than {MAX_PADDING_BYTES:,} bytes after its end mark")


def _compressed_members(stack: ExitStack, archive: Path, kind: Format, max_members: int) -> Iterator[Member]:
    file = stack.enter_context(OPENERS[kind](archive, "rb"))
    head = file.read(BLOCK)
    file.seek(0)
    if head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar":
        return _tar_members(file, max_members)
    return iter([Member(archive.stem, -1, None, file)])


class _Ending(io.RawIOBase):
    """A stream that remembers whether the end mark of a tar, a block of zeros, has gone by."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._last = (self._last + content)[-2 * BLOCK :]
        return content

    @property
    def ended(self) -> bool:
        return bytes(BLOCK) in self._last
