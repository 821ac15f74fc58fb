"""What is wrong is said with a hint, and a second fetch goes on."""

import errno
import json
import shutil
import zipfile
from pathlib import Path

import faulty_server
import httpx
import pytest

from usfmae.base.errors import ArchiveError, FetchError, FolderError
from usfmae.cli.main import main
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.fetch.download import Patience
from usfmae.datasets.fetch.hosts import Hosts, plan_downloads
from usfmae.datasets.fetch.run import FETCHED_FILE, coverage_table, fetch_dataset
from usfmae.datasets.registry import get_card

HASTY = Patience(tries=3, first_wait_s=0.001, max_wait_s=0.002, connect_s=1, stall_s=0.2)


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, verify=faulty_server.NO_CERTIFICATES) as client:
        yield client


def packed(name: str, folder: Path, *, top="") -> Path:
    """A publisher's archive of a fake, with a folder around everything if `top` says so."""
    fake_dataset(name, folder / "drawn" / top, num_patients=8)
    (folder / "drawn" / top / "FAKE.txt").unlink()
    archive = Path(shutil.make_archive(str(folder / f"{name}{top}"), "zip", folder / "drawn"))
    shutil.rmtree(folder / "drawn")
    return archive


def fetch(name, root, client, **settings):
    return fetch_dataset(get_card(name), root, accept_licence=True, client=client, patience=HASTY, **settings)


def test_an_archive_of_another_set_is_not_taken_for_this_one_later_either(client, tmp_path):
    other, right = packed("stu-hospital", tmp_path), packed("aul", tmp_path)
    first = fetch("aul", tmp_path / "data", client, archives=[other])
    assert "move" in first.hint
    again = fetch("aul", tmp_path / "data", client)
    assert again.message == "here already, fetched, but laid out otherwise than its card says"
    assert coverage_table([again]).splitlines()[-1].startswith("0 of 1 sets are here")
    with pytest.raises(FolderError, match=r"is here already, and not from .*aul\.zip"):
        fetch("aul", tmp_path / "data", client, archives=[right])


def test_the_folder_that_github_puts_around_everything_does_no_harm_by_hand(client, tmp_path):
    archive = packed("stu-hospital", tmp_path, top="STU-Hospital-master")
    out = fetch("stu-hospital", tmp_path / "data", client, archives=[archive])
    assert (out.message, out.hint) == ("fetched: 12 found", "")


def test_a_damaged_archive_without_a_checksum_is_fetched_again(client, tmp_path):
    content = packed("stu-hospital", tmp_path, top="STU-Hospital-1").read_bytes()
    for number, first in enumerate((content[:3000], b"<p>please log in</p>", b"PK\x03\x04 no more")):
        root = tmp_path / f"data{number}"
        with faulty_server.serve(first) as server:
            hosts = Hosts(github=server.url)
            with pytest.raises(ArchiveError, match=r"kept as stu-hospital\.zip\.refused") as error:
                fetch("stu-hospital", root, client, hosts=hosts)
            assert "fetches it again" in error.value.hint
            server.content = content
            assert fetch("stu-hospital", root, client, hosts=hosts).message == "fetched: 12 found"


def test_a_kill_before_the_note_is_written_does_not_stand_in_the_way(client, tmp_path):
    content = packed("stu-hospital", tmp_path, top="STU-Hospital-1").read_bytes()
    with faulty_server.serve(content) as server:
        fetch("stu-hospital", tmp_path / "data", client, hosts=Hosts(github=server.url))
        (tmp_path / "data/stu-hospital" / FETCHED_FILE).unlink()
        again = fetch("stu-hospital", tmp_path / "data", client, hosts=Hosts(github=server.url))
        assert again.message == "fetched: 12 found"
        assert len(server.requests) == 1
    (tmp_path / "data/stu-hospital" / FETCHED_FILE).write_text("[]")
    with pytest.raises(FolderError, match="not what this program wrote"):
        fetch("stu-hospital", tmp_path / "data", client)


def listing(server, files: dict[str, bytes]) -> None:
    """The Zenodo record of `aul` with these files."""
    for name, content in files.items():
        server.routes[f"/{name}"] = ("application/octet-stream", content)
    entries = [
        {"key": name, "size": len(content), "checksum": "", "links": {"self": f"{server.url}/{name}"}}
        for name, content in files.items()
    ]
    server.routes["/api/records/7272660"] = ("application/json", json.dumps({"files": entries}).encode())


