"""What docs/results/weights.md holds of an encoder.

    compare   fine-tuned with all and a tenth of the labels, and frozen, all at one budget
    labels    linear probes with 1 to 100 % of the labels, several draws; the comparison's page has the figure
    devices   BUS-BRA with one device left out at a time: neighbours, linear probe and fine-tuning

All are plans for `usfmae evaluate compare` with the encoders named, their networks from scratch (in `labels`
and `devices` the first one's alone), and EfficientNet-Lite0 as ImageNet left it. Resumable: the same command
goes on.

Run:  USFMAE_DATA=... python benchmarks/weights.py STUDY --encoder NAME=WEIGHTS [--encoder ...] --out OUT
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

import yaml

from comparison import CNNS
from usfmae.base.files import write_text
from usfmae.cli.main import main as usfmae
from usfmae.evaluate.embedder import load
from usfmae.evaluate.start import encoder_of
from usfmae.models.shipped import weights_named

LABEL_RATIOS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)


def compare_plan(epochs: float) -> dict[str, Any]:
    """All labels, and four times the epochs over a tenth of them; one thread, so that cells can be made side
    by side and are the same wherever they are made."""
    ways: list[dict[str, Any]] = [
        {"method": "finetune", "settings": [f"epochs={epochs:g}", "threads=1"]},
        {"method": "finetune", "label_ratio": 0.1, "settings": [f"epochs={4 * epochs:g}", "threads=1"]},
        {"method": "knn"},
        {"method": "linear-probe"},
        {"method": "linear-probe", "label_ratio": 0.1},
    ]
    return {"tasks": [{"name": "bus-bra"}, {"name": "mmotu-2d"}], "ways": ways}


def labels_plan(_epochs: float) -> dict[str, Any]:
    """Linear probes with ever more labels; every seed draws others."""
    ways = [{"method": "linear-probe", "label_ratio": ratio, "settings": BALANCED} for ratio in LABEL_RATIOS]
    return {"tasks": [{"name": "bus-bra"}, {"name": "mmotu-2d"}], "ways": ways}


def devices_plan(epochs: float) -> dict[str, Any]:
    """One device tested, the others learnt from; the smallest, of 19 images, is only learnt from."""
    settings = ["task.leave_out=device"]
    tested = [
        "device-ge-logiq-5-10-12mhz",
        "device-ge-logiq-7-10-14mhz",
        "device-toshiba-aplio-300-12-14-mhz",
    ]
    ways = [
        {"method": "knn"},
        {"method": "linear-probe", "settings": BALANCED},
        {"method": "finetune", "settings": [f"epochs={epochs:g}"]},
    ]
    return {"tasks": [{"name": "bus-bra", "settings": settings, "folds": tested}], "ways": ways}


def from_scratch(weights: str) -> dict[str, Any]:
    """The plan's entry of the network of some weights from a random start, at the same input.

    A ViT takes its shape from the weights by `like`; a convolutional network has its own and is told the side
    and the channels of the input.

    Args:
        weights: as a plan has them; {task}, {split} and {seed} may stand in them, and the first there is, is
            looked at.
    """
    found = weights
    if "{" in weights:
        pattern = Path(re.sub(r"{\w+}", "*", weights))
        there = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
        if not there:
            raise SystemExit(f"{weights}: there are no such weights")
        found = str(there[0])
    network = encoder_of(weights_named(found), None)
    name = f"{CALLED.get(network, network)} scratch"
    if network == "vit":
        return {"name": name, "weights": "scratch", "like": weights}
    spec = load(found).input_spec
    settings = [f"image_px={spec.size_px[0]}", f"network.channels={spec.channels}"]
    return {"name": name, "encoder": network, "weights": "scratch", "settings": settings}


def scratch_rivals(weights: list[str]) -> list[dict[str, Any]]:
    """Each network of some weights once, as the first of its kind has it."""
    rivals: dict[str, dict[str, Any]] = {}
    for one in map(from_scratch, weights):
        rivals.setdefault(one["name"], one)
    return list(rivals.values())


CALLED = {"vit": "ViT", "efficientnet-lite0": "EfficientNet-Lite0"}
BALANCED = ["balanced=true"]
EFFICIENTNET = next(cnn for cnn in CNNS if cnn.get("weights") == "imagenet")
PLANS = {"compare": compare_plan, "labels": labels_plan, "devices": devices_plan}


def main() -> None:
    """Write the plan and run what is missing of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", choices=tuple(PLANS))
    parser.add_argument("--encoder", action="append", required=True, metavar="NAME=WEIGHTS")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fine-epochs", type=float, default=6)
    parser.add_argument("--cnn-px", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--frozen-only", action="store_true", help="without fine-tuning")
    chosen = parser.parse_args()
    named = [dict(zip(("name", "weights"), pair.split("=", 1), strict=True)) for pair in chosen.encoder]
    rivals = scratch_rivals([one["weights"] for one in named[: None if chosen.study == "compare" else 1]])
    rivals.append({**EFFICIENTNET, "settings": [f"image_px={chosen.cnn_px}"]})
    plan = PLANS[chosen.study](chosen.fine_epochs)
    ways = [way for way in plan["ways"] if not (chosen.frozen_only and way["method"] == "finetune")]
    plan |= {"encoders": [*named, *rivals], "ways": ways, "seeds": chosen.seeds}
    out = chosen.out / chosen.study
    file = chosen.out / f"{chosen.study}.yaml"
    write_text(file, yaml.safe_dump(plan, sort_keys=False))
    words = ["evaluate", "compare", str(file), "--data", os.environ["USFMAE_DATA"], "--out", str(out)]
    raise SystemExit(usfmae([*words, "--jobs", str(chosen.jobs), *(["--resume"] if out.exists() else [])]))


if __name__ == "__main__":
    main()
