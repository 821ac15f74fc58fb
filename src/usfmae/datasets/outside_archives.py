"""7z by py7zr, rar by an outside tool: both are listed and checked first, then unpacked into a cage."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from usfmae.base.errors import ArchiveError, MissingExtraError

Check = Callable[[str, int, str | None], str | None]
"""From a member's name, declared size and trouble to its place below the folder; None for junk."""

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


def unpack_rar(archive: Path, into: Path, *, check: Check) -> list[str]:
    """Unpack a rar file into a new folder by the first of `RAR_TOOLS` that is installed.

    Returns:
        The names that it lists, junk left out.

    Raises:
        ArchiveError: no tool, the tool fails, or a member that `check` refuses.
    """
    tool = next((name for name in RAR_TOOLS if shutil.which(name)), None)
    if tool is None:
        raise ArchiveError(
            f"{archive}: is a rar archive, and no tool that unpacks those is installed",
            hint="sudo apt install libarchive-tools (bsdtar) or unrar, then run this again",
        )
    list_words, unpack_words = RAR_TOOLS[tool]
    lines = _run([tool, *list_words, str(archive.resolve())], archive, folder=archive.parent)
    names = [line for line in lines.splitlines() if line and not line.endswith("/")]
    kept = [name for name in names if check(name.replace("\\", "/"), 0, None) is not None]
    into.mkdir()
    _run([tool, *unpack_words, str(archive.resolve())], archive, folder=into)
    return kept


def _run(words: list[str], archive: Path, *, folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ArchiveError(
            f"{archive}: {words[0]} cannot unpack it ({said[-1] if said else f'status {done.returncode}'})",
            hint="fetch it again, or unpack it yourself",
        )
    return done.stdout.decode(errors="surrogateescape")


def _damaged(archive: Path, error: Exception) -> ArchiveError:
    return ArchiveError(
        f"{archive}: is damaged or cut short ({error or type(error).__name__})", hint="fetch it again"
    )
