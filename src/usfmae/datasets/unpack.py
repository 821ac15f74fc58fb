"""From an archive to a folder, completely or not at all, and never a file outside of it.

An archive from the internet is not trusted: names may climb out, links may lead out, a few kilobytes may
swell to a full disk. Everything is checked while it streams into a temporary neighbour, which takes the
place of the folder only when the last byte is there.
"""

import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import ArchiveError, FolderError
from usfmae.base.files import PARTIAL
from usfmae.base.logs import progress_bar
from usfmae.datasets.archives import Member, find_format, open_members
from usfmae.datasets.outside_archives import unpack_7z, unpack_rar
from usfmae.datasets.split_archive import parts_of

JUNK_NAMES = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
NESTED = re.compile(r".+\.(zip|tar|tgz|tar\.(gz|bz2|xz)|7z|rar)", re.IGNORECASE)
"""Names of archives in archives; `.nii.gz` is an image."""

CHUNK = 1 << 20
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 3000


class Limits(Config):
    """How much an archive may become."""

    max_members: int = Field(default=2_000_000, ge=1)
    max_bytes: int = Field(default=500 * 1024**3, ge=1)
    """Of all files together."""
    max_ratio: float = Field(default=300.0, gt=1)
    """Of unpacked to packed bytes; label volumes shrink a hundredfold, bombs a thousandfold."""
    ratio_from_bytes: int = Field(default=256 * 1024**2, ge=0)
    """Less than this is harmless whatever its ratio."""
    max_nesting: int = Field(default=3, ge=0)
    """Archives in archives in archives; deeper ones are left as files."""


@dataclass
class Unpacked:
    """What came out."""

    num_files: int = 0
    num_bytes: int = 0
    num_junk: int = 0
    """Files of desktops that were left out (`__MACOSX`, `.DS_Store`)."""
    nested: list[str] = field(default_factory=list)
    """Archives that were found inside and unpacked into a folder of their name."""


def unpack(archive: Path, into: Path, *, limits: Limits | None = None) -> Unpacked:
    """Unpack an archive, and the archives in it, into a folder.

    Formats are told by content: zip (also split), tar, tar.gz / bz2 / xz, gz / bz2 / xz of one file, 7z
    (extra `archives`), rar (where an outside tool is installed). An existing folder gets the new files; one
    that is there already with other content is an error.

    Args:
        archive: the file; of a split zip the last part.
        into: the folder to make or to add to.
        limits: how much it may become.

    Raises:
        ArchiveError: damaged, encrypted, no archive; or a member that is a link, has a name that leads out,
            stands twice, or makes the whole too large. Nothing is left behind.
        FolderError: the disk is full, or a file is there already with other content.
        MissingExtraError: a 7z file, and py7zr is not installed.
    """
    limits = limits or Limits()
    out = Unpacked()
    with _neighbour(into) as temporary:
        budget = _Budget(archive, temporary, limits, out, outer=None)
        _unpack_one(archive, temporary, budget, depth=0)
        if not out.num_files:
            raise ArchiveError(f"{archive}: holds no file")
        move_in(temporary, into)
    return out


