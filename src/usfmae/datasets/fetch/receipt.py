"""What is known of a file before it comes, and what is written down when it has come."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usfmae.base.config import Config
from usfmae.base.errors import FolderError

MEGABYTE = 1 << 20


class Expected(Config):
    """What is known beforehand of a file; None where nobody has said."""

    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def has_sum(self) -> bool:
        """Whether a checksum will tell a wrong file."""
        return self.md5 is not None or self.sha256 is not None


class Receipt(Config):
    """What came, to be compared with next time."""

    url: str
    bytes: int
    md5: str
    sha256: str
    etag: str | None
    last_modified: str | None
    date: str


def receipt_of(path: Path, *, url: str, state: dict[str, Any]) -> Receipt:
    """What came: size and sums of the file in bytes, and what the host said of its version."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(MEGABYTE):
            md5.update(chunk)
            sha256.update(chunk)
    return Receipt(
        url=url,
        bytes=path.stat().st_size,
        md5=md5.hexdigest(),
        sha256=sha256.hexdigest(),
        etag=state.get("etag"),
        last_modified=state.get("last_modified"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def receipt_path(path: Path) -> Path:
    """Where the receipt of a file lies: beside it."""
    return path.with_name(f"{path.name}.receipt.json")


def already_here(path: Path, expected: Expected) -> Receipt | None:
    """The receipt of a file that is here and right; None where none is."""
    if not path.exists():
        return None
    try:
        kept = Receipt.model_validate_json(receipt_path(path).read_text())
    except (OSError, ValueError):
        kept = None
    found = receipt_of(path, url=kept.url if kept else "", state={})
    right = (expected.sha256 or (kept.sha256 if kept else "")).lower() == found.sha256
    if expected.sha256 is None and expected.md5 is not None:
        right = expected.md5.lower() == found.md5
    if not right:
        raise FolderError(
            f"{path}: lies there already, and is not the file that is wanted (sha256 {found.sha256[:12]}...)",
            hint="move it away, or give it with --from if you trust it",
        )
    return kept or found
