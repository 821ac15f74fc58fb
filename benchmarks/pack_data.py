"""The real images in a file that is small enough to be carried to a GPU, and back out of it.

A machine that is lent takes 64 MB along. Stills travel as grey JPEG of at most 256 px, which is what a corpus
stores, under their own names (readers look at a file's content, not at its suffix), tables as they are; label
maps, clips, DICOM and arrays stay behind. So numbers made from a packed copy are those of slightly compressed
images, and must say so.

    USFMAE_DATA=... python benchmarks/pack_data.py pack data.tar [--quality 70]
    python benchmarks/pack_data.py unpack data.tar DIR
"""

import argparse
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2

SETS = ("bus-bra", "mmotu-2d", "busi", "pool")
STILLS = {".png", ".jpg", ".jpeg"}
TABLES = {".csv", ".txt", ".md"}
LABEL_MAPS = ("Masks", "annotations")
"""Folders that stay behind, as BUSI's label maps do, which lie beside its pictures."""

MAX_SIDE_PX = 256
"""Larger stills are shrunk."""

MAX_BYTES = 50_000_000
"""Of 64 MiB that travel, code and Python packages need some."""


def packed(data: Path, quality: int) -> Iterator[tuple[str, bytes]]:
    """Names below `data` and what travels of each file."""
    for name in SETS:
        for path in sorted((data / name).rglob("*")):
            suffix, place = path.suffix.lower(), str(path.relative_to(data))
            is_label_map = path.parent.name in LABEL_MAPS or (name == "busi" and "_mask" in path.name)
            if not path.is_file() or is_label_map:
                continue
            if suffix in TABLES:
                yield place, path.read_bytes()
            elif suffix in STILLS:
                grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
                if grey is None:
                    raise SystemExit(f"{path} cannot be read")
                scale = MAX_SIDE_PX / max(grey.shape)
                if scale < 1:
                    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield place, cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def pack(out: Path, quality: int) -> None:
    """Write the file; too large a one is an error, and is not left behind."""
    data, count = Path(os.environ["USFMAE_DATA"]), 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w:gz") as tar:
        for place, content in packed(data, quality):
            about = tarfile.TarInfo(place)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
            count += 1
    size = out.stat().st_size
    if size > MAX_BYTES:
        out.unlink()
        raise SystemExit(f"{size / 1e6:.1f} MB are too many to carry; a lower --quality than {quality}?")
    print(f"{out}: {count} files, {size / 1e6:.1f} MB, JPEG quality {quality}")


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help="where to unpack")
    parser.add_argument("--quality", type=int, default=70, help="of JPEG")
    chosen = parser.parse_args()
    if chosen.what == "pack":
        pack(chosen.file, chosen.quality)
    elif chosen.folder is None:
        parser.error("unpack needs a folder")
    else:
        with tarfile.open(chosen.file) as tar:
            tar.extractall(chosen.folder, filter="data")


if __name__ == "__main__":
    main()
