"""Archives that are good come out whole, whatever their format."""

import bz2
import gzip
import lzma
import os
import stat
import struct
import time
from pathlib import Path

import pytest
from archive_makers import FILES, NOISE, refused, seven_bytes, tar_bytes, tree, zip_bytes

from usfmae.base.errors import FolderError, MissingExtraError
from usfmae.datasets.unpack import Limits, unpack


@pytest.mark.parametrize(
    "content",
    [
        zip_bytes(FILES),
        tar_bytes(FILES),
        tar_bytes(FILES, "w:gz"),
        tar_bytes(FILES, "w:bz2"),
        tar_bytes(FILES, "w:xz"),
        seven_bytes(FILES),
    ],
    ids=["zip", "tar", "tgz", "tbz", "txz", "7z"],
)
def test_every_format_comes_out_as_it_went_in(content, room):
    (room / "archive.bin").write_bytes(content)  # told by content, not by name
    out = unpack(room / "archive.bin", room / "out")
    assert tree(room / "out") == FILES
    assert (out.num_files, out.num_bytes, out.num_junk) == (3, sum(map(len, FILES.values())), 0)
    assert not [path for path in room.rglob("*") if path.name.startswith(".partial")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_single_compressed_file_takes_the_name_before_the_suffix(pack, room):
    (room / "table.csv.gz").write_bytes(pack(b"a,b\n"))
    unpack(room / "table.csv.gz", room / "out")
    assert tree(room / "out") == {"table.csv": b"a,b\n"}


def test_modes_are_those_of_plain_files(room):
    (room / "a.zip").write_bytes(zip_bytes({"run.sh": b"#!/bin/sh"}, **{"run.sh": stat.S_IFREG | 0o4777}))
    unpack(room / "a.zip", room / "out")
    assert (room / "out/run.sh").stat().st_mode & 0o7111 == 0
    assert (room / "out").stat().st_mode & 0o777 == 0o755


def test_desktop_files_are_left_out_and_counted(room):
    junk = {"__MACOSX/set/._a.png": b"x", "set/.DS_Store": b"x", "set/._b": b"x", "Thumbs.db": b"x"}
    (room / "a.zip").write_bytes(zip_bytes({**FILES, **junk}))
    out = unpack(room / "a.zip", room / "out")
    assert tree(room / "out") == FILES
    assert out.num_junk == 4


def test_archives_inside_come_out_into_a_folder_of_their_name(room):
    inner = zip_bytes({"1.png": b"one"})
    middle = tar_bytes({"inner.zip": inner, "2.png": b"two"}, "w:gz")
    (room / "a.zip").write_bytes(zip_bytes({"set/middle.tar.gz": middle, "3.nii.gz": gzip.compress(b"v")}))
    out = unpack(room / "a.zip", room / "out")
    assert sorted(tree(room / "out")) == ["3.nii.gz", "set/middle/2.png", "set/middle/inner/1.png"]
    assert (out.num_files, len(out.nested)) == (3, 2)
    flat = unpack(room / "a.zip", room / "flat", limits=Limits(max_nesting=0))
    assert flat.num_files == 2


def split_zip(content: bytes, cuts: list[int]) -> list[bytes]:
    """A split zip by hand: pieces of one file, with disk numbers and offsets from the start of each piece."""
    starts = [0, *cuts]
    end = content.rfind(b"PK\x05\x06")
    size, at = struct.unpack("<2L", content[end + 12 : end + 20])
    patched = bytearray(content)

    def place(offset):
        disk = max(k for k, start in enumerate(starts) if start <= offset)
        return disk, offset - starts[disk]

    entry = at
    while entry < at + size:
        name, extra, comment = struct.unpack("<3H", content[entry + 28 : entry + 34])
        (offset,) = struct.unpack("<L", content[entry + 42 : entry + 46])
        disk, local = place(offset)
        patched[entry + 34 : entry + 36] = struct.pack("<H", disk)
        patched[entry + 42 : entry + 46] = struct.pack("<L", local)
        entry += 46 + name + extra + comment
    disk, local = place(at)
    patched[end + 4 : end + 8] = struct.pack("<2H", len(starts) - 1, disk)
    patched[end + 16 : end + 20] = struct.pack("<L", local)
    return [bytes(patched[a:b]) for a, b in zip(starts, [*cuts, len(content)], strict=True)]


@pytest.mark.parametrize("last", ["set.zip", "set.change2zip"])
def test_a_split_zip_is_read_from_all_its_parts(last, room):
    files = {f"{k}.bin": NOISE(700) for k in range(6)}
    parts = split_zip(zip_bytes(files), [900, 2500])
    for name, part in zip(["set.z01", "set.z02", last], parts, strict=True):
        (room / name).write_bytes(part)
    unpack(room / last, room / "out")
    assert tree(room / "out") == files


def test_missing_parts_are_named(room):
    parts = split_zip(zip_bytes({f"{k}.bin": NOISE(700) for k in range(6)}), [900, 2500])
    (room / "set.z02").write_bytes(parts[1])
    refused(room, parts[2], r"1 of 3 parts are not beside it \(first: set\.z01\)", name="set.zip")
    (room / "set.z02").unlink()
    refused(room, parts[2], r"the last of 3 parts, and the others are not beside it", name="set.zip")


def test_a_zip_cut_into_numbered_pieces_is_read(room):
    content = zip_bytes(FILES)
    (room / "a.zip.001").write_bytes(content[:1500])
    (room / "a.zip.002").write_bytes(content[1500:])
    unpack(room / "a.zip.001", room / "out")
    assert tree(room / "out") == FILES


def test_unpacking_again_adds_what_is_new_and_refuses_what_differs(room):
    (room / "a.zip").write_bytes(zip_bytes(FILES))
    unpack(room / "a.zip", room / "out")
    (room / "out/notes.txt").write_text("mine")
    (room / "b.zip").write_bytes(zip_bytes({**FILES, "set/new.png": b"new"}))
    unpack(room / "b.zip", room / "out")
    assert tree(room / "out") == {**FILES, "set/new.png": b"new", "notes.txt": b"mine"}
    content = zip_bytes({"set/a.png": b"other"})
    refused(room, content, r"set/a\.png: is there already with other content", error=FolderError)


def rar_tool(folder: Path, monkeypatch, *, lists: str, writes: str) -> None:
    """Stands in for bsdtar: prints names, and unpacks what the script says."""
    folder.mkdir()
    tool = folder / "bsdtar"
    tool.write_text(f'#!/bin/sh\nif [ "$1" = -tf ]; then printf "{lists}"; else {writes}; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


RAR = b"Rar!\x1a\x07\x01\x00 rest"


def test_rar_is_unpacked_by_a_tool_and_looked_at_again(room, monkeypatch, tmp_path):
    rar_tool(tmp_path / "bin", monkeypatch, lists="a/\\na/b.png\\n", writes="mkdir a; printf x > a/b.png")
    (room / "a.rar").write_bytes(RAR)
    assert unpack(room / "a.rar", room / "out").num_files == 1
    assert tree(room / "out") == {"a/b.png": b"x"}


@pytest.mark.parametrize(
    ("lists", "writes", "said"),
    [
        ("a.png\\n", "yes | head -c 30000000 > a.png; exec sleep 20", "swells to over 300 times"),
        ("../evil\\n", "true", "leads out of the folder"),
        ("a.png\\n", "ln -s /etc/passwd a.png", "is no plain file"),
        ("a.png\\n", "printf x > b.png", "was not in the archive's own list"),
        ("a.png\\n", "echo broken >&2; exit 3", r"bsdtar cannot unpack it \(broken\)"),
    ],
)
def test_a_hostile_rar_is_refused(lists, writes, said, room, monkeypatch, tmp_path):
    rar_tool(tmp_path / "bin", monkeypatch, lists=lists, writes=writes)
    before = time.monotonic()
    refused(room, RAR, said, name="a.rar", limits=Limits(ratio_from_bytes=10_000_000))
    assert time.monotonic() - before < 10  # a tool that writes too much is stopped


def test_rar_without_a_tool_says_what_to_install(room, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    (room / "a.rar").write_bytes(RAR)
    with pytest.raises(MissingExtraError, match="no tool that unpacks those is installed") as error:
        unpack(room / "a.rar", room / "out")
    assert "apt install" in error.value.hint
