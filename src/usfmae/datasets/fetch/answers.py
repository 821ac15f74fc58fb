"""What a server answers: at the end of all redirects, and whether it is the file that was asked for."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from usfmae.base.errors import FetchError

MAX_REDIRECTS = 10
RETRIED = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
PAGE_SUFFIXES = (".html", ".htm")
WEB_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script|title)\b",
    re.IGNORECASE | re.DOTALL,
)
"""How a page begins, whatever stands before its first tag."""


class TryAgainError(Exception):
    """A failure that may pass."""

    def __init__(self, why: str, *, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class WrongFileError(Exception):
    """The whole file came, and it is not the one that was promised."""


@contextmanager
def answer_to(
    client: httpx.Client, url: str, headers: dict[str, str], timeout: httpx.Timeout
) -> Iterator[httpx.Response]:
    """A streamed answer at the end of all redirects.

    A token goes to the first host only; from https never to http, and never to anything but the web.

    Raises:
        FetchError: the address leads in a circle, or somewhere that is not safe.
    """
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        request = client.build_request("GET", here, headers=headers, timeout=timeout)
        answer = client.send(request, stream=True, follow_redirects=False)
        if not answer.has_redirect_location:  # "not modified", and a redirect to nowhere, are refused later
            try:
                yield answer
            finally:
                answer.close()
            return
        answer.close()
        there = urljoin(here, answer.headers["location"])
        schemes = (urlsplit(here).scheme, urlsplit(there).scheme)
        if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
            raise FetchError(f"{url}: leads to {there}, which is not safe to follow")
        if urlsplit(there).netloc != urlsplit(here).netloc:
            headers = {key: text for key, text in headers.items() if key.lower() != "authorization"}
        here = there
    raise FetchError(
        f"{url}: leads in a circle (more than {MAX_REDIRECTS} redirects)",
        hint="open the dataset's page in a browser",
    )


def refuse_status(url: str, answer: httpx.Response) -> None:
    """Raise unless the answer is a file, a piece of one, or "no such piece"."""
    code = answer.status_code
    if code in (200, 206, 416):
        return
    if code in RETRIED:
        wait = answer.headers.get("retry-after", "")
        raise TryAgainError(f"status {code}", wait_s=float(wait) if wait.isdecimal() else None)
    hints = {
        401: "it wants a login or a token; see usfmae datasets show NAME",
        403: "it wants a login or a token, or forbids this address; see usfmae datasets show NAME",
        404: "it may have moved; look at the dataset's page",
        410: "it is gone; look at the dataset's page",
    }
    hint = hints.get(code, "open the dataset's page in a browser; usfmae datasets show NAME names it")
    raise FetchError(f"{url}: the server refuses with status {code}", hint=hint)


def refuse_page(url: str, path: Path, answer: httpx.Response) -> None:
    """Raise if a web page is announced where no page was asked for."""
    name = path.name.removesuffix(".part").lower()
    kind = answer.headers.get("content-type", "")
    if kind.startswith(("text/html", "application/xhtml")) and not name.endswith(PAGE_SUFFIXES):
        raise page_error(url)


def page_error(url: str) -> FetchError:
    """What to say of a web page in place of a file."""
    return FetchError(
        f"{url}: is a web page, not a file; probably a login or error page",
        hint="open it in a browser, download the file there, and give it with --from",
    )


def refuse_page_inside(url: str, name: str, head: bytes) -> None:
    """Raise if the first bytes of a file are those of a web page, and no page was asked for."""
    if WEB_PAGE.match(head) and not name.removesuffix(".part").lower().endswith(PAGE_SUFFIXES):
        raise page_error(url)


def state_of(url: str, answer: httpx.Response) -> dict[str, Any]:
    """Which file of the server this is; a weak ETag does not promise equal bytes, and is left out."""
    etag = answer.headers.get("etag")
    total: int | None = None
    if answer.status_code == 206:
        place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", ""))
        total = int(place[3]) if place else None
    elif answer.headers.get("content-length", "").isdecimal():
        total = int(answer.headers["content-length"])
    return {
        "url": url,
        "etag": etag if etag and not etag.startswith("W/") else None,
        "last_modified": answer.headers.get("last-modified"),
        "total": total,
        "chunked": "chunked" in answer.headers.get("transfer-encoding", ""),
    }
