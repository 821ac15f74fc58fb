"""The only way from a file to pixels: stills, DICOM, clips, volumes and stored arrays.

- stills and animations: PNG, JPEG, BMP, TIFF, GIF, WebP, PNM, JPEG 2000;
- DICOM (`dicom.py`);
- clips: MP4, MOV, AVI, MPEG, Matroska, WebM, WMV (`clip.py`);
- volumes: NIfTI (`nifti.py`), MetaImage (`metaimage.py`), NRRD (`nrrd.py`);
- arrays: HDF5, MATLAB, NumPy (`arrays.py`); only where named, never found by listing a folder.

Stills give one frame, the others several, one at a time, so a long clip never sits in memory whole. Formats
are told by content, not by the file's name. A file that cannot be read completely is an `ImageError`, never a
half-grey picture.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from usfmae.base.errors import ImageError
from usfmae.images.arrays import array_frames, is_array_file
from usfmae.images.clip import CLIP_SUFFIXES, clip_frames, find_demuxer
from usfmae.images.dicom import dicom_frames, has_dicom_magic
from usfmae.images.frame import Colour, Frame, FrameSource, Grey
from usfmae.images.intensity import to_8_bits
from usfmae.images.limits import check_size
from usfmae.images.metaimage import has_meta_magic, meta_frames
from usfmae.images.nifti import has_nifti_magic, nifti_frames
from usfmae.images.nrrd import has_nrrd_magic, nrrd_frames
from usfmae.images.volume import VOLUME_SUFFIXES

DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
"""Names under which DICOM files usually travel; scanners also write files without any suffix."""

STILL_SUFFIXES = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff"),
        *(".gif", ".webp", ".pgm", ".ppm", ".jp2", ".j2k"),
    }
)
"""Names under which stills and animations travel."""

IMAGE_SUFFIXES = DICOM_SUFFIXES | STILL_SUFFIXES | CLIP_SUFFIXES | VOLUME_SUFFIXES
"""Lower-case suffixes that `is_image_path` takes for images; `.nii.gz` is one of them, `.gz` is not."""

PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000")
"""Only these decoders are ever started, whatever the file claims to be; JPEG includes MPO."""

HEAD_BYTES = 1024
"""Enough to tell every format by."""


def is_image_path(path: Path) -> bool:
    """Whether a file is meant to be an image, by its suffix, or by DICOM's magic where there is none.

    Hidden files (`._scan.png` of a macOS archive) are not. The file is opened only if its suffix is missing
    or a number, as in `IM_0001` and `1.2.840.113619.2`.
    """
    if path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES or path.name.lower().endswith(".nii.gz"):
        return True
    return (not suffix or suffix[1:].isdigit()) and _is_file(path) and has_dicom_magic(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a link whose goal may not even be asked for
        return False


def read_frame(path: Path, index: int = 0, *, key: str | None = None) -> Frame:
    """One frame of a file; see `read_frames`.

    Args:
        path: the file.
        index: position in the clip or volume, from 0. A clip is decoded from the last key frame before it.
        key: name of an array, as for `read_frames`.

    Raises:
        ImageError: as for `read_frames`, or the file has no such frame.
        ValueError: `index` is negative.
    """
    if index < 0:
        raise ValueError(f"index must be at least 0, not {index}")

    def only(num_frames: int) -> Sequence[int]:
        if index >= num_frames:
            raise ImageError(f"{path}: has {num_frames:,} frames; there is no frame {index:,} (from 0)")
        return [index]

    for frame in _frames(path, choose=only, key=key):
        return frame
    raise ImageError(f"{path}: holds no frame")


def read_frames(path: Path, *, max_frames: int | None = None, key: str | None = None) -> Iterator[Frame]:
    """Read the frames of one file in order, one at a time.

    Grey files give grey frames, everything else gives colour: palettes are looked up, CMYK and YBR are
    converted (once), transparent pixels are laid over black, EXIF orientation is applied, MONOCHROME1 is
    inverted, DICOM windows are applied. Deeper values become 8 bits by `images.intensity.to_8_bits`; those
    of a volume or array all by the same span.

    Args:
        path: the file.
        max_frames: at most this many, spread evenly over the clip; None for all.
        key: name of the array in an HDF5 or MATLAB file; None for the only one that can be pictures.

    Yields:
        Frames with uint8 pixels "height width" or "height width 3" (red, green, blue).

    Raises:
        ImageError: missing, empty, cut short, not an image, or of a size outside `images.limits`. Frames
            before a damaged one have been yielded by then.
        MissingExtraError: a DICOM file, and pydicom is not installed.
        ValueError: `max_frames` is below 1.
    """
    if max_frames is not None and max_frames < 1:
        raise ValueError(f"max_frames must be at least 1, not {max_frames}")
    return _frames(path, choose=lambda num_frames: spread(num_frames, max_frames), key=key)


def num_frames(path: Path, *, key: str | None = None) -> int:
    """How many frames a file holds, without decoding any.

    A clip is gone through packet by packet, which costs about as much as copying the file.

    Args:
        path: the file.
        key: name of an array, as for `read_frames`.

    Raises:
        ImageError: as for `read_frames`, but for damage that only decoding would show.
    """
    counted: list[int] = []

    def none_of(count: int) -> Sequence[int]:
        counted.append(count)
        return []

    for _ in _frames(path, choose=none_of, key=key):
        raise AssertionError("no frame was chosen")
    return counted[0]


def spread(num_frames: int, max_frames: int | None) -> Sequence[int]:
    """Indices of at most `max_frames` of `num_frames` frames: the middles of equal stretches, ascending."""
    if max_frames is None or num_frames <= max_frames:
        return range(num_frames)
    return [(2 * index + 1) * num_frames // (2 * max_frames) for index in range(max_frames)]


def _frames(path: Path, *, choose: Callable[[int], Sequence[int]], key: str | None) -> Iterator[Frame]:
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write
            kind = "a folder" if S_ISDIR(status.st_mode) else "a pipe or a device"
            raise ImageError(f"{path}: is {kind}, not a file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    if not status.st_size:
        raise ImageError(f"{path}: is empty (0 bytes)")
    if path.suffix.lower() not in DICOM_SUFFIXES and not has_dicom_magic(path) and is_array_file(head):
        yield from array_frames(path, key, choose=choose)
        return
    if key is not None:
        raise ImageError(f"{path}: is no HDF5 or MATLAB file, so it has no array '{key}'")
    yield from _format(path, head)(path, choose=choose)


def _format(path: Path, head: bytes) -> Callable[..., Iterator[Frame]]:
    """The reader for a file, by its content."""
    if path.suffix.lower() in DICOM_SUFFIXES or has_dicom_magic(path):
        return dicom_frames
    if find_demuxer(head) is not None:
        return clip_frames
    if has_nifti_magic(path, head):
        return nifti_frames
    if has_meta_magic(head):
        return meta_frames
    if has_nrrd_magic(head):
        return nrrd_frames
    return _picture_frames


def _picture_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    with _decoding(path):
        image = Image.open(path, formats=PILLOW_FORMATS)
    with image:
        with _decoding(path):
            check_size(path, image.height, image.width)
            # A camera's MPO is one photograph with previews behind it, not a clip.
            num_pages = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        for index in choose(num_pages):
            with _decoding(path):
                if num_pages > 1:
                    image.seek(index)
                    check_size(path, image.height, image.width)
                pixels = _pixels(image)
            yield Frame(pixels, spacing_mm=None, source=FrameSource(str(path), index, num_pages))


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes into one ImageError, and keep its warnings quiet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: is too large to decode ({error})") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: is not an image that can be read here") from error
    except MemoryError as error:
        raise ImageError(f"{path}: needs more memory than there is") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError, ...
        raise ImageError(f"{path}: is damaged or cut short ({error})") from error


def _pixels(image: Image.Image) -> Grey | Colour:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        image = _over_black(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith("I") or image.mode == "F":
        return np.ascontiguousarray(to_8_bits(np.asarray(image)))
    return np.asarray(image.convert("RGB"))


def _over_black(image: Image.Image) -> Image.Image:
    grey = image.mode in ("1", "L", "LA", "La")
    seen = image.convert("RGBA")
    black = Image.new("RGBA", seen.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, seen).convert("L" if grey else "RGB")
