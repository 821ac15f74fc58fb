"""What made what: the `made_by` block that every folder's JSON carries."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from usfmae.base.config import Config

LIBRARIES = ("torch", "numpy", "opencv-python-headless", "pillow", "pydicom", "pyarrow", "scikit-learn")


def made_by(stage: str, *, settings: Config, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Everything needed to make a folder again.

    Args:
        stage: the command, for example "corpus build".
        settings: the resolved config.
        inputs: name of each input and the hash (or other exact name) of its content.

    Returns:
        A JSON-ready dict: stage, version, commit (None outside a git checkout), python, machine,
        library versions, settings, inputs, and the time in UTC.
    """
    return {
        "stage": stage,
        "usfmae": _version("usfmae"),
        "commit": current_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "libraries": {name: found for name in LIBRARIES if (found := _version(name)) is not None},
        "settings": settings.model_dump(mode="json"),
        "inputs": dict(inputs),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def current_commit() -> str | None:
    """The commit of the checkout this package runs from, with `+changes` when files differ; else None.

    As this process first found it: what is committed while a plan runs is not what made its later cells.
    """
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@cache
def _version(library: str) -> str | None:
    """Its version; None where it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
