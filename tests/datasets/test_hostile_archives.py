"""Hostile or broken archives leave nothing, inside the folder or outside."""

import gzip
import io
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib

import py7zr
import pytest
from archive_makers import FILES, NOISE, refused, seven_bytes, tar_bytes, tree, zip_bytes

from usfmae.base.errors import ArchiveError, FolderError
from usfmae.datasets.unpack import Limits, unpack


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "c:evil", "..", "a\\..\\evil", "a\nb", "./../x"],
)
@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes], ids=["zip", "tar"])
def test_names_that_lead_out_are_refused(pack, name, room):
    refused(room, pack({"good.png": b"x", name: b"evil"}), "leads out of the folder|no file can have")


def test_names_that_lead_out_of_7z_are_refused(room):
    content = seven_bytes({"good.png": b"x", "aa/evil": b"evil"})
    hostile = content.replace("aa/evil".encode("utf-16-le"), "../evil".encode("utf-16-le"))
    assert hostile != content
    start = 32  # the header's sum, and then the sum over its place, must fit again
    offset, size = struct.unpack("<2Q", hostile[12:28])
    header = hostile[start + offset : start + offset + size]
    place = hostile[12:28] + struct.pack("<L", zlib.crc32(header))
    hostile = hostile[:8] + struct.pack("<L", zlib.crc32(place)) + place + hostile[32:]
    refused(room, hostile, "leads out of the folder|damaged", name="a.7z")


def test_links_and_devices_are_refused(room):
    refused(room, zip_bytes({"l": b"/etc/passwd"}, l=stat.S_IFLNK | 0o777), "'l' is a symbolic link")
    refused(room, zip_bytes({"f": b""}, f=stat.S_IFIFO | 0o666), "'f' is no plain file")
    refused(room, tar_bytes({"l": b"/etc/passwd"}, l=tarfile.SYMTYPE), "'l' is a symbolic link")
    refused(room, tar_bytes({"a": b"x", "l": b"a"}, l=tarfile.LNKTYPE), "'l' is a hard link")
    refused(room, tar_bytes({"p": b""}, p=tarfile.FIFOTYPE), "'p' is no plain file")
    refused(room, tar_bytes({"d": b""}, d=tarfile.CHRTYPE), "'d' is no plain file")


def test_a_link_in_7z_is_refused(room):
    (room / "target").write_text("x")
    (room / "link").symlink_to("target")
    with py7zr.SevenZipFile(room / "a.7z", "w") as archive:
        archive.write(room / "link", "link")
    refused(room, (room / "a.7z").read_bytes(), "'link' is a symbolic link", name="a.7z")


def test_encrypted_members_are_refused(room):
    content = bytearray(zip_bytes({"a.png": b"x"}))
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    refused(room, bytes(content), "'a.png' is encrypted")
    refused(room, seven_bytes({"a.png": b"x"}, password="secret"), "is encrypted", name="a.7z")


SMALL = Limits(max_bytes=100_000, max_members=50, max_ratio=50, ratio_from_bytes=10_000)


@pytest.mark.parametrize("pack", [zip_bytes, tar_bytes, seven_bytes, lambda files: tar_bytes(files, "w:gz")])
def test_too_much_is_refused_by_size_ratio_and_number(pack, room):
    refused(
        room, pack({"a": NOISE(60_000), "b": NOISE(60_000)}), "unpacks to more than 100,000", limits=SMALL
    )
    many = {f"{k}": b"x" for k in range(60)}
    refused(room, pack(many), "more than 50 files|declares 60 members", limits=SMALL)


@pytest.mark.parametrize("pack", [zip_bytes, lambda files: tar_bytes(files, "w:xz"), seven_bytes])
def test_a_bomb_is_refused_by_its_ratio(pack, room):
    refused(room, pack({"a": bytes(90_000)}), "swells to over 50 times", limits=SMALL)


def test_a_bomb_that_lies_about_its_size_is_refused(room):
    content = bytearray(zip_bytes({"a": bytes(200_000)}))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = content.find(signature) + at
        content[place : place + 4] = struct.pack("<L", 100)
    refused(room, bytes(content), "damaged|declares|swells", limits=SMALL)


