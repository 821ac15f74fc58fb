"""What an encoder is meant for and where it ends, told from the facts of its card."""

from collections.abc import Mapping
from typing import Any

from usfmae.datasets.card import all_cards
from usfmae.datasets.registry import get_card

LARGE_SHARE = 0.5
"""A source with more of the images than this is named."""


def intended_use() -> list[str]:
    """The same for every encoder of this package."""
    return [
        "Research: features of B-mode ultrasound pictures for search, clustering and small classifiers, "
        "and a start for fine-tuning on labelled pictures of one's own.",
        "Each use needs a test on pictures of its own devices and patients, with intervals over patients.",
        "Not a medical device: not for diagnosis, triage, monitoring or any decision about a person.",
        "Not for telling who a person is.",
    ]


def limits(card: Mapping[str, Any]) -> list[str]:
    """What follows from the card's facts, and what is known of all such encoders.

    Args:
        card: data, input_spec, numbers, held_out and start, as `model_card.make_card` has them.
    """
    return [
        *_images(card["data"]),
        *_anatomies(card["data"]),
        *_devices(card),
        *_likeness(card["data"]),
        *_seen(card),
        *_measured(card),
        "Single pictures: motion, Doppler and elastography are not seen; colour becomes grey.",
        "Gain, depth, the maker's look of a picture and the way it was exported move an embedding too: two "
        "groups from two devices can be told apart by that alone.",
    ]


def _images(data: Mapping[str, Any]) -> list[str]:
    num = data["num_images"]
    said = [
        f"Learnt on {num:,} pictures of {data['num_groups']:,} groups (patients where known, else files): "
        "what is rare among them it hardly knows."
    ]
    sources = [source for pool in data["pools"] for source in pool["sources"]]
    largest = max(sources, key=lambda source: int(source["num_images"]))
    if num and largest["num_images"] / num > LARGE_SHARE:
        share = 100 * largest["num_images"] / num
        said.append(f"{share:.0f} % of the pictures are of one source, {largest['name']}.")
    return said


def _anatomies(data: Mapping[str, Any]) -> list[str]:
    counted = {name: number for name, number in data["by_anatomy"].items() if number}
    stated = {name: number for name, number in counted.items() if name != "not stated"}
    unknown = counted.get("not stated", 0)
    known = {card.anatomy_group for card in all_cards().values()} - {None, "multi"}
    absent = sorted(str(group) for group in known - set(stated))
    seen = ", ".join(f"{name} {number:,}" for name, number in stated.items()) or "none that is stated"
    said = [f"Anatomies it has seen: {seen}" + (f"; not stated for {unknown:,}." if unknown else ".")]
    if absent:
        perhaps = ", unless among those not stated" if unknown else ""
        said.append(f"Anatomies it has not seen{perhaps}: {', '.join(absent)}.")
    return said


def _devices(card: Mapping[str, Any]) -> list[str]:
    devices: dict[str, None] = {}
    silent = []
    for pool in card["data"]["pools"]:
        for source in pool["sources"]:
            named = get_card(source["dataset"]).devices if source["dataset"] else None
            devices |= dict.fromkeys(named or ())
            if not named:
                silent.append(source["name"])
    said = [f"Devices that its sets name: {', '.join(devices)}."] if devices else []
    if silent:
        said.append(f"Devices are not known of: {', '.join(dict.fromkeys(silent))}.")
    return said


def _likeness(data: Mapping[str, Any]) -> list[str]:
    near = sum(pool["left_out"].get("near_duplicate", 0) for pool in data["pools"])
    kept = (
        "near-duplicates were not taken out of the pool"
        if not near
        else (f"{near:,} near-duplicates were left out of the pool by a fingerprint")
    )
    return [
        f"{kept[0].upper()}{kept[1:]}; frames of one clip or patient that look less alike are still there."
    ]


def _seen(card: Mapping[str, Any]) -> list[str]:
    height, width = card["input_spec"]["image_px"], card["input_spec"]["image_px"]
    if isinstance(height, list | tuple):
        height, width = height
    said = [
        f"It sees {height} x {width} px: of a picture 1,000 px wide a structure of "
        f"{round(8 * 1000 / width):,} px is 8 px wide for it, and less is lost."
    ]
    marked = [pool["folder"] for pool in card["data"]["pools"] if pool.get("clean") in (None, "none")]
    if marked and card["input_spec"]["crop"] == "none":
        said.append(
            "Burned-in text, rulers and calipers were left in its pictures, and calipers stand where a "
            "physician saw something: an embedding may follow them."
        )
    return said


def _measured(card: Mapping[str, Any]) -> list[str]:
    tasks = sorted({entry["task"] for entry in card["numbers"]})
    said = [
        f"Measured on {', '.join(tasks)}; nothing is known of other tasks, nor of age, sex or device as "
        "reasons for errors."
        if tasks
        else "No result was given to this card: what the encoder is worth is not measured here."
    ]
    for task in sorted(set(card["trained_on"]) & set(tasks)):
        found = [entry["contamination"] for entry in card["numbers"] if entry["task"] == task]
        unseen = all(one["checked"] and not one["test_images_in_pool"] for one in found)
        said.append(
            f"It was trained on other pictures of {task}, none of those it was tested on: numbers there say "
            "nothing of another hospital or device."
            if unseen
            else f"It was trained on pictures of {task}, perhaps on those it was tested on: numbers there "
            "are no evidence."
        )
    held = ", ".join(card["held_out"])
    said.append(
        f"Kept out of training by content: {held}. Other public sets may be in the pool; `usfmae corpus "
        "audit` looks for one."
        if held
        else "No set was kept out of its training; `usfmae corpus audit` looks for one in the pool."
    )
    return said
