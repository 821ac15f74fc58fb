"""Frames, pixel pitch and screen regions of ultrasound DICOM; called by `images.read` only.

Only pixels, their encoding, their pitch and the boxes of the regions are read. Names, numbers and dates
of people stay in the file: nothing of them reaches a `Frame`. Attribute and region codes: DICOM PS3.3,
C.7.6.3 (image pixels), C.8.5.5 (ultrasound regions), C.11.1 and C.11.2 (modality and VOI tables).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from usfmae.base.errors import ImageError, MissingExtraError
from usfmae.images.decoding import decoding
from usfmae.images.frame import Colour, Frame, FrameRegion, FrameSource, Grey
from usfmae.images.intensity import to_8_bits
from usfmae.images.limits import check_size

TISSUE_2D = (1, 1)
"""RegionSpatialFormat "2D" and RegionDataType "tissue" of an ultrasound region."""

CENTIMETRE = 3
"""PhysicalUnits code of an ultrasound region."""


def has_dicom_magic(path: Path) -> bool:
    """Whether bytes 128..131 read DICM; False also where the file cannot be opened."""
    try:
        with path.open("rb") as file:
            file.seek(128)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def dicom_frames(path: Path, *, choose: Callable[[int], Sequence[int]]) -> Iterator[Frame]:
    """Decode chosen frames of a DICOM file, one at a time.

    Args:
        path: the file.
        choose: from the number of frames in the file to the ascending indices wanted.

    Yields:
        Frames with 8-bit grey or red-green-blue pixels, the pitch of the tissue region, and the regions.

    Raises:
        ImageError: no DICOM, no pixels, an encoding without decoder, damaged or cut short.
        MissingExtraError: pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.pixels import iter_pixels
        from pydicom.uid import DeflatedExplicitVRLittleEndian
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading DICOM needs pydicom", hint='pip install "usfmae[dicom]"'
        ) from error
    with _decoding(path):
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        num_frames = _num_frames(path, dataset)
        spacing_mm = _spacing_mm(dataset)
        regions = _regions(dataset)
        indices = choose(num_frames)
        deflated = dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
        source = pydicom.dcmread(path, force=True) if deflated else path  # pydicom finds no pixels by path
        decoded = iter_pixels(source, indices=indices)  # already red-green-blue where the file is YBR
    for index in indices:
        with _decoding(path):
            pixels = _displayed(next(decoded), dataset)
        yield Frame(pixels, spacing_mm, FrameSource(str(path), index, num_frames, is_dicom=True), regions)


def _num_frames(path: Path, dataset: Any) -> int:
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError(f"{path}: is not DICOM, or holds no image (a report, a waveform, a directory)")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        raise ImageError(f"{path}: does not say how its pixels are encoded (no TransferSyntaxUID)")
    check_size(path, int(dataset.Rows), int(dataset.Columns))
    num_frames = int(dataset.get("NumberOfFrames") or 1)
    if num_frames < 1:
        raise ImageError(f"{path}: says that it has {num_frames} frames")
    if num_frames > path.stat().st_size:
        raise ImageError(f"{path}: says that it has {num_frames:,} frames, more than it has bytes")
    return num_frames


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """`decoding`, with what pydicom says in its own way."""
    with decoding(path, "DICOM"):
        try:
            yield
        except StopIteration as error:
            raise ImageError(f"{path}: ends before its last frame") from error
        except NotImplementedError as error:
            raise ImageError(f"{path}: is encoded in a way that cannot be read here ({error})") from error
        except AttributeError as error:
            if "no 'Pixel Data'" not in str(error):
                raise
            raise ImageError(f"{path}: is DICOM without pixels") from error
        except RuntimeError as error:
            if "missing dependencies" not in str(error):
                raise
            raise ImageError(
                f"{path}: needs a decoder that is not installed ({' '.join(str(error).split())})",
                hint='pip install "usfmae[dicom]"',
            ) from error


def _displayed(stored: Any, dataset: Any) -> Grey | Colour:
    """Stored values to what a viewer shows, in 8 bits."""
    from pydicom.pixels import apply_color_lut

    interpretation = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if interpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        # Tables of 16 bits are filled to the top; some writers put 8-bit colours into them all the same.
        wide = colours.dtype == np.uint16 and colours.max(initial=0) > 255
        return np.ascontiguousarray((colours >> 8 if wide else colours).astype(np.uint8))
    if stored.ndim == 3:
        return np.ascontiguousarray(to_8_bits(stored, stored_bits=int(dataset.BitsStored)))
    grey = _windowed(stored, dataset)
    shown = 255 - grey if interpretation == "MONOCHROME1" else grey
    return np.ascontiguousarray(np.where(_is_padding(stored, dataset), 0, shown).astype(np.uint8))


