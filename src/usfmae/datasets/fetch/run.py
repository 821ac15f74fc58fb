"""One dataset, or all open ones, from their publishers to `ROOT/NAME`."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from usfmae.base.errors import ArchiveError, FetchError, FolderError, UsfmaeError
from usfmae.base.files import PARTIAL, file_sha256, read_json, write_json
from usfmae.base.logs import get_logger
from usfmae.datasets.archives import NoArchiveError, find_format
from usfmae.datasets.card import Card
from usfmae.datasets.catalogue import licence_words, size_words
from usfmae.datasets.fetch.download import Patience, download
from usfmae.datasets.fetch.hosts import Hosts, plan_downloads
from usfmae.datasets.fetch.receipt import receipt_path
from usfmae.datasets.registry import read_dataset
from usfmae.datasets.terms import terms_of
from usfmae.datasets.unpack import move_in, unpack

ARCHIVES = "_archives"
"""Folder of the root in which downloads are kept."""

PLAIN_SUFFIXES = (".xlsx", ".npz", ".docx", ".pptx")
"""Files that are zips inside, and are wanted as they are."""

ARCHIVE_NAME = re.compile(r".+\.(zip|tar|tgz|gz|bz2|xz|7z|rar)", re.IGNORECASE)

FETCHED_FILE = "usfmae-fetched.json"
"""Stands in the folder of a dataset that has come completely."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Fetched:
    """What became of one dataset."""

    card: Card
    folder: Path | None
    num_files: int
    num_bytes: int
    message: str
    """In a few words: "fetched", "is here already", or why not."""
    hint: str = ""
    """What to do where it is not here, or not as its card says; empty where all is well."""


def licence_notice(card: Card) -> str:
    """The licence, what it forbids, and what to cite."""
    forbidden = [
        words
        for words, allowed in (
            ("commercial use", terms_of(card).commercial),
            ("passing it on", terms_of(card).share),
            ("passing on what was made from it", terms_of(card).derivatives),
        )
        if allowed is False
    ]
    unstated = card.licence.commercial_use is None and card.licence.redistribution is None
    lines = [f"{card.title}: {licence_words(card)}"]
    lines.append(
        f"forbidden: {', '.join(forbidden)}" if forbidden else "forbidden: nothing that the card knows of"
    )
    if unstated:
        lines.append(
            "the publisher states no licence: without one, nothing is allowed but what the law allows"
        )
    if card.licence.note:
        lines.append(card.licence.note)
    if card.citation.short:
        lines.append(f"cite: {card.citation.short}")
    return "\n".join(lines)


