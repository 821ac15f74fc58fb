"""Archives made in memory, and the sentence that one of them is refused."""

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import py7zr
import pytest

from usfmae.base.errors import ArchiveError
from usfmae.datasets.unpack import unpack

NOISE = random.Random(0).randbytes
FILES = {"set/a.png": NOISE(3000), "set/deep/b.csv": b"x,y\n1,2\n", "set/c.nii.gz": gzip.compress(NOISE(500))}


def tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def zip_bytes(files, **kinds) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name in kinds:
                info.create_system = 3
                info.external_attr = kinds[name] << 16
            archive.writestr(info, data)
    return content.getvalue()


def tar_bytes(files, mode="w", **kinds) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type = kinds.get(name, tarfile.REGTYPE)
            if info.type == tarfile.REGTYPE:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                info.linkname = data.decode()
                archive.addfile(info)
    return content.getvalue()


def seven_bytes(files, **settings) -> bytes:
    content = io.BytesIO()
    with py7zr.SevenZipFile(content, "w", **settings) as archive:
        archive.set_encoded_header_mode("password" in settings)
        for name, data in files.items():
            archive.writestr(data, name)
    return content.getvalue()


def refused(room: Path, content: bytes, said: str, *, name="a.zip", limits=None, error=ArchiveError):
    """Unpacking fails with a message, and not one file more is there than before."""
    (room / name).write_bytes(content)
    before = tree(room.parent)
    folders = {path for path in room.parent.rglob("*") if path.is_dir()}
    with pytest.raises(error, match=said):
        unpack(room / name, room / "out", limits=limits)
    assert tree(room.parent) == before
    assert {path for path in room.parent.rglob("*") if path.is_dir()} == folders
