"""A model card for people: the same sections as Markdown beside the weights and as a page to look at."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from usfmae.base.files import write_text
from usfmae.base.page import UNKNOWN, duration, table, write_page
from usfmae.evaluate.card_numbers import COMPARED
from usfmae.evaluate.model_card import is_licence_clean
from usfmae.evaluate.report_words import METHOD_NAMES, metric_name

SHOWN_FIRST = ("macro_f1", "auroc", "dice", "iou", "hd95", "map", "accuracy", "balanced_accuracy")
NUM_METRICS = 3
"""Of each result in the table; the JSON has all."""


@dataclass(frozen=True)
class Section:
    """A part of the card, all plain text; a line feed in a cell is one on the page."""

    title: str
    points: Sequence[str] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    after: Sequence[str] = ()
    """Sentences below the table."""


def write_card_texts(card: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write NAME.md and NAME.html into a folder; returns both.

    Raises:
        FolderError: one cannot be written.
    """
    markdown, page = folder / f"{card['name']}.md", folder / f"{card['name']}.html"
    sections = sections_of(card)
    write_text(markdown, as_markdown(card, sections))
    body = "".join(map(_as_html, sections))
    foot = f"usfmae {escape(str(card['made_by']['usfmae']))}, {escape(str(card['made_by']['at']))}"
    write_page(page, title=str(card["name"]), summary=escape(summary(card)), body=body, foot=foot)
    return markdown, page


def summary(card: Mapping[str, Any]) -> str:
    """The card in a line."""
    network = _network(card)
    clean = "every licence of its images allows commercial use, sharing and derivatives"
    licence = clean if is_licence_clean(card) else f"licence: {card['licence']['words']}"
    return (
        f"{network}, {card['num_parameters'] / 1e6:.1f} M parameters, learnt on "
        f"{card['data']['num_images']:,} pictures; {card['start']['words']}; {licence}"
    )


def as_markdown(card: Mapping[str, Any], sections: Sequence[Section]) -> str:
    """The whole card as Markdown."""
    parts = [f"# {card['name']}", summary(card)[0].upper() + summary(card)[1:] + "."]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.points:
            parts.append("\n".join(f"- {point}" for point in section.points))
        if section.rows:
            lines = [_line(section.head), _line(["---"] * len(section.head)), *map(_line, section.rows)]
            parts.append("\n".join(lines))
        parts += section.after
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"


def _as_html(section: Section) -> str:
    points = "".join(f"<li>{escape(point)}</li>" for point in section.points)
    listed = f"<ul>{points}</ul>" if points else ""
    rows = [[escape(cell).replace("\n", "<br>") for cell in row] for row in section.rows]
    kind = "numbers" if any(section.head) else "stated"
    drawn = table([escape(cell) for cell in section.head], rows, kind=kind) if rows else ""
    after = "".join(f"<p>{escape(sentence)}</p>" for sentence in section.after)
    return f"<section><h2>{escape(section.title)}</h2>{listed}{drawn}{after}</section>"


def sections_of(card: Mapping[str, Any]) -> list[Section]:
    """What the card says, in the order in which one asks."""
    return [
        Section("Intended use", card["intended_use"]),
        Section("Limits", card["limits"]),
        _numbers(card),
        _against(card),
        _weights(card),
        _licence(card),
        _data(card),
        _run(card),
    ]


def _weights(card: Mapping[str, Any]) -> Section:
    file, spec = card["file"], card["input_spec"]
    side = spec["image_px"]
    size = f"{side} x {side}" if isinstance(side, int) else f"{side[0]} x {side[1]}"
    fit = "aspect kept on black" if spec["fit"] == "pad" else "stretched to a square"
    crop = "the whole picture" if spec["crop"] == "none" else "cropped to the echo"
    rows = [
        ["Network", _network(card)],
        ["Parameters", f"{card['num_parameters']:,}"],
        ["Embedding", f"{card['embed_dim']} numbers, the mean over the places"],
        ["Input", f"{size} px, {spec['channels']} channel(s) of grey, {crop}, {fit}"],
        ["Standardised by", f"(x - {_listed(spec['mean'])}) / {_listed(spec['std'])}, x in 0 to 1"],
        ["File", f"{file['name']}, {file['bytes'] / 1e6:.1f} MB, {file['numbers']}"],
        ["SHA-256", file["sha256"]],
        ["Made from", f"{_taken(card)}, fp32, SHA-256 {file['made_from_sha256']}"],
        ["Least cosine to fp32", f"{file['least_cosine_to_fp32']:.9f} over embeddings of drawn pictures"],
    ]
    return Section("The network", head=["", ""], rows=rows)


