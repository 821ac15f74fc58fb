"""Where the files of a card lie: addresses for each host, or words for a person where a form stands before.

Addresses follow the hosts' documented interfaces (Zenodo REST, Figshare v2, Mendeley public API, GitHub
codeload, Girder, Kaggle v1). None could be called from where this was written, so each is tested against a
local stand-in that answers as the documentation says.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from usfmae.base.config import Config
from usfmae.base.errors import FetchError
from usfmae.datasets.card import Card, Download
from usfmae.datasets.fetch.answers import RETRIED
from usfmae.datasets.fetch.download import Patience
from usfmae.datasets.fetch.receipt import Expected


class Hosts(Config):
    """Where the interfaces are; tests put a local server here."""

    zenodo: str = "https://zenodo.org"
    figshare: str = "https://api.figshare.com"
    mendeley: str = "https://data.mendeley.com"
    github: str = "https://codeload.github.com"
    drive: str = "https://drive.usercontent.google.com"
    kaggle: str = "https://www.kaggle.com"


@dataclass(frozen=True)
class Wanted:
    """One file to fetch."""

    name: str
    url: str
    expected: Expected
    headers: tuple[tuple[str, str], ...] = ()
    has_top_folder: bool = False
    """Its files lie in one folder that is named after the version and means nothing."""


@dataclass(frozen=True)
class Plan:
    """What to do for a dataset: files to fetch, or words for a person."""

    files: tuple[Wanted, ...]
    by_hand: str | None
    """What a person has to do first; None where everything can be fetched."""


def plan_downloads(
    card: Card,
    *,
    client: httpx.Client,
    hosts: Hosts | None = None,
    env: Mapping[str, str] | None = None,
    home: Path | None = None,
    patience: Patience | None = None,
) -> Plan:
    """How to come by the files of a dataset.

    Args:
        card: what is known of it.
        client: asks a host for its list of files, where the card has no address.
        hosts: where the hosts are.
        env: environment with KAGGLE_USERNAME and KAGGLE_KEY; this process's when None.
        home: folder with `.kaggle/kaggle.json`; the user's when None.
        patience: how often a host that does not answer is asked again.

    Raises:
        FetchError: a token is wanted and not there, or a host does not answer as it should.
    """
    hosts = hosts or Hosts()
    level, host = card.access.level, (card.access.host or "").lower()
    if level in ("request", "registration", "manual", "unavailable", None):
        return Plan((), _by_hand(card))
    if level == "credential":
        if "kaggle" not in host:
            return Plan((), _by_hand(card))
        return Plan(
            (_kaggle(card, hosts, env if env is not None else os.environ, home or Path.home()),), None
        )
    direct = tuple(_direct(file) for file in card.access.files if file.url)
    if direct and len(direct) == len([file for file in card.access.files if file.url or not _is_spare(file)]):
        return Plan(_without_spares(direct), None)
    for name, ask in (("zenodo", _zenodo), ("figshare", _figshare), ("mendeley", _mendeley)):
        if name in host:
            return Plan(ask(card, hosts, _Asking(client, patience or Patience())), None)
    if "drive" in host and (file := _drive_file(card)):
        return Plan((Wanted(f"{card.id}.zip", f"{hosts.drive}/download?{file}", _sums(card)),), None)
    repository = None if "drive" in host or "github" not in host else _github(card, hosts)
    if repository is not None:
        return Plan((repository,), None)
    return Plan(_without_spares(direct), None) if direct else Plan((), _by_hand(card))


def _by_hand(card: Card) -> str:
    access = card.access
    steps = {
        "request": "a person has to approve: ask for it on the page",
        "registration": "make an account there and accept the terms",
        "manual": "click through the page in a browser",
        "unavailable": "the site was down when this card was written; write to the authors",
        "credential": "log in there",
    }
    needs = f" ({access.needs})" if access.needs else ""
    files = ", ".join(file.name for file in access.files)
    what = f"download {files}" if files else f"download the archive ({access.archive or 'format not known'})"
    return (
        f"page: {access.page or 'not known'}\n"
        f"first: {steps.get(access.level or '', 'no address is known; look for the download there')}"
        f"{needs}\n"
        f"then: {what}\n"
        f"then: usfmae datasets fetch {card.id} --root DIR --from ARCHIVE --accept-licence"
    )


def _direct(file: Download) -> Wanted:
    assert file.url is not None
    expected = Expected(bytes=file.bytes, md5=file.md5, sha256=file.sha256)
    suffix = re.search(r"\.(zip|tar|tar\.gz|tgz|7z|rar|mat|hdf5|csv|xlsx)$", file.name)
    return Wanted(file.name if suffix else f"{_plain(file.name)}.zip", file.url, expected)


def _is_spare(file: Download) -> bool:
    return file.url is None and "not needed" in (file.note or "")


def _without_spares(files: tuple[Wanted, ...]) -> tuple[Wanted, ...]:
    """Of files that hold the same, one: that with a checksum, or a Girder collection and not its folders."""
    collections = tuple(file for file in files if "/api/v1/collection/" in file.url)
    if collections:
        return collections
    whole = [file for file in files if re.match(r"(\w+-\d+\.zip|.*files-archive)", file.name)]
    rest = [file for file in files if file not in whole]
    return tuple(rest or whole)


def _sums(card: Card) -> Expected:
    known = [file for file in card.access.files if file.sha256 or file.md5]
    if len(known) != 1:
        return Expected()
    return Expected(bytes=known[0].bytes, md5=known[0].md5, sha256=known[0].sha256)


def _record_number(card: Card, pattern: str) -> str:
    found = re.search(pattern, card.access.record or "") or re.search(pattern, card.access.page or "")
    if found is None:
        raise FetchError(
            f"{card.id}: its card names no record on {card.access.host}", hint=f"look at {card.access.page}"
        )
    return found[1]


@dataclass(frozen=True)
class _Asking:
    """Asks a host's interface, again where it is busy."""

    client: httpx.Client
    patience: Patience

    def __call__(self, url: str) -> Any:
        for number in range(1, min(self.patience.tries, 4) + 1):
            try:
                answer = self.client.get(url, follow_redirects=True, timeout=30.0)
                answer.raise_for_status()
                return answer.json()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
                last: Exception = error
                passes = isinstance(error, httpx.TransportError) or (
                    isinstance(error, httpx.HTTPStatusError) and error.response.status_code in RETRIED
                )
                if not passes:
                    break
            time.sleep(min(self.patience.first_wait_s * 2 ** (number - 1), self.patience.max_wait_s))
        raise FetchError(
            f"{url}: gives no list of files ({str(last) or type(last).__name__})",
            hint="try again later, or download in a browser and use --from",
        ) from last


