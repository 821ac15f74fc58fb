"""Whatever a server does, the right file comes, or a message; never a wrong file."""

import hashlib
import random
import socket
from pathlib import Path

import httpx
import pytest
from faulty_server import serve

from usfmae.base.errors import FetchError, FolderError
from usfmae.datasets.fetch.download import Patience, download
from usfmae.datasets.fetch.receipt import Expected

CONTENT = random.Random(0).randbytes(150_000)
SHA, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
KNOWN = Expected(bytes=len(CONTENT), sha256=SHA, md5=MD5)
UNKNOWN = Expected()
SIZED = {"content-length": str(len(CONTENT))}
HASTY = Patience(tries=6, first_wait_s=0.001, max_wait_s=0.005, connect_s=2.0, stall_s=0.15)


@pytest.fixture
def client():
    with httpx.Client(trust_env=False) as client:
        yield client


def get(server, path, client, expected=KNOWN, patience=HASTY):
    return download(f"{server.url}/set.zip", path, expected=expected, client=client, patience=patience)


def nothing_wrong(path: Path, content=CONTENT) -> None:
    assert not path.exists() or path.read_bytes() == content


@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["known", "unknown"])
def test_a_file_comes_with_a_receipt_and_comes_once(expected, client, tmp_path):
    with serve(CONTENT) as server:
        receipt = get(server, tmp_path / "set.zip", client, expected)
        assert (tmp_path / "set.zip").read_bytes() == CONTENT
        assert (receipt.bytes, receipt.sha256, receipt.md5, receipt.etag) == (len(CONTENT), SHA, MD5, '"v1"')
        assert sorted(path.name for path in tmp_path.iterdir()) == ["set.zip", "set.zip.receipt.json"]
        again = get(server, tmp_path / "set.zip", client, expected)
        assert again == receipt
        assert len(server.requests) == 1
        assert server.requests[0]["Accept-Encoding"] == "identity"


def test_a_cut_download_goes_on_where_it_stopped(client, tmp_path):
    with serve(CONTENT, [("cut", 40_000), ("cut", 30_000)]) as server:
        get(server, tmp_path / "set.zip", client, UNKNOWN)
        assert (tmp_path / "set.zip").read_bytes() == CONTENT
        assert [request.get("Range") for request in server.requests] == [None, "bytes=40000-", "bytes=70000-"]
        assert server.requests[1]["If-Range"] == '"v1"'


def test_a_second_call_goes_on_where_the_first_gave_up(client, tmp_path):
    once = Patience(tries=1, first_wait_s=0, max_wait_s=0, connect_s=1, stall_s=0.2)
    with serve(CONTENT, ["500"]) as server, pytest.raises(FetchError, match="gave up after 1 tries"):
        get(server, tmp_path / "set.zip", client, patience=once)
    with serve(CONTENT, [("cut", 50_000), "500"]) as server:
        with pytest.raises(FetchError, match="50,000 bytes are kept") as error:
            get(server, tmp_path / "set.zip", client, patience=once.model_copy(update={"tries": 2}))
        assert "goes on from there" in error.value.hint
        assert not (tmp_path / "set.zip").exists()
        get(server, tmp_path / "set.zip", client)
        assert server.requests[-1]["Range"] == "bytes=50000-"
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("expected", [KNOWN, UNKNOWN], ids=["known", "unknown"])
def test_pieces_of_two_files_are_never_joined(expected, client, tmp_path):
    with serve(CONTENT, [("cut", 50_000), "changed"]) as server:
        changed = bytes(255 - byte for byte in CONTENT[: len(CONTENT) - 7])
        if expected is KNOWN:
            with pytest.raises(FetchError, match=r"the server offers 149,993 bytes, the card says 150,000"):
                get(server, tmp_path / "set.zip", client, expected)
            assert not (tmp_path / "set.zip").exists()
        else:
            get(server, tmp_path / "set.zip", client, expected)
            assert (tmp_path / "set.zip").read_bytes() == changed


def test_without_a_validator_and_a_sum_a_download_starts_again(client, tmp_path):
    with serve(CONTENT, [("cut", 50_000)], etag=None) as server:
        get(server, tmp_path / "set.zip", client, UNKNOWN)
        assert [request.get("Range") for request in server.requests] == [None, None]
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_or_sends_another_piece_is_survived(client, tmp_path):
    for number, fault in enumerate(("ignore-range", "other-place")):
        with serve(CONTENT, [("cut", 50_000), fault]) as server:
            get(server, tmp_path / f"{number}.zip", client, UNKNOWN)
        assert (tmp_path / f"{number}.zip").read_bytes() == CONTENT


def test_a_wrong_sum_is_never_accepted(client, tmp_path):
    with (
        serve(CONTENT, [("flip", 77)] * 9) as server,
        pytest.raises(FetchError, match=r"sha256 is .* card says"),
    ):
        get(server, tmp_path / "set.zip", client)
    assert not (tmp_path / "set.zip").exists()
    with serve(CONTENT, [("flip", 77)]) as server:  # the second try is right
        get(server, tmp_path / "set.zip", client)
    assert (tmp_path / "set.zip").read_bytes() == CONTENT
    md5 = Expected(md5="0" * 32)
    with serve(CONTENT) as server, pytest.raises(FetchError, match=r"md5 is .* card says 0000"):
        get(server, tmp_path / "b.zip", client, md5)