def _taken(card: Mapping[str, Any]) -> str:
    """Which weights of the run were taken."""
    source, average = card["file"]["made_from"], card["file"]["average"]
    if average is None:
        return f"{source}, the weights after the last step of the run"
    kept = "" if average["decay"] is None else f" ({average['decay']:g} of it stays in a step of 256 images)"
    return f"{source}, the moving average of the run's weights{kept}"


def _licence(card: Mapping[str, Any]) -> Section:
    terms, foreign = card["terms"], card["start"]["foreign"]
    said = {True: "allowed", False: "forbidden", None: "not stated"}
    rows = [
        ["Commercial use of the images", said[terms["commercial"]]],
        ["Passing the images on", said[terms["share"]]],
        ["Passing on what was made of them", said[terms["derivatives"]]],
        ["Under the same licence only", "yes" if terms["share_alike"] else "no"],
        ["Start", card["start"]["words"]],
        ["Teacher", str(card["start"]["teacher"] or "none")],
        *([one["name"], f"{one['licence']}; commercial use {said[one['commercial']]}"] for one in foreign),
        ["Commercial use of the weights", said[card["licence"]["commercial"]]],
    ]
    after = [
        f"The weights: {card['licence']['words']}. The strictest source decides, and what nobody has "
        "stated is neither allowed nor forbidden. Whether weights are a derivative of images is disputed; "
        "this is bookkeeping from the publishers' words, not legal advice."
    ]
    return Section("Licences of its images and of what it began from", head=["", ""], rows=rows, after=after)


def _data(card: Mapping[str, Any]) -> Section:
    rows, after = [], []
    allowed = {True: "yes", False: "no", None: "not stated"}
    for pool in card["data"]["pools"]:
        for source in pool["sources"]:
            commercial = (source["terms"] or {}).get("commercial")
            rows.append(
                [
                    source["name"],
                    source["anatomy"] or "not stated",
                    f"{source['num_files']:,}",
                    f"{source['num_images']:,}",
                    source["licence"] or "not stated",
                    allowed[commercial],
                ]
            )
        held = [
            f"{name} ({found['images']:,} images, {found['found_in_pool']:,} found and removed)"
            for name, found in pool["held_out"].items()
        ]
        out = [f"{reason.replace('_', ' ')} {number:,}" for reason, number in pool["left_out"].items()]
        after.append(
            f"Corpus {pool['folder']} (SHA-256 {pool['sha256']}): {pool['num_images']:,} pictures of "
            f"{pool['num_groups']:,} groups, prepared at {pool['size_px']} px, fit {pool['fit']}, crop "
            f"{pool['crop']}, cleaning {pool['clean'] or 'not stated'}. Kept out of it by content: "
            f"{', '.join(held) or 'no set'}. Left out: {', '.join(out) or 'nothing'}."
        )
    seen = card["seen"]
    after.append(
        "No hashes of its images travel with this card, so nobody can look for a test image by it."
        if seen is None
        else f"Hashes of all {seen['num_images']:,} different pictures are in {seen['name']}: evaluation "
        "looks for test images in it, pixel by pixel; a picture cannot be had from them."
    )
    head = ["Source", "Anatomy", "Files", "Pictures", "Licence", "Commercial use"]
    return Section("What it has learnt on", head=head, rows=rows, after=after)


