"""Sizes that are refused before anything is decoded, so a bad header cannot fill the memory."""

from pathlib import Path

from usfmae.base.errors import ImageError

MIN_SIDE_PX = 8
"""Smaller pictures are icons, spacers and tracking pixels."""

MAX_SIDE_PX = 10_000
"""The largest panoramic scans are about 6,000 px wide."""

MAX_AREA_PX = 50_000_000
"""150 MB as colour; a corpus worker holds one such frame and its grey copy."""

MAX_LOADED_BYTES = 2 * 1024**3
"""Files that can only be decoded whole (compressed volumes, old MAT files) may take this much memory."""


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse a frame of a size that no ultrasound image has.

    Args:
        path: the file, for the message.
        height: rows in pixels, from the header.
        width: columns in pixels.

    Raises:
        ImageError: a side is below MIN_SIDE_PX or above MAX_SIDE_PX, or the area is above MAX_AREA_PX.
    """
    size = f"{path}: is {width} x {height} px (across x down)"
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(f"{size}, too small: each side needs at least {MIN_SIDE_PX} px")
    if max(height, width) > MAX_SIDE_PX:
        raise ImageError(f"{size}, too large: a side may have at most {MAX_SIDE_PX:,} px")
    if height * width > MAX_AREA_PX:
        raise ImageError(f"{size}, too large: at most {MAX_AREA_PX // 10**6} million pixels")


def check_loaded_bytes(path: Path, num_bytes: int, *, what: str) -> None:
    """Refuse to load something whole that would fill the memory.

    Args:
        path: the file, for the message.
        num_bytes: bytes after decoding, from the header.
        what: the thing and why it must be loaded, as in "a compressed volume".

    Raises:
        ImageError: more than MAX_LOADED_BYTES.
    """
    if num_bytes > MAX_LOADED_BYTES:
        raise ImageError(
            f"{path}: {what} of {num_bytes:,} bytes when decoded, which can only be loaded whole; "
            f"at most {MAX_LOADED_BYTES:,} are"
        )