@pytest.mark.parametrize(
    ("faults", "said", "hint"),
    [
        (["404"], "refuses with status 404", "it may have moved"),
        (["403"], "refuses with status 403", "login or a token"),
        (["page"], "is a web page, not a file", "--from"),
        (["loop"], "leads in a circle", "browser"),
        (["500"] * 9, "gave up after 6 tries .*status 500.*; 0 bytes are kept", "again later"),
        (["stall"] * 9, "gave up after 6 tries", "again later"),
    ],
)
def test_what_cannot_be_had_is_said(faults, said, hint, client, tmp_path):
    with serve(CONTENT, faults) as server, pytest.raises(FetchError, match=said) as error:
        get(server, tmp_path / "set.zip", client)
    assert hint in error.value.hint
    assert not (tmp_path / "set.zip").exists()


def test_a_page_that_claims_to_be_a_file_is_known_by_its_first_bytes(client, tmp_path):
    page = b"\n<html><body>Sign in</body></html>"
    with serve(page) as server, pytest.raises(FetchError, match="is a web page"):
        get(server, tmp_path / "set.zip", client, UNKNOWN)


def test_a_length_that_nobody_knows_is_not_trusted(client, tmp_path):
    with serve(CONTENT, sized=False) as server:
        with pytest.raises(FetchError, match="does not say how long the file is"):
            get(server, tmp_path / "a.zip", client, UNKNOWN)
        get(server, tmp_path / "b.zip", client, KNOWN)
    assert (tmp_path / "b.zip").read_bytes() == CONTENT


def test_a_host_that_is_down_is_said(client, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/set.zip"
    with pytest.raises(FetchError, match="gave up after 6 tries without a new byte"):
        download(url, tmp_path / "set.zip", expected=KNOWN, client=client, patience=HASTY)


def test_an_unsafe_redirect_is_not_followed(client, tmp_path):
    def answer(request):
        there = {"https://a.test/x": "http://b.test/x", "http://a.test/x": "file:///etc/passwd"}
        return httpx.Response(302, headers={"location": there[str(request.url)]})

    with httpx.Client(transport=httpx.MockTransport(answer)) as other:
        for url in ("https://a.test/x", "http://a.test/x"):
            with pytest.raises(FetchError, match="not safe to follow"):
                download(url, tmp_path / "x.zip", expected=KNOWN, client=other, patience=HASTY)


def test_a_token_stays_with_its_host(tmp_path):
    seen = []

    def answer(request):
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.host == "a.test":
            return httpx.Response(302, headers={"location": "https://b.test/x"})
        return httpx.Response(200, stream=httpx.ByteStream(CONTENT), headers=SIZED)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        token = {"Authorization": "Basic secret"}
        download("https://a.test/x", tmp_path / "x.zip", expected=KNOWN, client=client, headers=token)
    assert seen == [("a.test", "Basic secret"), ("b.test", None)]


def test_another_file_in_its_place_is_not_overwritten(client, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"mine")
    with serve(CONTENT) as server, pytest.raises(FolderError, match="is not the file that is wanted"):
        get(server, tmp_path / "set.zip", client)
    assert (tmp_path / "set.zip").read_bytes() == b"mine"


def test_retry_after_is_heeded_up_to_a_limit(tmp_path):
    waits, answers = [], iter([("503", "3"), ("429", "900")])

    def answer(request):
        code, wait = next(answers, ("200", ""))
        if code == "200":
            return httpx.Response(200, stream=httpx.ByteStream(CONTENT), headers=SIZED)
        return httpx.Response(int(code), headers={"retry-after": wait})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        download("https://a.test/x", tmp_path / "x.zip", expected=KNOWN, client=client, sleep=waits.append)
    assert 2.4 <= waits[0] <= 3.6
    assert waits[1] == 60


FAULTS = ("cut", "stall", "long", "short", "500", "503", "ignore-range", "other-place", "redirect", "changed")


def test_two_hundred_random_schedules_end_with_the_right_file_or_a_message(client, tmp_path):
    outcomes = {"right": 0, "message": 0}
    for seed in range(200):
        chance = random.Random(seed)
        known = seed % 2 == 0
        names = [*FAULTS, "flip"] if known else [name for name in FAULTS if name != "short"]
        names = [name for name in names if name != "stall" or chance.random() < 0.15]
        faults = [
            (chance.choice(names), chance.randrange(len(CONTENT))) for _ in range(chance.randrange(1, 7))
        ]
        path = tmp_path / f"{seed}.zip"
        etag = chance.choice(['"v1"', '"v1"', 'W/"v1"', None])
        with serve(CONTENT, faults, etag=etag) as server:
            try:
                get(server, path, client, KNOWN if known else UNKNOWN)
            except FetchError:
                assert not path.exists()
                outcomes["message"] += 1
            else:
                final = CONTENT if known else server.content
                assert path.read_bytes() == final, (seed, faults)
                outcomes["right"] += 1
    assert outcomes["right"] > 100
    assert outcomes["message"] > 5