def _numbers(card: Mapping[str, Any]) -> Section:
    rows = []
    for entry in card["numbers"]:
        metrics = entry["metrics"]
        names = [name for name in SHOWN_FIRST if name in metrics] or list(metrics)
        shown = [f"{metric_name(name)} {interval_words(metrics[name])}" for name in names[:NUM_METRICS]]
        rows.append(
            [
                entry["task"],
                way_words(entry["way"]),
                "\n".join(shown),
                f"{entry['num_images']:,} images of {entry['num_patients']:,} {entry['group_kind']}s",
                f"{_counted(entry['splits'], 'split')}, {_counted(entry['seeds'], 'seed')}",
                seen_words(entry["contamination"]),
            ]
        )
    if not rows:
        return Section("Numbers", after=["No result was given to this card (`usfmae card --result DIR`)."])
    head = ["Task", "Way", "Value [95 % interval]", "Tested on", "Splits and seeds", "Seen in training"]
    return Section("Numbers", head=head, rows=rows)


def _against(card: Mapping[str, Any]) -> Section:
    rows = []
    for entry in card["numbers"]:
        for rival in dict.fromkeys(one["rival"] for one in entry["against"]):
            shown = {one["metric"]: one for one in entry["against"] if one["rival"] == rival}
            differences = [_difference(shown.get(metric)) for metric in COMPARED]
            rows.append([entry["task"], way_words(entry["way"]), rival, *differences])
    if not rows:
        return Section("Against others", after=["No comparison was given to this card."])
    head = ["Task", "Way", "Rival", *map(metric_name, COMPARED)]
    after = [
        "Differences are these weights minus the rival, paired over patients, with 95 % intervals; p is "
        "corrected after Holm over all comparisons of the same metric on its page."
    ]
    return Section("Against others", head=head, rows=rows, after=after)


def _difference(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return UNKNOWN
    p = one["p_holm"]
    tested = "" if p is None else ", p < 0.001" if p < 0.001 else f", p {p:.3f}"
    return interval_words(one["difference"], signed=True) + tested


def way_words(way: str) -> str:
    """A way with its share of labels: `Linear probe 10%`."""
    name, _, labels = way.partition(" ")
    return f"{METHOD_NAMES.get(name, name)} {labels}".rstrip()


def seen_words(found: Mapping[str, Any]) -> str:
    """How many test images were in the pool."""
    if not found["checked"]:
        return f"not checked: {found['why']}"
    near = found["near_duplicates_in_pool"]
    alike = "near-duplicates not looked for" if near is None else f"{near:,} more look like one"
    return f"{found['test_images_in_pool']:,} of {found['of']:,} test images; {alike}"


def _run(card: Mapping[str, Any]) -> Section:
    run = card["run"]
    rows = [
        ["Command", shlex.join(run["command"])],
        ["Recipe", str(run["recipe"])],
        ["Commit", f"{run['commit'] or 'not known'} (usfmae {run['usfmae']})"],
        ["Seed", str(run["seed"])],
        ["Steps", f"{run['steps']:,}; {run['images_seen']:,} pictures seen"],
        ["Time", f"{duration(run['seconds'])} on {run['device']}, {run['processes']} process(es)"],
        ["Peak memory", f"{run['peak_memory_gb']:.2f} GB"],
        ["Record", f"run.json, SHA-256 {run['run_sha256']}"],
        ["At", str(run["at"])],
    ]
    return Section("How it was made, and what it cost", head=["", ""], rows=rows)


def interval_words(metric: Mapping[str, Any], *, signed: bool = False) -> str:
    """`0.812 [0.780, 0.840]`."""
    sign = "+" if signed else ""
    if metric["value"] is None:
        return UNKNOWN
    if metric["low"] is None or metric["high"] is None:
        return f"{metric['value']:{sign}.3f}"
    return f"{metric['value']:{sign}.3f} [{metric['low']:{sign}.3f}, {metric['high']:{sign}.3f}]"


def _network(card: Mapping[str, Any]) -> str:
    vit = card["network"].get("vit")
    return f"ViT-{vit['size'].capitalize()}/{vit['patch_px']}" if vit else str(card["encoder"])


def _counted(values: Sequence[Any], what: str) -> str:
    return f"{len(values)} {what}{'' if len(values) == 1 else 's'}"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))