def _is_padding(stored: Any, dataset: Any) -> Any:
    """Where a grey picture only fills its rectangle (PS3.3 C.7.5.1.1.2): shown black."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return False
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = int(value), int(value if limit is None else limit)
    return (stored >= min(ends)) & (stored <= max(ends))


def _windowed(stored: Any, dataset: Any) -> Grey:
    """Grey values through the first VOI table or window; without one, the full range of the stored bits.

    A rescale without a window changes nothing that is seen, so it is applied only before a window.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi

    if dataset.get("VOILUTSequence"):
        shown = apply_voi(apply_modality_lut(stored, dataset), dataset)
        return to_8_bits(shown, stored_bits=int(dataset.VOILUTSequence[0].LUTDescriptor[2]))
    centre, width = (_first(dataset.get(tag)) for tag in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 1:
        values = apply_modality_lut(stored, dataset).astype(np.float64)
        ratio = (values - (centre - 0.5)) / (width - 1) + 0.5  # PS3.3 C.11.2.1.2.1
        if str(dataset.get("VOILUTFunction", "LINEAR")) == "LINEAR_EXACT":
            ratio = (values - centre) / width + 0.5
        if str(dataset.get("VOILUTFunction", "LINEAR")) == "SIGMOID":
            ratio = 1 / (1 + np.exp(-4 * (values - centre) / width))
        return to_8_bits(np.clip(ratio, 0.0, 1.0))
    bits = int(dataset.BitsStored)
    if dataset.get("PixelRepresentation") == 1:
        stored = np.clip(stored.astype(np.int64) + 2 ** (bits - 1), 0, None)
    return to_8_bits(stored, stored_bits=bits)


def _first(value: Any) -> float | None:
    """The first of one or several numbers; None where a tag is missing or empty."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None


def _regions(dataset: Any) -> tuple[FrameRegion, ...]:
    """The regions in the file's order; incomplete ones are left out.

    A region that ends outside the picture was kept when somebody shrank or cut the picture: none of the
    file's regions is to be trusted then.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    found = []
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        names = ("MinY0", "MinX0", "MaxY1", "MaxX1")
        corners = [_first(region.get(f"RegionLocation{name}")) for name in names]
        if any(corner is None for corner in corners):
            continue
        top, left, bottom, right = (int(corner or 0) for corner in corners)
        if min(top, left) < 0 or bottom > rows or right > columns:
            return ()
        # The last row and column belong to the region; some writers name the ones after them.
        height, width = min(bottom + 1, rows) - top, min(right + 1, columns) - left
        if height < 1 or width < 1:
            continue
        codes = (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
        found.append(FrameRegion((top, left, height, width), *(int(_first(code) or 0) for code in codes)))
    return tuple(found)


def _spacing_mm(dataset: Any) -> tuple[float, float] | None:
    """Pixel pitch (down, across) of the 2-D tissue regions, else of the image, else None.

    Two tissue regions of different pitch (a dual view at two depths) have no common answer: None.
    """
    pitches = set()
    for region in dataset.get("SequenceOfUltrasoundRegions") or []:
        kind = (region.get("RegionSpatialFormat"), region.get("RegionDataType"))
        units = (region.get("PhysicalUnitsYDirection"), region.get("PhysicalUnitsXDirection"))
        if kind == TISSUE_2D and units == (CENTIMETRE, CENTIMETRE):
            deltas = (region.get("PhysicalDeltaY"), region.get("PhysicalDeltaX"))
            if all(deltas):
                # 1e-9 mm is below any pitch; it hides the binary tail of 10 * 0.00291
                pitches.add((round(abs(float(deltas[0])) * 10, 9), round(abs(float(deltas[1])) * 10, 9)))
    if pitches:
        return pitches.pop() if len(pitches) == 1 else None
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if spacing and len(spacing) == 2 and min(float(value) for value in spacing) > 0:
        return float(spacing[0]), float(spacing[1])
    return None