def fetch_dataset(
    card: Card,
    root: Path,
    *,
    accept_licence: bool,
    archives: Sequence[Path] = (),
    client: httpx.Client,
    hosts: Hosts | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Download, check, unpack and read a dataset; a second call goes on where the first stopped.

    Args:
        card: the dataset.
        root: `ROOT/NAME` gets the files, `ROOT/_archives/NAME` the downloads.
        accept_licence: the user has read and accepted the licence.
        archives: files that the user has downloaded already, instead of a download.
        client: makes the connections.
        hosts: where the hosts' interfaces are.
        patience: waits and tries.

    Raises:
        FetchError: the licence is not accepted, a person has to do something first, or a download fails.
        ArchiveError, FolderError: see `unpack`.
    """
    folder = root / card.id
    if card.id == "folder":
        raise FetchError("folder: is the layout of your own images; there is nothing to fetch")
    if (folder / FETCHED_FILE).is_file():
        return _here_already(card, folder, archives)
    if not accept_licence:
        raise FetchError(
            f"{licence_notice(card)}\n{card.id}: its licence has to be accepted",
            hint="read it, then add --accept-licence",
        )
    record: dict[str, Any] = {
        "dataset": card.id,
        "licence": licence_words(card),
        "accepted": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [],
    }
    if archives:
        taken = [(path, False, True) for path in archives]
        for path in archives:
            if not path.is_file():
                what = "is a folder, not an archive" if path.is_dir() else "no such file"
                raise FolderError(f"{path}: {what}", hint="give the archive as the publisher's page gave it")
            record["files"].append(
                {"name": path.name, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            )
    else:
        plan = plan_downloads(card, client=client, hosts=hosts, patience=patience)
        if plan.by_hand:
            raise FetchError(
                f"{card.id}: cannot be fetched without a person\n{plan.by_hand}", hint="do that first"
            )
        taken = []
        for wanted in plan.files:
            path = root / ARCHIVES / card.id / wanted.name
            receipt = download(
                wanted.url,
                path,
                expected=wanted.expected,
                client=client,
                patience=patience,
                headers=dict(wanted.headers),
            )
            record["files"].append({"name": wanted.name, **receipt.model_dump()})
            taken.append((path, wanted.has_top_folder, wanted.expected.has_sum))
    num_files = num_bytes = 0
    for path, has_top_folder, is_sure in taken:
        try:
            files, size = _take(path, folder, has_top_folder=has_top_folder)
        except ArchiveError as error:
            if is_sure:
                raise
            raise _set_aside(path, error) from error
        except OSError as error:
            hint = (
                "free some space; the same command goes on" if error.errno == 28 else "choose another --root"
            )
            raise FolderError(
                f"{folder}: cannot be written ({error.strerror or error})", hint=hint
            ) from error
        num_files, num_bytes = num_files + files, num_bytes + size
    if archives:
        _leave_top_folder(card, folder)
    record |= {"num_files": num_files, "num_bytes": num_bytes}
    write_json(folder / FETCHED_FILE, record)
    return Fetched(card, folder, num_files, num_bytes, *_first_look(card, folder))


def _here_already(card: Card, folder: Path, archives: Sequence[Path]) -> Fetched:
    """What an earlier call has fetched.

    Raises:
        FolderError: other archives are given now, or the note of what was fetched is damaged.
    """
    kept = read_json(folder / FETCHED_FILE)
    try:
        known = {file["sha256"] for file in kept["files"]}
        num_files, num_bytes = int(kept["num_files"]), int(kept["num_bytes"])
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(
            f"{folder / FETCHED_FILE}: is not what this program wrote", hint=f"move {folder} away"
        ) from error
    others = [path for path in archives if not path.is_file() or file_sha256(path) not in known]
    if others:
        raise FolderError(
            f"{folder}: is here already, and not from {others[0]}",
            hint="move that folder away, or choose another --root",
        )
    message, hint = _first_look(card, folder)
    return Fetched(
        card, folder, num_files, num_bytes, f"here already, {message}" if hint else "is here already", hint
    )


def _set_aside(path: Path, error: ArchiveError) -> ArchiveError:
    """Make room for another try: no checksum has said that this is the publisher's file."""
    if not path.exists():
        return error
    aside = path.with_name(f"{path.name}.refused")
    path.replace(aside)
    receipt_path(path).unlink(missing_ok=True)
    return ArchiveError(
        f"{error.message} (kept as {aside.name})",
        hint="the same command fetches it again, or give another with --from",
    )


def _leave_top_folder(card: Card, folder: Path) -> None:
    """Take away the folder that GitHub puts around everything, if the reader only understands it so."""
    inside = list(folder.iterdir())
    if card.layout is None or len(inside) != 1 or not inside[0].is_dir() or _reads(card, folder) is None:
        return
    if _reads(card, inside[0]) is None:
        top = folder.with_name(f"{PARTIAL}{folder.name}")
        inside[0].rename(top)
        folder.rmdir()
        top.rename(folder)


def _reads(card: Card, folder: Path) -> UsfmaeError | None:
    """What the reader of a card says against a folder; None where it understands it."""
    try:
        read_dataset(card.id, folder, find_clusters=False)
    except UsfmaeError as error:
        return error
    return None


def fetch_all_open(
    cards: Sequence[Card], root: Path, *, accept_licence: bool, client: httpx.Client, **settings: Any
) -> list[Fetched]:
    """Every set that needs no login, one by one; one that fails is said and does not stop the rest."""
    results = []
    for card in cards:
        if card.access.level != "open":
            continue
        try:
            results.append(
                fetch_dataset(card, root, accept_licence=accept_licence, client=client, **settings)
            )
        except UsfmaeError as error:
            log.warning("%s: %s", card.id, error.message)
            words = error.message.splitlines()[-1]
            results.append(Fetched(card, None, 0, 0, words, error.hint or "try again later"))
    return results


def coverage_table(results: Sequence[Fetched]) -> str:
    """What is here after a fetch: images, gigabytes, anatomy, licence, and what is missing and why."""
    lines = [f"{'set':22} {'anatomy':16} {'size':26} {'GB':>7}  {'licence':20} state"]
    lines += [
        f"{one.card.id:22} {one.card.anatomy_group or '':16} {size_words(one.card)[:26]:26} "
        f"{one.num_bytes / 1e9:7.2f}  {licence_words(one.card)[:20]:20} {one.message}"
        for one in results
    ]
    here = [one for one in results if one.folder is not None and not one.hint]
    images = sum(one.card.counts.images or 0 for one in here)
    total = sum(one.num_bytes for one in here) / 1e9
    lines.append(
        f"{len(here)} of {len(results)} sets are here: {images:,} images as published, {total:.2f} GB"
    )
    return "\n".join(lines)


def _take(path: Path, folder: Path, *, has_top_folder: bool) -> tuple[int, int]:
    """Unpack an archive into the folder; a plain file, such as a table or a readme, is copied there."""
    if _is_plain(path):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{PARTIAL}{path.name}"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / path.name)
        return 1, path.stat().st_size
    if not has_top_folder:
        out = unpack(path, folder)
        return out.num_files, out.num_bytes
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=folder.parent) as place:
        out = unpack(path, Path(place) / "all")
        inside = list((Path(place) / "all").iterdir())
        top = inside[0] if len(inside) == 1 and inside[0].is_dir() else Path(place) / "all"
        move_in(top, folder)
    return out.num_files, out.num_bytes


def _is_plain(path: Path) -> bool:
    """Whether a file is none of the archives, by its name and then by its first bytes.

    Raises:
        ArchiveError: it is empty, a web page, or called an archive and is none.
    """
    try:
        find_format(path)
    except NoArchiveError:
        if ARCHIVE_NAME.fullmatch(path.name):
            raise
        return True
    return path.suffix.lower() in PLAIN_SUFFIXES


def _first_look(card: Card, folder: Path) -> tuple[str, str]:
    """Whether the reader understands what has come, and what to do if it does not."""
    if card.layout is None:
        return "fetched; its layout is not known, take it with --images", ""
    try:
        found = read_dataset(card.id, folder, find_clusters=False)
    except UsfmaeError as error:
        log.warning("%s%s", error.message, f" ({error.hint})" if error.hint else "")
        return (
            "fetched, but laid out otherwise than its card says",
            f"if it is another set's archive, move {folder} away and fetch again; else take it with --images",
        )
    return f"fetched: {len(found):,} found", ""
