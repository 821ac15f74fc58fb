"""One address to one file: goes on where it stopped, and never hands out a file that may be wrong.

Bytes are collected in `NAME.part` with a note of the state of the server's file beside it. They are only ever
joined when the server says that it is still the same file (RFC 9110, sec. 13.1.5 If-Range and 14.4
Content-Range), or when a checksum will tell; otherwise the download starts again.
"""

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.errors import FetchError, FolderError
from usfmae.base.files import alone_in, read_json, write_json
from usfmae.base.logs import Bar, get_logger, progress_bar
from usfmae.datasets.fetch.answers import (
    TryAgainError,
    WrongFileError,
    answer_to,
    refuse_page,
    refuse_page_inside,
    refuse_status,
    state_of,
)
from usfmae.datasets.fetch.receipt import (
    MEGABYTE,
    Expected,
    Receipt,
    already_here,
    receipt_of,
    receipt_path,
)

log = get_logger(__name__)

FULL_HINT = "free some space; the same command goes on"
HEAD_BYTES = 4096
"""Enough to tell a web page."""


class Patience(Config):
    """How long to wait, and how often to try."""

    tries: int = Field(default=8, ge=1)
    """Failures in a row without a new byte."""
    first_wait_s: float = Field(default=1.0, ge=0)
    """Doubles with every failure, with a random part."""
    max_wait_s: float = Field(default=60.0, ge=0)
    connect_s: float = Field(default=20.0, gt=0)
    stall_s: float = Field(default=60.0, gt=0)
    """Silence that counts as a failure."""


