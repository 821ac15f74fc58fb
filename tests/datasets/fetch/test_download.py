"""Whatever a server does, the right file comes, or a message; never a wrong file."""

import fcntl
import hashlib
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from faulty_server import NO_CERTIFICATES, serve

from usfmae.base.errors import FetchError, FolderError
from usfmae.datasets.fetch import download as module
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
    with httpx.Client(trust_env=False, verify=NO_CERTIFICATES) as client:
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


class Pieces(httpx.SyncByteStream):
    """A body in pieces, which may break off."""

    def __init__(self, *pieces: bytes, breaks: bool = False) -> None:
        self.pieces, self.breaks = pieces, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.breaks:
            raise httpx.RemoteProtocolError("peer closed connection")


def from_answers(path: Path, *answers: httpx.Response, expected=UNKNOWN) -> None:
    """Download from a host that gives these answers, the last one for ever."""
    rest = iter(answers)

    def answer(request):
        nonlocal last
        last = next(rest, last)
        return last

    last = answers[-1]
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        download("https://a.test/x", path, expected=expected, client=client, patience=HASTY)


def body(code, *pieces, breaks=False, **headers):
    named = {key.replace("_", "-"): text for key, text in headers.items()}
    return httpx.Response(code, stream=Pieces(*pieces, breaks=breaks), headers=named)


@pytest.mark.parametrize("code", [302, 304])
def test_a_redirect_to_nowhere_is_refused(code, tmp_path):
    with pytest.raises(FetchError, match=f"refuses with status {code}") as error:
        from_answers(tmp_path / "x.zip", httpx.Response(code))
    assert "page in a browser" in error.value.hint


def test_an_empty_file_is_not_accepted(tmp_path):
    with pytest.raises(FetchError, match=r"it is empty \(0 bytes\)"):
        from_answers(tmp_path / "x.zip", body(200, content_length="0"), body(200, content_length="0"))
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize("name", ["set.zip", "table.csv", "readme.txt"])
@pytest.mark.parametrize(
    "pieces",
    [
        [b"\xef\xbb\xbf<!DOCTYPE html><p>log in"],
        [b"<!-- portal --> <html>"],
        [b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">'],
        [b"<script>location='/login'</script>"],
        [b" ", b"<!doc", b"type html><html>"],
    ],
)
def test_a_web_page_is_known_whatever_stands_before_its_first_tag(pieces, name, tmp_path):
    size = str(sum(map(len, pieces)))
    with pytest.raises(FetchError, match="is a web page"):
        from_answers(tmp_path / name, body(200, *pieces, content_length=size))
    assert not (tmp_path / name).exists()
    from_answers(tmp_path / "page.html", body(200, *pieces, content_length=size))


def test_a_piece_that_nobody_asked_for_is_not_put_behind_old_bytes(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(b"of another time")  # its note is lost
    place = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    from_answers(tmp_path / "x.zip", body(206, CONTENT, content_range=place))
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_the_length_that_a_later_piece_tells_is_heeded(tmp_path):
    def piece(start, stop):
        place = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return body(206, CONTENT[start:stop], content_range=place, etag='"a"')

    first = body(200, CONTENT[:5000], breaks=True, transfer_encoding="chunked", etag='"a"')
    from_answers(tmp_path / "x.zip", first, piece(5000, 20_000), piece(20_000, None))
    assert (tmp_path / "x.zip").read_bytes() == CONTENT


def test_a_server_that_always_cuts_and_knows_no_ranges_is_given_up(tmp_path):
    asked = 0

    def answer(request):
        nonlocal asked
        asked += 1
        assert asked < 100, "asked for ever"
        return body(200, CONTENT[: (40_000, 90_000)[asked % 2]], content_length=str(len(CONTENT)))

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(FetchError, match="gave up after 6 tries"),
    ):
        download("https://a.test/x", tmp_path / "x.zip", expected=UNKNOWN, client=client, patience=HASTY)


def test_a_kill_at_the_last_moment_does_not_stand_in_the_way(client, tmp_path, monkeypatch):
    def killed(path, content):
        if path.name.endswith("receipt.json"):
            raise KeyboardInterrupt
        write_json(path, content)

    write_json = module.write_json
    monkeypatch.setattr(module, "write_json", killed)
    with serve(CONTENT) as server:
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path / "set.zip", client, UNKNOWN)
        monkeypatch.undo()
        get(server, tmp_path / "set.zip", client, UNKNOWN)
        assert len(server.requests) == 1
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_two_fetches_do_not_write_into_one_file(client, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with serve(CONTENT) as server:
        with pytest.raises(FolderError, match="another fetch is writing there"):
            get(server, tmp_path / "set.zip", client)
        os.close(handle)
        get(server, tmp_path / "set.zip", client)


def test_a_sum_in_capital_letters_is_the_same_sum(client, tmp_path):
    capital = Expected(sha256=SHA.upper())
    with serve(CONTENT) as server:
        get(server, tmp_path / "set.zip", client, capital)
        get(server, tmp_path / "set.zip", client, capital)
        assert len(server.requests) == 1


def test_a_disk_that_is_full_is_said_with_a_hint_that_fetch_knows(client, tmp_path, monkeypatch):
    def full(path, content):
        raise FolderError("no space left", hint="free some space, then go on with --resume")

    monkeypatch.setattr(module, "write_json", full)
    with serve(CONTENT) as server, pytest.raises(FolderError, match="no space left") as error:
        get(server, tmp_path / "set.zip", client)
    assert error.value.hint == "free some space; the same command goes on"