def test_a_nested_bomb_counts_too(room):
    bomb = zip_bytes({"a": bytes(90_000)})
    refused(room, zip_bytes({"inner.zip": bomb, "b": NOISE(500)}), "swells to over 50 times", limits=SMALL)
    nested = zip_bytes({"i.zip": zip_bytes({"a": NOISE(70_000)}), "b": NOISE(20_000)})
    refused(room, nested, "unpacks to more than", limits=SMALL)


def test_a_million_tiny_files_are_refused_before_they_are_listed(room):
    one = zip_bytes({"f0000000": b""})
    at, end = one.find(b"PK\x01\x02"), one.rfind(b"PK\x05\x06")
    entry, num = one[at:end], 1_000_000
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, num, num, num * len(entry), at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + num * len(entry), 1)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    content = one[:at] + entry * num + wide + locator + tail
    refused(room, content, "declares 1,000,000 members", limits=Limits(max_members=500_000))


def test_a_name_that_stands_twice_is_refused(room):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.png", b"x")
        archive.writestr("A.png", b"y")
    refused(room, content.getvalue(), r"'A.png' stands there twice \(with 'a.png'\)")
    refused(room, tar_bytes({"a": b"x", "a/b": b"y"}), "a file and a folder at once")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n <!DOCTYPE html><html>log in</html>", "is a web page, not an archive"),
        (b"just a text, and nothing else", "no archive of a known format"),
        (b"PK\x03\x04 and no more", "no directory at its end"),
        (zip_bytes({}), "holds no file"),
        (zip_bytes({"__MACOSX/a": b"x"}), "holds no file"),
    ],
)
def test_what_is_no_archive_is_said(content, said, room):
    refused(room, content, said)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zip", zip_bytes(FILES)),
        ("tar", tar_bytes(FILES)),
        ("tgz", tar_bytes(FILES, "w:gz")),
        ("txz", tar_bytes(FILES, "w:xz")),
        ("7z", seven_bytes(FILES)),
        ("gz", gzip.compress(NOISE(3000), mtime=0)),
    ],
)
def test_wherever_an_archive_is_cut_nothing_is_left(name, content, room):
    end = len(content) if name != "tar" else content.rfind(b"ustar") + 1024
    chance = random.Random(1)
    for cut in sorted({8, 200, end - 1, *(chance.randrange(7, end) for _ in range(12))}):
        refused(room, content[:cut], "damaged|cut short|known format|end|holds no file", name="a.bin")


@pytest.mark.parametrize("pack", [zip_bytes, lambda files: tar_bytes(files, "w:gz"), seven_bytes])
def test_a_flipped_byte_never_gives_a_wrong_file(pack, room):
    content = pack(FILES)
    chance = random.Random(2)
    for _ in range(25):
        at = chance.randrange(len(content))
        (room / "a.bin").write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        try:
            unpack(room / "a.bin", room / "out")
        except (ArchiveError, FolderError):
            assert not (room / "out").exists()
            continue
        got = tree(room / "out")
        assert sorted(got.values()) == sorted(FILES.values())  # a name or a date may have changed
        subprocess.run(["rm", "-r", str(room / "out")], check=True)


def test_a_full_disk_is_said_and_leaves_nothing(room, monkeypatch):
    class Usage:
        free = 100

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    refused(room, zip_bytes({"a": NOISE(5000)}), "'a' needs 0.0 GB, and 0.0 GB are free", error=FolderError)


def test_a_thousand_small_bombs_are_one_large_one(room):
    for inner in (zip_bytes({"a": bytes(9000)}), tar_bytes({"a": bytes(9000)}, "w:gz")):
        many = zip_bytes({f"{k}.zip": inner for k in range(200)})
        assert SMALL.max_ratio * len(many) < 200 * 9000
        limits = SMALL.model_copy(update={"max_members": 1000, "max_bytes": 10**9})
        refused(room, many, r"a\.zip: swells to over 50 times", limits=limits)


