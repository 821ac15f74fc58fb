"""Files of every kind that a fake may need, written by suffix."""

import io
from pathlib import Path

import cv2
import numpy as np

from usfmae.base.files import write_by, write_bytes, write_text

CLIP_SUFFIXES = (".mp4", ".avi", ".mov", ".mpeg", ".mkv")
VOLUME_SUFFIXES = (".mha", ".nii", ".nii.gz", ".nrrd")
FAKE_FPS = 10
BLUE_FIRST = {3: [2, 1, 0], 4: [2, 1, 0, 3]}  # as OpenCV writes colours, opacity last


def write_media(path: Path, content: np.ndarray | str) -> None:
    """Write pixels, or a text, in the format that the suffix names.

    Args:
        path: the file to make.
        content: uint8 "height width", or with red, green, blue (and opacity) last, for pictures,
            "frame height width" for clips, any number of axes for volumes; a text as it is.
    """
    name = path.name.lower()
    if isinstance(content, str):
        write_text(path, content)
    elif name.endswith(VOLUME_SUFFIXES):
        _write_volume(path, content)
    elif name.endswith(CLIP_SUFFIXES):
        _write_clip(path, content)
    else:
        pixels = content[..., BLUE_FIRST[content.shape[-1]]] if content.ndim == 3 else content
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if name.endswith((".jpg", ".jpeg")) else []
        done, encoded = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(pixels), quality)
        assert done, path
        write_bytes(path, encoded.tobytes())


def _write_volume(path: Path, voxels: np.ndarray) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels, isVector=False)
    write_by(path, lambda file: SimpleITK.WriteImage(image, str(file)))


def _write_clip(path: Path, frames: np.ndarray) -> None:
    import av

    def save(file: Path) -> None:
        with av.open(str(file), "w") as container:
            stream = container.add_stream("mpeg4", rate=FAKE_FPS)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = 2_000_000
            for pixels in frames:
                grey = np.repeat(pixels[..., None], 3, axis=-1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
            container.mux(stream.encode())

    write_by(path, save)


def sheet_bytes(header: list[str], rows: list[list[str]]) -> bytes:
    """An xlsx workbook with one sheet."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (header, *rows):
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()
