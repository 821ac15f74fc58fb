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


def named_values(pairs: Sequence[str], *, names: Sequence[str], flag: str) -> dict[str, str]:
    """What each `NAME=VALUE` says of one of `names`.

    Raises:
        SettingError: no `=`, or another name.
    """
    said = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not value:
            raise SettingError(f"{flag} {pair}: is not NAME=VALUE")
        if name not in names:
            there = ", ".join(names) if names else "none was given"
            raise SettingError(f"{flag} {pair}: no --images folder is called {name} ({there})")
        said[name] = value
    return said


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
