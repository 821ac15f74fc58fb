"""The catalogue for people: `docs/datasets.md` and the table of the README, drawn from the cards."""

from collections import Counter
from collections.abc import Iterable, Sequence

from usfmae.datasets.card import Card
from usfmae.datasets.terms import Allowed, terms_of

ACCESS_WORDS = {
    "open": "open",
    "credential": "token",
    "registration": "account",
    "request": "on request",
    "manual": "by browser",
    "unavailable": "site down",
    None: "unknown",
}
"""What each level of access asks of a reader."""

ACCESS_MEANINGS = {
    "open": "no login",
    "token": "a free Kaggle token",
    "account": "an account, and terms to accept",
    "on request": "a person approves",
    "by browser": "a page to click through, no direct address known",
    "site down": "the host was not reachable when the facts were gathered",
}


def size_words(card: Card) -> str:
    """How much there is, in the units of the publisher: `735 images`, `362 clips`."""
    counts = card.counts
    units = {"images": counts.images, "clips": counts.videos, "volumes": counts.volumes}
    known = [f"{count:,} {unit}" for unit, count in units.items() if count]
    if not known and counts.frames:
        known = [f"{counts.frames:,} frames"]
    return ", ".join(known) or "unknown"


def licence_words(card: Card) -> str:
    """The licence's name, or what stands in its place."""
    return card.licence.spdx or card.licence.stated or "not stated"


def public_cards(cards: Iterable[Card]) -> list[Card]:
    """Cards of published sets: the 46 in their order, then the extras by name."""
    published = [card for card in cards if card.id != "folder"]
    return sorted(published, key=lambda card: (card.openus46_index or 1000, card.id))


def catalogue_page(cards: Iterable[Card]) -> str:
    """The text of `docs/datasets.md`."""
    published = public_cards(cards)
    listed = [card for card in published if card.openus46_index is not None]
    extras = [card for card in published if card.openus46_index is None]
    parts = [
        "# Datasets",
        "Drawn from the cards in `src/usfmae/datasets/cards/` by `make docs`; change a card, not this page. "
        "`usfmae datasets show NAME` prints everything a card knows, `null` where nobody has said.",
        _at_a_glance(listed),
        "## The 46 of OpenUS-46",
        _table(listed),
        "## Others that are often met",
        _table(extras),
        "## Not verified",
        "Facts that rest on a single source, or that nobody has stated. Verified: `yes` means that count, "
        "access and layout or labels agree in two independent sources or come from the publisher, `partly` "
        "that an important one rests on one source, `no` that the set is only listed. Nothing was "
        "downloaded from the hosts to make these cards.",
        _unverified(published),
    ]
    return "\n\n".join(parts) + "\n"


def readme_table(cards: Iterable[Card]) -> str:
    """The short table of the README: how many of the 46 can be had how, and what for."""
    listed = [card for card in public_cards(cards) if card.openus46_index is not None]
    rows = ["| access | sets | commercial use allowed | forbidden | not stated |", "|---|---|---|---|---|"]
    for words in ACCESS_MEANINGS:
        here = [card for card in listed if ACCESS_WORDS[card.access.level] == words]
        answers = Counter(terms_of(card).commercial for card in here)
        if here:
            rows.append(
                f"| {words} ({ACCESS_MEANINGS[words]}) | {len(here)} | {answers[True]} | {answers[False]} | "
                f"{answers[None]} |"
            )
    return "\n".join(rows)


def _at_a_glance(listed: Sequence[Card]) -> str:
    open_sets = [card for card in listed if card.access.level == "open"]
    commercial = [card for card in open_sets if terms_of(card).commercial]
    lines = [
        "## In a minute",
        f"- **Open, without a login** ({len(open_sets)} of {len(listed)}): {_names(open_sets)}.",
        f"- **Open, and commercial use is allowed** ({len(commercial)}): {_names(commercial)}.",
    ]
    for answer, words in ((False, "Commercial use is forbidden"), (None, "No word on commercial use")):
        here = [card for card in listed if terms_of(card).commercial is answer]
        lines.append(f"- **{words}** ({len(here)}): {_names(here)}.")
    unchanged = [card for card in listed if terms_of(card).derivatives is False]
    lines.append(f"- **What is made from it may not be passed on** ({len(unchanged)}): {_names(unchanged)}.")
    alike = [card for card in listed if terms_of(card).share_alike]
    lines.append(f"- **What is made from it must carry the same licence** ({len(alike)}): {_names(alike)}.")
    closed = [card for card in listed if card.access.level != "open"]
    lines.append(f"- **Behind a token, an account, a form or a page** ({len(closed)}): {_names(closed)}.")
    partly = [card for card in listed if card.verified != "yes"]
    lines.append(f"- **Partly verified** ({len(partly)}): {_names(partly)}.")
    return "\n".join([lines[0], "", *lines[1:]])


def _names(cards: Sequence[Card]) -> str:
    return ", ".join(card.id for card in cards) or "none"


def _table(cards: Sequence[Card]) -> str:
    header = (
        "",
        "name",
        "anatomy",
        "size",
        "access",
        "licence",
        "commercial",
        "share",
        "split by",
        "verified",
    )
    rows = [
        (
            str(card.openus46_index or ""),
            _link(card),
            card.anatomy or "?",
            size_words(card),
            ACCESS_WORDS[card.access.level],
            licence_words(card),
            _answer(terms_of(card).commercial),
            _answer(terms_of(card).share),
            card.group_by,
            card.verified,
        )
        for card in cards
    ]
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _link(card: Card) -> str:
    return f"[{card.id}]({card.access.page})" if card.access.page else card.id


def _answer(allowed: Allowed) -> str:
    return {True: "yes", False: "no", None: "?"}[allowed]


def _unverified(cards: Sequence[Card]) -> str:
    return "\n".join(
        f"- **{card.id}** ({card.verified}): {'; '.join(card.unknown) or 'rests on one source'}"
        for card in cards
        if card.verified != "yes" or card.unknown
    )