def _listed(card: Card, url: str, files: list[Wanted]) -> tuple[Wanted, ...]:
    """The files that the card names, or all where it names none of them.

    Raises:
        FetchError: there are none, or one has a name or an address that no file can have.
    """
    if not files:
        raise FetchError(f"{url}: lists no files", hint=f"look at {card.access.page}")
    for file in files:
        if not re.fullmatch(r"(?!\.)[^/\\\x00-\x1f]{1,200}", file.name) or not file.url.startswith("http"):
            raise FetchError(
                f"{url}: lists a file that cannot be one ({file.name!r})", hint=f"look at {card.access.page}"
            )
    named = {file.name: file for file in card.access.files}
    chosen = [file for file in files if file.name in named] or files
    kept = []
    for file in chosen:
        known = named.get(file.name)
        sha256 = known.sha256 if known else None
        kept.append(
            Wanted(
                file.name,
                file.url,
                file.expected.model_copy(update={"sha256": sha256}) if sha256 else file.expected,
            )
        )
    return tuple(kept)


def _zenodo(card: Card, hosts: Hosts, ask: _Asking) -> tuple[Wanted, ...]:
    number = _record_number(card, r"(\d{6,})")
    url = f"{hosts.zenodo}/api/records/{number}"
    try:
        files = [
            Wanted(
                file["key"],
                file["links"]["self"],
                Expected(
                    bytes=file["size"],
                    md5=file["checksum"].removeprefix("md5:")
                    if file["checksum"].startswith("md5:")
                    else None,
                ),
            )
            for file in ask(url)["files"]
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _odd(url, error) from error
    return _listed(card, url, files)


def _figshare(card: Card, hosts: Hosts, ask: _Asking) -> tuple[Wanted, ...]:
    number = _record_number(card, r"(?:article |/)(\d{7,})")
    url = f"{hosts.figshare}/v2/articles/{number}/files"
    try:
        files = [
            Wanted(
                file["name"],
                file["download_url"],
                Expected(bytes=file["size"], md5=file.get("computed_md5") or None),
            )
            for file in ask(url)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _odd(url, error) from error
    return _listed(card, url, files)


def _mendeley(card: Card, hosts: Hosts, ask: _Asking) -> tuple[Wanted, ...]:
    number = _record_number(card, r"\b([a-z0-9]{10})\b")
    version = re.search(r"\bv(\d+)", card.access.record or "")
    wanted = version[1] if version else 1
    url = f"{hosts.mendeley}/public-api/datasets/{number}/files?folder_id=root&version={wanted}"
    try:
        files = [
            Wanted(
                file["filename"],
                file["content_details"]["download_url"],
                Expected(bytes=file.get("size"), sha256=file["content_details"].get("sha256_hash")),
            )
            for file in ask(url)
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _odd(url, error) from error
    return _listed(card, url, files)


def _github(card: Card, hosts: Hosts) -> Wanted | None:
    found = re.search(r"([\w.-]+/[\w.-]+?)(?:@([0-9a-f]{7,40}))?(?:$|[\s;,])", card.access.record or "")
    if found is None:  # a release, whose files nobody has listed
        return None
    url = f"{hosts.github}/{found[1]}/zip/{found[2] or 'HEAD'}"
    return Wanted(f"{card.id}.zip", url, Expected(), has_top_folder=True)


def _drive_file(card: Card) -> str | None:
    """The query of a single public file; a folder needs a browser or gdown."""
    found = re.search(r"(?<!folder )\b([\w-]{28,})\b", card.access.record or "")
    return (
        f"id={found[1]}&export=download&confirm=t"
        if found and "folder" not in (card.access.record or "")
        else None
    )


def _kaggle(card: Card, hosts: Hosts, env: Mapping[str, str], home: Path) -> Wanted:
    name, key = env.get("KAGGLE_USERNAME"), env.get("KAGGLE_KEY")
    file = home / ".kaggle" / "kaggle.json"
    if not (name and key) and file.is_file():
        try:
            kept = json.loads(file.read_text())
            name, key = kept["username"], kept["key"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FetchError(
                f"{file}: is no Kaggle token", hint="download it anew from your account page"
            ) from error
    if not (name and key):
        raise FetchError(
            f"{card.id}: lies on Kaggle, which wants a token ({card.access.page})",
            hint="make one at https://www.kaggle.com/settings (Create New Token) and put kaggle.json into "
            "~/.kaggle, or set KAGGLE_USERNAME and KAGGLE_KEY; or download in a browser and use --from",
        )
    record = card.access.record or ""
    kind = f"datasets/download/{record}" if "/" in record else f"competitions/data/download-all/{record}"
    token = httpx.BasicAuth(name, key)._auth_header
    return Wanted(f"{card.id}.zip", f"{hosts.kaggle}/api/v1/{kind}", Expected(), (("Authorization", token),))


def _odd(url: str, error: Exception) -> FetchError:
    return FetchError(
        f"{url}: answers otherwise than its documentation says ({error!r})",
        hint="download in a browser and use --from",
    )


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
