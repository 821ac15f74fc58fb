"""7z by py7zr, rar by an outside tool: both are listed and checked first, then unpacked into a cage."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from usfmae.base.errors import ArchiveError, MissingExtraError

Check = Callable[[str, int, str | None], str | None]
"""From a member's name, declared size and trouble to its place below the folder; None for junk."""

Watch = Callable[[int], None]
"""Raises when so many bytes, written so far, are too many."""

WATCH_S = 0.1
"""Seconds between looks at what a tool has written."""

RAR_TOOLS: dict[str, tuple[list[str], list[str]]] = {
    "bsdtar": (["-tf"], ["-xf"]),
    "unrar": (["lb"], ["x", "-idq", "-p-", "-o-"]),
}
"""Tools that read rar: how they list names only, and how they unpack into the folder they run in."""


def unpack_7z(archive: Path, into: Path, *, check: Check) -> list[str]:
    """Unpack a 7z file into a new folder.

    Returns:
        The names that it lists, junk left out.

    Raises:
        ArchiveError: encrypted, damaged, or a member that `check` refuses.
        MissingExtraError: py7zr is not installed.
    """
    try:
        import py7zr
        from py7zr.exceptions import ArchiveError as SevenZipError
    except ImportError as error:
        raise MissingExtraError(
            f"{archive}: unpacking 7z needs py7zr", hint='pip install "usfmae[archives]"'
        ) from error
    try:
        with py7zr.SevenZipFile(archive, "r") as content:
            if content.needs_password():
                raise ArchiveError(f"{archive}: is encrypted", hint="ask its publisher for the password")
            names = []
            for member in content.files:
                if member.is_directory:
                    continue
                trouble = None
                if member.is_symlink or member.is_junction:
                    trouble = "is a symbolic link"
                elif member.is_socket:
                    trouble = "is no plain file"
                name = check(member.filename, member.uncompressed, trouble)
                if name is not None:
                    names.append(member.filename)
            into.mkdir()
            content.reset()
            content.extract(path=into, targets=names)
    except ArchiveError:
        raise
    except MemoryError as error:
        raise ArchiveError(f"{archive}: needs more memory than there is") from error
    except (SevenZipError, EOFError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        raise _damaged(archive, error) from error
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise _damaged(archive, error) from error
    return names


def unpack_rar(archive: Path, into: Path, *, check: Check, watch: Watch) -> list[str]:
    """Unpack a rar file into a new folder by the first of `RAR_TOOLS` that is installed.

    The tools list names without sizes, so what they write is watched while they run.

    Returns:
        The names that it lists, junk left out.

    Raises:
        ArchiveError: the tool fails, a member that `check` refuses, or more than `watch` allows.
        MissingExtraError: there is no tool.
    """
    tool = next((name for name in RAR_TOOLS if shutil.which(name)), None)
    if tool is None:
        raise MissingExtraError(
            f"{archive}: is a rar archive, and no tool that unpacks those is installed",
            hint="sudo apt install libarchive-tools (bsdtar) or unrar, then run this again",
        )
    list_words, unpack_words = RAR_TOOLS[tool]
    lines = _run([tool, *list_words, str(archive.resolve())], archive, folder=archive.parent, watch=None)
    names = [line for line in lines.splitlines() if line and not line.endswith("/")]
    kept = [name for name in names if check(name.replace("\\", "/"), 0, None) is not None]
    into.mkdir()
    _run([tool, *unpack_words, str(archive.resolve())], archive, folder=into, watch=watch)
    return kept


def _run(words: list[str], archive: Path, *, folder: Path, watch: Watch | None) -> str:
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as said,
        subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=said) as tool,
    ):
        try:
            while tool.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    tool.wait(WATCH_S)
                if watch is not None:
                    watch(_bytes_below(folder))
        except BaseException:
            tool.kill()
            raise
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        if tool.returncode:
            raise ArchiveError(
                f"{archive}: {words[0]} cannot unpack it "
                f"({lines[-1] if lines else f'status {tool.returncode}'})",
                hint="fetch it again, or unpack it yourself",
            )
        out.seek(0)
        return out.read().decode(errors="surrogateescape")


def _bytes_below(folder: Path) -> int:
    """Bytes of all files below a folder in which a tool is at work."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(Path(here) / name).st_size
    return total


def _damaged(archive: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"{archive}: is damaged or cut short ({error or type(error).__name__})", hint="fetch it again"
    )