def test_readmes_and_tables_beside_an_archive_are_taken_as_they_are(client, tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as table:
        table.writestr("xl/workbook.xml", "x")
    files = {
        "README.md": b"# read me",
        "t.xlsx": (tmp_path / "t.xlsx").read_bytes(),
        "a.zip": packed("aul", tmp_path).read_bytes(),
    }
    with faulty_server.serve(b"") as server:
        listing(server, files)
        fetch("aul", tmp_path / "data", client, hosts=Hosts(zenodo=server.url))
    assert (tmp_path / "data/aul/README.md").read_bytes() == b"# read me"
    assert (tmp_path / "data/aul/t.xlsx").is_file()


@pytest.mark.parametrize("name", ["../../evil.zip", "/etc/evil.zip", "a\\b.zip", "..", "a\nb.zip", ""])
def test_a_host_cannot_name_a_file_outside_the_folder(name, client, tmp_path):
    with faulty_server.serve(b"") as server:
        listing(server, {name: b"x"})
        with pytest.raises(FetchError, match="lists a file that cannot be one"):
            fetch("aul", tmp_path / "data", client, hosts=Hosts(zenodo=server.url))
    assert not (tmp_path / "data").exists()


def test_a_busy_host_is_asked_for_its_list_again(tmp_path):
    answers = iter([503, 429])

    def answer(request):
        code = next(answers, 200)
        entry = {"key": "a.zip", "size": "odd", "checksum": "", "links": {"self": "http://x/a"}}
        return httpx.Response(code, json={"files": [entry]})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(FetchError, match="answers otherwise"),  # a size that is no number
    ):
        plan_downloads(get_card("aul"), client=client, patience=HASTY)


def test_of_a_girder_collection_and_its_folder_one_is_fetched(client):
    (wanted,) = plan_downloads(get_card("camus"), client=client).files
    assert "/collection/" in wanted.url


def test_a_disk_that_fills_up_while_a_table_is_copied_is_said(client, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.csv").write_text("x")
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(FolderError, match="No space left on device") as error:
        fetch("aul", tmp_path / "data", client, archives=[tmp_path / "a.csv"])
    assert "free some space" in error.value.hint


def run(*words) -> int:
    return main(["datasets", *map(str, words)])


def test_the_command_line_ends_with_the_table_and_a_status(tmp_path, capsys):
    good, bad = packed("aul", tmp_path), packed("stu-hospital", tmp_path)
    root = ("--root", tmp_path / "data", "--accept-licence")
    assert run("fetch", "aul", "--from", good, *root) == 0
    assert run("check", "aul", "--root", tmp_path / "data") == 0
    assert run("check", "aul", "--root", tmp_path / "data/aul", "--quick") == 0
    assert run("fetch", "camus", "--from", bad, *root) == 2
    out, err = capsys.readouterr()
    assert "camus" in out
    assert "1 of 1 sets are not here as their cards say (first: camus" in err
    assert "hint: if it is another set's archive" in err
    assert "Traceback" not in err
    assert run("fetch", "folder", *root) == 2
    assert run("list", "--root", tmp_path / "nowhere") == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_check_names_every_file_that_does_not_fit(tmp_path, capsys):
    fake_dataset("bus-bra", tmp_path / "b", num_patients=8)
    broken = sorted(tmp_path.glob("b/Images/*.png"))[:2]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    assert run("check", "bus-bra", "--root", tmp_path / "b") == 2
    out, err = capsys.readouterr()
    assert all(f"problem: {path}" in out for path in broken)
    assert "2 files do not open or do not fit" in err


def test_check_names_every_image_that_is_missing_and_says_what_is_left(tmp_path, capsys):
    fake_dataset("bus-bra", tmp_path / "b", num_patients=8)
    images = sorted((tmp_path / "b" / "Images").glob("*.png"))
    for path in images[::2]:
        path.unlink()
    assert run("check", "bus-bra", "--root", tmp_path / "b", "--quick") == 0
    out = capsys.readouterr().out
    assert f"bus-bra: {len(images) // 2} images" in out
    assert [line for line in out.splitlines() if line.startswith("missing: ")] == [
        f"missing: Images/{path.name}" for path in images[::2]
    ]
