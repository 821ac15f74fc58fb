"""Two hundred bad days of a server."""

import random
from collections import Counter

import httpx
from faulty_server import NO_CERTIFICATES, serve

from usfmae.base.errors import FetchError
from usfmae.datasets.fetch.download import Patience, download
from usfmae.datasets.fetch.receipt import Expected, receipt_of

CONTENT = random.Random(0).randbytes(150_000)
HASTY = Patience(tries=6, first_wait_s=0.001, max_wait_s=0.005, connect_s=2.0, stall_s=0.15)


class Cut(httpx.SyncByteStream):
    """Half of the content, and then the line breaks."""

    def __iter__(self):
        yield CONTENT[:75_000]
        raise httpx.RemoteProtocolError("peer closed connection")


def test_a_whole_file_of_unknown_length_is_not_put_behind_a_piece(tmp_path):
    named = {"transfer-encoding": "chunked", "etag": '"a"'}
    bodies = iter([Cut(), httpx.ByteStream(CONTENT)])
    answers = httpx.MockTransport(lambda request: httpx.Response(200, stream=next(bodies), headers=named))
    with httpx.Client(transport=answers) as client:
        download("https://a.test/x", tmp_path / "x", expected=Expected(), client=client, patience=HASTY)
    assert (tmp_path / "x").read_bytes() == CONTENT


FAULTS = (
    *("cut", "cut", "stall", "throttle", "long", "short", "500", "503", "page", "ignore-range"),
    *("other-place", "redirect", "changed"),
)


def test_two_hundred_random_schedules_end_with_the_right_file_or_a_message(tmp_path):
    (tmp_path / "whole").write_bytes(CONTENT)
    whole = receipt_of(tmp_path / "whole", url="", state={})
    sums = Expected(bytes=whole.bytes, sha256=whole.sha256, md5=whole.md5)
    outcomes = {"right": 0, "message": 0}
    met: Counter[str] = Counter()
    for seed in range(200):
        chance = random.Random(seed)
        known = seed % 2 == 0
        names = [*FAULTS, "flip"] if known else [name for name in FAULTS if name != "short"]
        rare = ("stall", "throttle", "page", "changed")  # slow, or the end of a schedule
        names = [name for name in names if name not in rare or chance.random() < 0.15]
        faults = [
            (chance.choice(names), chance.randrange(len(CONTENT))) for _ in range(chance.randrange(1, 7))
        ]
        path = tmp_path / f"{seed}.zip"
        etag = chance.choice(['"v1"', '"v1"', 'W/"v1"', None])
        with (
            httpx.Client(trust_env=False, verify=NO_CERTIFICATES) as client,
            serve(CONTENT, faults, etag=etag) as server,
        ):
            try:
                expected = sums if known else Expected()
                download(server.url, path, expected=expected, client=client, patience=HASTY)
            except FetchError:
                assert not path.exists()
                outcomes["message"] += 1
            else:
                final = CONTENT if known else server.content
                assert path.read_bytes() == final, (seed, faults)
                outcomes["right"] += 1
        met += server.met
    assert sum(outcomes.values()) == 200
    assert outcomes["right"] > 100
    assert outcomes["message"] > 5
    assert set(met) == {*FAULTS, "flip"}, "a fault that nobody meets tests nothing"
    assert min(met.values()) >= 3, met