@pytest.mark.parametrize("name", ["..zip", ".tar.zip", "...zip", "b.zip"])
def test_odd_names_of_archives_inside_still_make_a_folder(name, room):
    files = {name: zip_bytes({"x": b"1"}), "b/x": b"2", "b.zip.unpacked/x": b"3"}
    (room / "a.zip").write_bytes(zip_bytes(files))
    unpack(room / "a.zip", room / "out")
    assert sorted(tree(room / "out").values()) == [b"1", b"2", b"3"]


def test_an_archive_inside_is_named_with_the_one_around_it(room):
    content = zip_bytes({"deep/b.zip": zip_bytes({"../evil": b"x"})})
    refused(room, content, r"/a\.zip: 'deep/b\.zip' in it: member '\.\./evil' leads out")
    refused(room, zip_bytes({"b.zip": b"<html>"}), r"/a\.zip: 'b\.zip' in it: is a web page")


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_tar_header_that_would_fill_the_memory_is_refused(kind, room):
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 64 << 20
    content = gzip.compress(header.tobuf() + bytes(64 << 20) + tar_bytes({"a": b"x"}), 1)
    refused(room, content, "a header of 67,108,864 bytes", name="a.tar.gz")


def test_what_is_skipped_in_a_tar_counts_too(room):
    junk = gzip.compress(tar_bytes({"__MACOSX/._a": bytes(200_000), "b": b"x"}))
    refused(room, junk, "swells to over 50 times|unpacks to more than", name="a.tgz", limits=SMALL)
    folders = {f"{k}": b"" for k in range(60)}
    many = tar_bytes({**folders, "b": b"x"}, **dict.fromkeys(folders, tarfile.DIRTYPE))
    refused(room, many, "more than 50 files and folders", limits=SMALL)


def test_padding_behind_a_tar_has_an_end(room, monkeypatch):
    monkeypatch.setattr("usfmae.datasets.archives.MAX_PADDING_BYTES", 3 << 20)
    content = gzip.compress(tar_bytes({"a": b"x"}) + bytes(9 << 20), 1)
    refused(room, content, "bytes after its end mark", name="a.tgz")


@pytest.mark.parametrize("old", [b"good", b"n"])
def test_a_zip_name_that_is_empty_or_holds_a_nul_is_refused(old, room):
    content = bytearray(zip_bytes({"good": b"x"}))
    at = content.find(b"PK\x01\x02")
    if old == b"good":
        content[content.find(b"good") : content.find(b"good") + 4] = b"g\0\0d"
        content[at + 46 : at + 50] = b"g\0\0d"
    else:
        content = bytearray(zip_bytes({"n": b"x"}).replace(b"n", b""))
        at = content.find(b"PK\x01\x02")
        content[26:28] = content[at + 28 : at + 30] = b"\0\0"
        end = content.rfind(b"PK\x05\x06")
        content[end + 12 : end + 20] = struct.pack("<2L", end - at, at)
    refused(room, bytes(content), "has a name that no file can have|damaged")


def test_a_zip_that_lies_about_the_number_of_its_files_is_counted(room):
    one = zip_bytes({"f": b""})
    at, end = one.find(b"PK\x01\x02"), one.rfind(b"PK\x05\x06")
    entries = one[at:end] * 70
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entries), at, 0)
    refused(room, one[:at] + entries + tail, "declares 51 members; at most 50", limits=SMALL)


def test_names_that_this_program_deletes_are_refused(room):
    for pack, name in ((zip_bytes, "a.zip"), (tar_bytes, "a.tar"), (seven_bytes, "a.7z")):
        refused(room, pack({".partial-outside/x": b"1", "a": b"2"}), "deleted at any time", name=name)


def test_free_space_is_asked_for_where_the_files_go(room, monkeypatch, tmp_path):
    asked = []
    usage = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda folder: asked.append(folder) or usage(folder))
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick/a.zip").write_bytes(zip_bytes({"a": b"x"}))
    unpack(tmp_path / "stick/a.zip", room / "out")
    assert asked
    assert all(folder.is_relative_to(room) for folder in asked)