def download(
    url: str,
    path: Path,
    *,
    expected: Expected,
    client: httpx.Client,
    patience: Patience | None = None,
    headers: dict[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Receipt:
    """Fetch one file, going on where an earlier call stopped.

    Args:
        url: http or https.
        path: the file to make; `NAME.part`, `NAME.part.json` and `NAME.receipt.json` are kept beside it.
        expected: size and checksums of the card.
        client: makes the connections; redirects are followed here, not there.
        patience: waits and tries.
        headers: further request headers, such as a token; sent to the host of `url` only.
        sleep: waits between tries.

    Returns:
        What came; also written beside the file.

    Raises:
        FetchError: the server refuses, sends a web page or a wrong file, or stays away. What has come is kept
            where it can be gone on with.
        FolderError: the disk is full, another file lies there, or another process fetches into that folder.
    """
    patience = patience or Patience()
    there = already_here(path, expected)
    if there is not None:
        return there
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{path.parent}: cannot be written ({error.strerror or error})") from error
    with alone_in(path.parent, doing="fetch"):
        return _insist(url, path, expected, client, patience, headers or {}, sleep)


def _insist(
    url: str,
    path: Path,
    expected: Expected,
    client: httpx.Client,
    patience: Patience,
    headers: dict[str, str],
    sleep: Callable[[float], None],
) -> Receipt:
    """Try until the file is here, or nothing new comes."""
    part = _Part(path)
    fails = wrong = 0
    most = part.size  # a server that cuts and knows no ranges would otherwise be asked for ever
    with progress_bar(f"fetch {path.name} (MB)", total=(expected.bytes or 0) // MEGABYTE) as bar:
        while True:
            try:
                _attempt(url, part, expected, client, patience, headers, bar)
                return _finished(url, path, part, expected)
            except WrongFileError as error:
                part.forget()
                wrong += 1
                if wrong >= 2:
                    raise FetchError(
                        f"{url}: {error}",
                        hint="the publisher may have changed the file; compare with the page",
                    ) from error
                continue
            except (httpx.TransportError, httpx.DecodingError, TryAgainError) as error:
                fails = 1 if part.size > most else fails + 1
                most = max(most, part.size)
                if fails >= patience.tries:
                    raise FetchError(
                        f"{url}: gave up after {fails} tries without a new byte ({_reason(error)}); "
                        f"{part.size:,} bytes are kept",
                        hint="run the same command again later; it goes on from there",
                    ) from error
                asked = getattr(error, "wait_s", None)
                wait_s = asked if asked is not None else patience.first_wait_s * 2 ** (fails - 1)
                wait_s = min(wait_s * random.uniform(0.8, 1.2), patience.max_wait_s)
                log.info("%s: %s; trying again in %.0f s", path.name, _reason(error), wait_s)
                sleep(wait_s)


class _Part:
    """Bytes that have come so far, and which file of the server they are of."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")
        self.state: dict[str, Any] = {}
        if self.path.is_file() and self.note.is_file():
            try:
                self.state = dict(read_json(self.note))
            except (FolderError, TypeError, ValueError):
                self.state = {}

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() and self.state else 0

    def begin(self, state: dict[str, Any]) -> None:
        """Throw away what there is, for another file."""
        self.forget()
        self.learn(state)

    def learn(self, state: dict[str, Any]) -> None:
        """Note the state of the server's file."""
        self.state = state
        _write_note(self.note, state)

    def forget(self) -> None:
        self.state = {}
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _attempt(
    url: str,
    part: _Part,
    expected: Expected,
    client: httpx.Client,
    patience: Patience,
    headers: dict[str, str],
    bar: Bar,
) -> None:
    """One request, to the end of the file."""
    have = part.size
    validator = part.state.get("etag") or part.state.get("last_modified")
    if have and (part.state.get("url") != url or not (validator or expected.has_sum)):
        part.forget()
        have = 0
    if have and have == part.state.get("total"):
        return
    asked = {"Accept-Encoding": "identity", **headers}
    if have:
        asked["Range"] = f"bytes={have}-"
        if validator:
            asked["If-Range"] = validator
    timeout = httpx.Timeout(patience.stall_s, connect=patience.connect_s)
    with answer_to(client, url, asked, timeout) as answer:
        refuse_status(url, answer)
        if answer.status_code == 416:
            part.forget()
            raise TryAgainError("the server's file has become shorter")
        refuse_page(url, part.path, answer)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise FetchError(
                f"{url}: the server packs what it was asked to send as it is, so bytes cannot be counted",
                hint="download it in a browser and give it with --from",
            )
        state = state_of(url, answer)
        if answer.status_code == 206:
            _check_range(part, state, answer, have)
            if have:
                part.learn({**part.state, "total": state["total"]})  # a first answer in chunks did not say
            else:
                part.begin(state)
        else:
            if expected.bytes is not None and state["total"] not in (None, expected.bytes):
                raise WrongFileError(
                    f"the server offers {state['total']:,} bytes, the card says {expected.bytes:,}"
                )
            if state["total"] is None and not state["chunked"] and not (expected.has_sum or expected.bytes):
                raise FetchError(
                    f"{url}: the server does not say how long the file is and the card has no checksum: a "
                    "cut file could not be told from a whole one",
                    hint="download it in a browser and give it with --from",
                )
            part.begin(state)
        _collect(url, part, answer, expected, bar)


def _check_range(part: _Part, state: dict[str, Any], answer: httpx.Response, have: int) -> None:
    """Raise unless this piece is of the same file and begins where ours ends."""
    place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
    fits = place is not None and int(place[1]) == have and int(place[2]) == int(place[3]) - 1
    same = all(part.state.get(key) in (None, state[key]) for key in ("total", "etag"))
    same = same and (state["etag"] is not None or part.state.get("last_modified") == state["last_modified"])
    if not (fits and same):
        part.forget()
        raise TryAgainError("the server's file has changed, or it sent another piece than was asked for")


def _collect(url: str, part: _Part, answer: httpx.Response, expected: Expected, bar: Bar) -> None:
    total = part.state.get("total")
    size, started, done = part.size, time.monotonic(), part.size // MEGABYTE
    bar.advance(0)
    try:
        with part.path.open("ab") as file:
            for chunk in answer.iter_raw():
                if size == 0:
                    refuse_page_inside(url, part.path.name, chunk)
                size += len(chunk)
                if total is not None and size > total:
                    raise WrongFileError(f"more than the {total:,} bytes that were announced came")
                file.write(chunk)
                file.flush()
                if size // MEGABYTE > done:
                    bar.advance(size // MEGABYTE - done)
                    done = size // MEGABYTE
                bar.say(f"{size / MEGABYTE / max(time.monotonic() - started, 1e-3):.1f} MB/s")
    except OSError as error:
        hint = FULL_HINT if error.errno == 28 else ""
        raise FolderError(f"{part.path}: cannot be written ({error.strerror or error})", hint=hint) from error
    if total is not None and size < total:
        raise TryAgainError(f"the connection ended after {size:,} of {total:,} bytes")
    if expected.bytes is not None and size != expected.bytes:
        raise WrongFileError(f"{size:,} bytes came, the card says {expected.bytes:,}")


def _finished(url: str, path: Path, part: _Part, expected: Expected) -> Receipt:
    """Check the sums, and let the file take its name; its receipt is there first, in case of a kill."""
    receipt = receipt_of(part.path, url=url, state=part.state)
    with part.path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        refuse_page_inside(url, part.path.name, head)
    except FetchError:
        part.forget()
        raise
    for name, promised in (("sha256", expected.sha256), ("md5", expected.md5)):
        if promised is not None and getattr(receipt, name) != promised.lower():
            raise WrongFileError(f"its {name} is {getattr(receipt, name)}, the card says {promised}")
    if receipt.bytes == 0 and expected.bytes != 0:
        raise WrongFileError("it is empty (0 bytes)")
    _write_note(receipt_path(path), receipt.model_dump())
    part.path.replace(path)
    part.note.unlink(missing_ok=True)
    return receipt


def _write_note(path: Path, content: dict[str, Any]) -> None:
    try:
        write_json(path, content)
    except FolderError as error:  # its hint is that of commands with --resume
        raise FolderError(error.message, hint=FULL_HINT) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
