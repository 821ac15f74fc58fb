"""Named arrays in one .npz that says what it is; NumPy only."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from usfmae.base.errors import WeightsError
from usfmae.base.files import write_by


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, kind: str) -> None:
    """Write arrays of numbers or words, whole or not at all; equal arrays give equal bytes.

    Args:
        path: ends in .npz.
        arrays: by name; "format" is taken.
        kind: what the file is, "feature bank"; it is asked for when the file is read.

    Raises:
        ValueError: another suffix, or an array that would be pickled.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{path.name}: arrays are written as .npz")
    pickled = sorted(name for name, array in arrays.items() if array.dtype.hasobject)
    if pickled:
        raise ValueError(f"{', '.join(pickled)}: neither numbers nor words")
    content = {**arrays, "format": np.array(_format(kind))}
    write_by(path, lambda temporary: np.savez(temporary, **content))  # type: ignore[arg-type]


def read_arrays(path: Path, *, kind: str) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote.

    Raises:
        WeightsError: missing, damaged, or of another kind.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such {kind}") from error
    except (BadZipFile, ValueError, OSError, EOFError, TypeError) as error:
        raise WeightsError(f"{path}: cannot be read as a {kind} ({error})") from error
    said = str(found.pop("format", "nothing"))
    if said != _format(kind):
        raise WeightsError(f"{path}: is no {kind} of usfmae (it says {said})")
    return found


def _format(kind: str) -> str:
    return f"usfmae {kind} 1"