@contextmanager
def _neighbour(into: Path) -> Iterator[Path]:
    """A temporary folder beside `into`, gone afterwards whatever happens."""
    if into.exists() and not into.is_dir():
        raise FolderError(f"{into}: is a file, not a folder", hint="choose another --root")
    made = [parent for parent in (into.parent, *into.parent.parents) if not parent.exists()]
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=into.parent))
    except OSError as error:
        raise FolderError(f"{into}: cannot be written ({error.strerror or error})") from error
    try:
        yield temporary
    except OSError as error:
        hint = "free some space and try again" if error.errno == 28 else ""
        raise FolderError(f"{into}: cannot be written ({error.strerror or error})", hint=hint) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _unpack_one(archive: Path, into: Path, budget: "_Budget", *, depth: int) -> None:
    kind, limits, out = find_format(archive), budget.limits, budget.out
    if kind == "zip":
        budget.packed = sum(part.stat().st_size for part in parts_of(archive))
    found: list[Path] = []
    if kind in ("7z", "rar"):
        cage = into / f"{PARTIAL}outside"
        if kind == "7z":
            names = unpack_7z(archive, cage, check=budget.check)
        else:
            names = unpack_rar(archive, cage, check=budget.check, watch=budget.watch)
        found = _take_over(cage, into, names, budget)
    else:
        seen: dict[str, str] = {}
        with (
            open_members(archive, kind, max_members=limits.max_members) as members,
            progress_bar(f"unpack {archive.name}", total=budget.packed // CHUNK + 1) as bar,
        ):
            for member in members:
                name = budget.check(member.name, member.size, member.trouble)
                if name is None:
                    continue
                budget.refuse_twice(name, seen)
                path = into / name
                assert member.stream is not None
                budget.copy(member, path)
                bar.say(f"{out.num_files:,} files")
                found.append(path)
    for path in found:
        if NESTED.fullmatch(path.name) and depth < limits.max_nesting:
            inside = _folder_for(path)
            inside.mkdir()
            name = path.relative_to(into).as_posix()
            try:
                _unpack_one(path, inside, _Budget(path, inside, limits, out, outer=budget), depth=depth + 1)
            except (ArchiveError, FolderError) as error:
                said = error.message.replace(str(path), f"{archive}: '{name}' in it")
                raise type(error)(said, hint=error.hint) from error
            out.nested.append(name)
            out.num_files -= 1
            path.unlink()


def _folder_for(path: Path) -> Path:
    """Where an archive inside an archive is unpacked: beside it, by its name without the suffix."""
    name = re.sub(r"(\.tar)?\.[^.]+$", "", path.name)
    if name.strip(".") and not path.with_name(name).exists():
        return path.with_name(name)
    return next(
        there
        for number in count(1)
        if not (there := path.with_name(f"{path.name}.unpacked{number if number > 1 else ''}")).exists()
    )


class _Budget:
    """Checks names and counts bytes of one archive; the counts of nested ones go on."""

    def __init__(
        self, archive: Path, into: Path, limits: Limits, out: Unpacked, *, outer: "_Budget | None"
    ) -> None:
        self.archive, self.into, self.limits, self.out, self.outer = archive, into, limits, out, outer
        self.packed = archive.stat().st_size if archive.is_file() else 0
        self.bytes_before, self.files_before = out.num_bytes, out.num_files
        self.num_listed = 0
        self.num_declared_bytes = 0

    def check(self, name: str, size: int, trouble: str | None) -> str | None:
        """The name below the folder, None for junk.

        Raises:
            ArchiveError: it leads out, is a link, or there are too many.
        """
        parts = PurePosixPath(name).parts
        if any(part in JUNK_NAMES or part.startswith("._") for part in parts):
            self.out.num_junk += 1
            self.num_declared_bytes += max(size, 0)  # it is not written, and yet has to be read
            self._refuse_size()
            return None
        if trouble is not None:
            raise self._refused(name, trouble)
        if not name or "\\" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
            raise self._refused(name, "has a name that no file can have")
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts or not parts:
            raise self._refused(name, "leads out of the folder")
        if any(part.startswith(PARTIAL) for part in parts):
            raise self._refused(name, "has a name of the kind that is deleted at any time")
        longest = max(len(os.fsencode(part)) for part in parts)
        if longest > MAX_NAME_BYTES or len(os.fsencode(name)) > MAX_PATH_BYTES:
            raise self._refused(f"{name[:60]}...", "has a name that is too long")
        self.num_listed += 1
        if self.files_before + self.num_listed > self.limits.max_members:
            raise ArchiveError(
                f"{self.archive}: holds more than {self.limits.max_members:,} files, the most allowed",
                hint="if it is meant to hold so many, unpack it yourself",
            )
        self.num_declared_bytes += max(size, 0)
        self._refuse_size()
        free = shutil.disk_usage(self.into).free
        if size > free:
            raise FolderError(
                f"{self.archive}: '{name}' needs {size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free",
                hint="free some space and try again",
            )
        return "/".join(part for part in parts if part != ".")

    def refuse_twice(self, name: str, seen: dict[str, str]) -> None:
        """Raise if a name stands twice, or differs from another in case only."""
        key = name.casefold()
        if key in seen:
            raise self._refused(name, f"stands there twice (with '{seen[key]}')")
        seen[key] = name

    def copy(self, member: Member, path: Path) -> None:
        """Write a member, counting what really comes out."""
        assert member.stream is not None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise self._refused(member.name, "is a file and a folder at once") from error
        written = 0
        with file:
            while chunk := member.stream.read(CHUNK):
                written += len(chunk)
                if 0 <= member.size < written:
                    raise self._refused(member.name, f"holds more than the {member.size:,} bytes it declares")
                self.out.num_bytes += len(chunk)
                self._refuse_size()
                file.write(chunk)
        if 0 <= written < member.size:
            raise self._refused(member.name, f"is cut short: {written:,} of {member.size:,} bytes")
        self.out.num_files += 1

    def watch(self, num_bytes: int) -> None:
        """Raise if an outside tool that tells no sizes beforehand has written too much."""
        self._refuse_size(self.out.num_bytes + num_bytes)

    def count(self, path: Path) -> None:
        """Count a file that an outside tool has written."""
        self.out.num_files += 1
        self.out.num_bytes += path.stat().st_size
        self._refuse_size()

    def _refuse_size(self, written: int = 0) -> None:
        mine = max(max(written, self.out.num_bytes) - self.bytes_before, self.num_declared_bytes)
        if self.bytes_before + mine > self.limits.max_bytes:
            raise ArchiveError(
                f"{self.archive}: unpacks to more than {self.limits.max_bytes:,} bytes, the most allowed",
                hint="if it is meant to be so large, unpack it yourself",
            )
        budget: _Budget | None = self
        while budget is not None:  # a thousand small bombs in one archive are a large one
            grown = self.bytes_before + mine - budget.bytes_before
            if grown > self.limits.ratio_from_bytes and grown > self.limits.max_ratio * budget.packed:
                raise ArchiveError(
                    f"{budget.archive}: swells to over {self.limits.max_ratio:.0f} times its size, as a bomb "
                    "does",
                    hint="if it is meant to be so, unpack it yourself",
                )
            budget = budget.outer

    def _refused(self, name: str, why: str) -> ArchiveError:
        return ArchiveError(
            f"{self.archive}: member {name!r} {why}; nothing was unpacked",
            hint="do not trust this archive; fetch it from the publisher again",
        )


def _take_over(folder: Path, into: Path, names: list[str], budget: _Budget) -> list[Path]:
    """Move what an outside tool has unpacked, after looking at it: plain files with the names it listed."""
    found, seen = [], dict[str, str]()
    listed = set(names)
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            place = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise budget._refused(place, "is no plain file")
            if path.is_dir():
                continue
            if place not in listed:
                raise budget._refused(place, "was not in the archive's own list")
            budget.refuse_twice(place, seen)
            budget.count(path)
            target = into / place
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o644)
            path.replace(target)
            found.append(target)
    shutil.rmtree(folder, ignore_errors=True)
    return sorted(found)


def move_in(temporary: Path, into: Path) -> None:
    """Let the unpacked files take their place: by one rename where the folder is new."""
    temporary.chmod(0o755)
    if not into.exists() or not any(into.iterdir()):
        if into.exists():
            into.rmdir()
        temporary.rename(into)
        return
    files = [path for path in sorted(temporary.rglob("*")) if path.is_file()]
    for path in files:
        there = into / path.relative_to(temporary)
        if there.exists() and (not there.is_file() or not _equal(path, there)):
            raise FolderError(
                f"{there}: is there already with other content",
                hint="unpack into a new folder, or remove what is there",
            )
    for path in files:
        there = into / path.relative_to(temporary)
        there.parent.mkdir(parents=True, exist_ok=True)
        path.replace(there)


def _equal(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(CHUNK):
            if chunk != second.read(CHUNK):
                return False
    return True
