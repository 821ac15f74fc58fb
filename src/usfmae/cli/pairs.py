"""`NAME=DIR` on the command line, in one place."""

from collections.abc import Sequence
from pathlib import Path

from usfmae.base.errors import FolderError, SettingError


def named_folders(pairs: Sequence[str], *, flag: str) -> list[tuple[str, Path]]:
    """Split each `NAME=DIR`.

    Raises:
        SettingError: no `=`.
        FolderError: the folder is not there.
    """
    found = []
    for pair in pairs:
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise SettingError(
                f"{flag} {pair}: is not NAME=DIR", hint=f"for example {flag} bus-bra=/data/bus-bra"
            )
        found.append((name, existing_folder(Path(folder))))
    return found


def existing_folder(folder: Path) -> Path:
    """The folder itself.

    Raises:
        FolderError: it is not there or is a file.
    """
    if not folder.exists():
        raise FolderError(f"{folder}: no such folder", hint="check the path for a typing slip")
    if not folder.is_dir():
        raise FolderError(f"{folder}: is a file, not a folder")
    return folder
