"""Where files lie, host by host: a local server answers as the hosts' documentation says."""

import json

import faulty_server
import httpx
import pytest

from usfmae.base.errors import FetchError
from usfmae.datasets.card import all_cards
from usfmae.datasets.fetch.hosts import Hosts, plan_downloads
from usfmae.datasets.registry import get_card


@pytest.fixture
def server():
    with faulty_server.serve(b"content") as server:
        yield server


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, verify=faulty_server.NO_CERTIFICATES) as client:
        yield client


def at(server) -> Hosts:
    return Hosts(**dict.fromkeys(Hosts.model_fields, server.url))


def answers(server, path, content) -> None:
    server.routes[path] = ("application/json", json.dumps(content).encode())


def plan(name, server, client, **settings):
    return plan_downloads(get_card(name), client=client, hosts=at(server), **settings)


def test_an_address_of_the_card_is_taken_with_its_sums(server, client):
    (wanted,) = plan("bus-bra", server, client).files
    assert wanted.url == "https://zenodo.org/records/8231412/files/BUSBRA.zip?download=1"
    assert (wanted.name, wanted.expected.bytes) == ("BUSBRA.zip", 133917740)
    assert wanted.expected.md5 == "1f8b2be6476d58fc97bfb5e5a1ea9bab"
    assert not server.requests


def test_of_a_file_and_the_archive_of_the_whole_the_file_with_a_sum_is_taken(server, client):
    (wanted,) = plan("fass", server, client).files
    assert wanted.expected.sha256.startswith("bde4ab58")
    assert wanted.name == "dataset-zip.zip"


def test_zenodo_is_asked_for_files_and_sums(server, client):
    files = [
        {"key": name, "size": 7, "checksum": f"md5:{'a' * 32}", "links": {"self": f"{server.url}/{name}"}}
        for name in ("Benign.zip", "Malignant.zip", "Normal.zip", "readme.txt")
    ]
    answers(server, "/api/records/7272660", {"files": files})
    wanted = plan("aul", server, client).files
    assert [file.name for file in wanted] == ["Benign.zip", "Malignant.zip", "Normal.zip"]  # as the card says
    assert wanted[0].expected.md5 == "a" * 32
    assert wanted[0].url == f"{server.url}/Benign.zip"


def test_figshare_is_asked_for_files_and_sums(server, client):
    sums = {"computed_md5": "b" * 32, "size": 9}
    answers(
        server,
        "/v2/articles/14371652/files",
        [{"name": "JNU-IFM.zip", "download_url": "https://x/1", **sums}],
    )
    (wanted,) = plan("jnu-ifm", server, client).files
    assert (wanted.url, wanted.expected.md5, wanted.expected.bytes) == ("https://x/1", "b" * 32, 9)


def test_mendeley_is_asked_for_files_and_sums(server, client):
    details = {"download_url": "https://m/1", "sha256_hash": "c" * 64}
    answers(
        server,
        "/public-api/datasets/vckdnhtw26/files?folder_id=root&version=1",
        [{"filename": "BUSC.zip", "size": 5, "content_details": details}],
    )
    (wanted,) = plan("busc", server, client).files
    assert (wanted.url, wanted.expected.sha256) == ("https://m/1", "c" * 64)


def test_github_gives_the_commit_of_the_card_as_a_zip_with_one_folder_around(server, client):
    (wanted,) = plan("stu-hospital", server, client).files
    assert wanted.url == f"{server.url}/xbhlk/STU-Hospital/zip/ba4a898"
    assert wanted.has_top_folder
    (head,) = plan("covid-blues", server, client).files
    assert head.url.endswith("/NinaWie/COVID-BLUES/zip/HEAD")


def test_a_file_on_drive_has_an_address_and_a_folder_needs_a_person(server, client):
    (wanted,) = plan("thyroid-dataset", server, client).files
    assert "id=1reHyY5eTZ5uePXMVMzFOq5j3eFOSp50F&export=download" in wanted.url
    assert wanted.expected.sha256.startswith("0ba17700")
    by_hand = plan("gist514-db", server, client).by_hand
    assert "drive.google.com/drive/folders/1TG9Bq" in by_hand
    assert "--from ARCHIVE" in by_hand


def test_kaggle_wants_a_token_and_takes_it_from_either_place(server, client, tmp_path):
    with pytest.raises(FetchError, match="lies on Kaggle, which wants a token") as error:
        plan("abdomenus", server, client, env={}, home=tmp_path)
    assert "KAGGLE_KEY" in error.value.hint
    token = {"KAGGLE_USERNAME": "ann", "KAGGLE_KEY": "k"}
    (wanted,) = plan("abdomenus", server, client, env=token, home=tmp_path).files
    assert wanted.url == f"{server.url}/api/v1/datasets/download/ignaciorlando/ussimandsegm"
    assert dict(wanted.headers)["Authorization"] == "Basic YW5uOms="
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/kaggle.json").write_text('{"username": "ann", "key": "k"}')
    (race,) = plan("uns", server, client, env={}, home=tmp_path).files
    assert race.url.endswith("/competitions/data/download-all/ultrasound-nerve-segmentation")
    (tmp_path / ".kaggle/kaggle.json").write_text("{")
    with pytest.raises(FetchError, match="is no Kaggle token"):
        plan("uns", server, client, env={}, home=tmp_path)


@pytest.mark.parametrize("name", ["bus-dataset-b", "echonet-dynamic", "fallmud", "ubpd", "kidneyus"])
def test_a_form_is_described_page_by_page(name, server, client):
    found = plan(name, server, client)
    assert not found.files
    assert get_card(name).access.page in found.by_hand
    assert f"usfmae datasets fetch {name} --root DIR --from ARCHIVE" in found.by_hand


def test_a_host_that_answers_nonsense_is_said(server, client):
    server.routes["/api/records/7272660"] = ("text/html", b"<html>down for maintenance</html>")
    with pytest.raises(FetchError, match="gives no list of files"):
        plan("aul", server, client)
    answers(server, "/api/records/7272660", {"hits": 3})
    with pytest.raises(FetchError, match="answers otherwise than its documentation says"):
        plan("aul", server, client)
    answers(server, "/api/records/7272660", {"files": []})
    with pytest.raises(FetchError, match="lists no files"):
        plan("aul", server, client)


def test_every_open_set_of_the_46_has_files_or_words(server, client):
    """No card ends in an exception other than a host that would have to be asked."""
    for card in all_cards().values():
        if card.id == "folder" or card.access.level == "credential":
            continue
        try:
            found = plan_downloads(card, client=client, hosts=at(server))
        except FetchError as error:
            if "gives no list of files" not in error.message:
                raise
        else:
            assert bool(found.files) != bool(found.by_hand), card.id
            assert len({file.name for file in found.files}) == len(found.files), card.id
