"""From an archive, or a server, to a folder that its reader understands."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import faulty_server
import httpx
import pytest

from usfmae.base.errors import ArchiveError, FetchError, FolderError
from usfmae.datasets.card import all_cards
from usfmae.datasets.fake import fake_dataset
from usfmae.datasets.fetch.download import Patience
from usfmae.datasets.fetch.hosts import Hosts
from usfmae.datasets.fetch.run import (
    FETCHED_FILE,
    coverage_table,
    fetch_all_open,
    fetch_dataset,
    licence_notice,
)
from usfmae.datasets.registry import get_card, read_dataset

READABLE = [name for name, card in all_cards().items() if card.layout is not None and name != "folder"]
HASTY = Patience(tries=3, first_wait_s=0.001, max_wait_s=0.002, connect_s=1, stall_s=0.2)


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, verify=faulty_server.NO_CERTIFICATES) as client:
        yield client


def packed(name: str, folder: Path, **settings) -> Path:
    """A publisher's archive of a fake."""
    fake_dataset(name, folder / "drawn", **settings)
    (folder / "drawn" / "FAKE.txt").unlink()
    archive = Path(shutil.make_archive(str(folder / "set"), "zip", folder / "drawn"))
    shutil.rmtree(folder / "drawn")
    return archive


@pytest.mark.parametrize("name", READABLE)
def test_an_archive_that_was_downloaded_by_hand_is_unpacked_and_read(name, client, tmp_path):
    archive = packed(name, tmp_path, num_patients=12)
    card = get_card(name)
    out = fetch_dataset(card, tmp_path / "data", accept_licence=True, archives=[archive], client=client)
    found = read_dataset(name, tmp_path / "data" / name, find_clusters=False)
    assert out.message == f"fetched: {len(found):,} found"
    record = json.loads((tmp_path / "data" / name / FETCHED_FILE).read_text())
    assert record["files"][0]["name"] == "set.zip"
    assert len(record["files"][0]["sha256"]) == 64
    again = fetch_dataset(card, tmp_path / "data", accept_licence=False, client=client)
    assert again.message == "is here already"


def test_without_consent_the_licence_is_said_and_nothing_is_done(client, tmp_path):
    with pytest.raises(FetchError, match="forbidden: commercial use") as error:
        fetch_dataset(get_card("camus"), tmp_path / "data", accept_licence=False, client=client)
    assert error.value.hint == "read it, then add --accept-licence"
    assert not (tmp_path / "data").exists()
    assert "no licence" in licence_notice(get_card("busi"))
    assert "passing on what was made from it" in licence_notice(get_card("covid-blues"))


def test_a_set_behind_a_form_says_what_to_do(client, tmp_path):
    with pytest.raises(FetchError, match=r"(?s)without a person.*institutional e-mail.*--from ARCHIVE"):
        fetch_dataset(get_card("bus-dataset-b"), tmp_path, accept_licence=True, client=client)


def repository(name: str, folder: Path) -> bytes:
    """What GitHub sends: a zip with one folder around everything."""
    inside = packed(name, folder, num_patients=8)
    content = io.BytesIO()
    with zipfile.ZipFile(inside) as flat, zipfile.ZipFile(content, "w") as archive:
        for info in flat.infolist():
            if not info.is_dir():
                archive.writestr(f"STU-Hospital-ba4a898/{info.filename}", flat.read(info))
    return content.getvalue()


def test_a_repository_comes_without_the_folder_around_it_and_survives_a_bad_line(client, tmp_path):
    content = repository("stu-hospital", tmp_path)
    faults = [("cut", 900), "503", "redirect", ("cut", 2000)]
    with faulty_server.serve(content, faults) as server:
        out = fetch_dataset(
            get_card("stu-hospital"),
            tmp_path / "data",
            accept_licence=True,
            client=client,
            hosts=Hosts(github=server.url),
            patience=HASTY,
        )
    assert out.message == "fetched: 12 found"
    assert (tmp_path / "data/stu-hospital/Hospital").is_dir()
    assert (tmp_path / "data/_archives/stu-hospital/stu-hospital.zip").read_bytes() == content


def test_a_login_page_in_place_of_an_archive_is_said(client, tmp_path):
    (tmp_path / "set.zip").write_text("<!doctype html><html>log in</html>")
    with pytest.raises(ArchiveError, match="is a web page"):
        fetch_dataset(
            get_card("aul"),
            tmp_path / "data",
            accept_licence=True,
            archives=[tmp_path / "set.zip"],
            client=client,
        )
    assert not (tmp_path / "data" / "aul").exists()
    with pytest.raises(FolderError, match="no such file"):
        fetch_dataset(
            get_card("aul"),
            tmp_path / "data",
            accept_licence=True,
            archives=[tmp_path / "no.zip"],
            client=client,
        )


def test_an_archive_of_something_else_is_kept_and_said(client, tmp_path):
    archive = packed("camus", tmp_path, num_patients=8)
    out = fetch_dataset(
        get_card("aul"), tmp_path / "data", accept_licence=True, archives=[archive], client=client
    )
    assert out.message == "fetched, but laid out otherwise than its card says"


def test_all_open_sets_are_tried_and_the_table_says_what_is_here(client, tmp_path):
    content = repository("stu-hospital", tmp_path)
    cards = [get_card(name) for name in ("stu-hospital", "aul", "echonet-dynamic")]
    with faulty_server.serve(content) as server:
        server.routes["/api/records/7272660"] = ("application/json", b"{}")
        hosts = Hosts(github=server.url, zenodo=server.url)
        results = fetch_all_open(
            cards, tmp_path / "data", accept_licence=True, client=client, hosts=hosts, patience=HASTY
        )
    table = coverage_table(results).splitlines()
    assert len(results) == 2  # the third needs an account
    assert table[1].startswith("stu-hospital")
    assert table[1].endswith("fetched: 12 found")
    assert "answers otherwise" in table[2]
    assert table[-1].startswith("1 of 2 sets are here: 42 images as published")
