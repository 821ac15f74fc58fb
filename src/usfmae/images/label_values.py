"""Label maps as stored: the values of an annotation, never scaled, smoothed or converted to grey.

`images.read` turns every file into an 8-bit picture to look at; a label map is no picture, and its 3 must
stay a 3.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image

from usfmae.base.errors import ImageError
from usfmae.images.limits import MAX_AREA_PX

VOLUME_SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr")


def label_values(path: Path) -> Integer[np.ndarray, "..."]:
    """The values of a label map.

    Args:
        path: a picture, or a volume (MetaImage, NIfTI, NRRD).

    Returns:
        "height width" whole numbers; "height width 3" for a coloured picture (alpha is dropped, palettes
        are looked up); "slice height width" (or more axes in front) for a volume.

    Raises:
        ImageError: missing, damaged, too large, or values that are no whole numbers.
    """
    try:
        if path.name.lower().endswith(VOLUME_SUFFIXES):
            values = _volume_values(path)
        else:
            values = _picture_values(path)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except Exception as error:  # decoders raise OSError, RuntimeError, SyntaxError, ValueError, EOFError ...
        raise ImageError(f"{path}: cannot be read as a label map ({error})") from error
    if not np.issubdtype(values.dtype, np.integer):
        whole = np.rint(values)
        if not np.array_equal(whole, values):
            raise ImageError(f"{path}: holds values that are no whole numbers, so it is no label map")
        values = whole.astype(np.int32)
    return values


def _picture_values(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if image.width * image.height > MAX_AREA_PX:
            raise ImageError(f"{path}: is {image.width} x {image.height} px, too large for a label map")
        if image.mode == "1":
            return np.asarray(image.convert("L"))
        if image.mode in ("P", "RGBA", "CMYK", "YCbCr"):
            return np.asarray(image.convert("RGB"))
        if image.mode in ("LA", "La"):
            return np.asarray(image.convert("L"))
        return np.asarray(image)


def _volume_values(path: Path) -> np.ndarray:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if np.prod(reader.GetSize(), dtype=np.int64) > 40 * MAX_AREA_PX:
        raise ImageError(f"{path}: has {reader.GetSize()} voxels, too many for a label map")
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()))
