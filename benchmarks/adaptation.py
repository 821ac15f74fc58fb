"""What does an encoder gain on new images and forget of the old ones, with and without replay?

ViT-Ti/16 at 128 px (recipe vit_ti16_cpu) is pretrained on breast and ovary (BUS-BRA, MMOTU-2D) and goes on
with fetal heads, muscle and lung (pool/fetal-head, pool/muscle, pool/muscle-lower-limb, pocus), once per
replay ratio and from the same weights. Reported: the reconstruction loss on up to 256 images of each pool,
with the same patches hidden before and after (the new ones are held out of training, the old ones were
trained on in the first run), and nearest neighbours and a linear probe on the validation images of BUS-BRA
and MMOTU-2D, whose test sides are not looked at. The labelled images are in the old pool, without labels.

An epoch is one of the new pool, so runs with replay make more steps: the new images are seen equally often.

Resumable: a run goes on where it stopped. Folders stand in OUT/corpora and OUT/runs.

Run:  USFMAE_DATA=... python benchmarks/adaptation.py --out OUT [--epochs 60] [--more-epochs 30] [--threads 1]
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from usfmae.base.config import with_settings
from usfmae.base.files import read_json
from usfmae.cli.live import live_scores
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.pretrain.run import RUN_FILE, pretrain
from usfmae.recipes.registry import get_recipe

RECIPE = "vit_ti16_cpu"
OLD = {"bus-bra": "bus-bra", "mmotu-2d": "mmotu-2d"}
NEW = {
    "fetal-head": "pool/fetal-head",
    "muscle": "pool/muscle",
    "muscle-lower-limb": "pool/muscle-lower-limb",
    "pocus": "pocus",
}
CARDS = {"bus-bra", "mmotu-2d", "pocus"}
"""Known datasets, whose readers say what is an image and whose it is."""

WATCHED = ("bus-bra", "mmotu-2d")
HOLD_OUT = 0.1
"""Of the new pool; by file where nothing says whose an image is, so held-out muscle frames have neighbours in
the same sequence that are trained on."""


def built(folder: Path, data: Path, sources: dict[str, str]) -> Path:
    """A pool of these folders, made once."""
    record = folder / "corpus.json"
    if not record.exists() or read_json(record).get("status") != "finished":
        known = [
            Source(name, data / place, name if name in CARDS else None) for name, place in sources.items()
        ]
        build_corpus(known, out=folder, config=BuildConfig(), workers=2, resume=folder.exists())
    return folder


def interval(part: dict[str, Any], digits: int = 3) -> str:
    """A value with its bounds."""
    if part["low"] is None:
        return f"{part['value']:.{digits}f}"
    return f"{part['value']:.{digits}f} ({part['low']:.{digits}f} to {part['high']:.{digits}f})"


def main() -> None:
    """Make the runs that are missing, then print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=60, help="of the first run, on the old pool")
    parser.add_argument("--more-epochs", type=float, default=30, help="of the runs that go on")
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.3, 0.5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], help="settings of all runs, e.g. loop.precision=fp32")
    chosen = parser.parse_args()
    data = Path(os.environ["USFMAE_DATA"])
    old = built(chosen.out / "corpora/old", data, OLD)
    new = built(chosen.out / "corpora/new", data, NEW)
    pool = open_corpus(old)
    watched = [live_scores(name, data / OLD[name], seed=0, fit=pool.fit, crop=pool.crop) for name in WATCHED]
    common = (f"seed={chosen.seed}", f"threads={chosen.threads}", "watch.every_epochs=10", *chosen.set)

    def run(name: str, corpus: Path, *settings: str, weights: Path | None = None) -> dict[str, Any]:
        out = chosen.out / "runs" / name
        return pretrain(
            with_settings(get_recipe(RECIPE), (*common, *settings)), corpus, out, recipe=RECIPE,
            weights=weights, evaluations=watched, watched=WATCHED, resume=(out / RUN_FILE).exists(),
        )  # fmt: skip

    run("first", old, f"epochs={chosen.epochs}")
    rows = {}
    for ratio in chosen.ratios:
        rows[ratio] = run(
            f"replay-{ratio:g}", new, f"epochs={chosen.more_epochs}", f"replay.corpus={old}",
            f"replay.ratio={ratio}", f"replay.hold_out_ratio={HOLD_OUT}",
            weights=chosen.out / "runs/first",
        )  # fmt: skip
    table(rows)


def table(rows: dict[float, dict[str, Any]]) -> None:
    """Before and after for each ratio, and the figures as JSON."""
    first = next(iter(rows.values()))["adaptation"]
    scores = [(line["task"], line["metric"]) for line in first["watched"] if "macro_f1" in line["metric"]]
    heads = ["loss, new pool", "loss, old pool", *(f"{task} {metric}" for task, metric in scores)]
    print(f"| replay | steps | {' | '.join(heads)} |")
    print("|---" * (2 + len(heads)) + "|")
    figures: dict[str, float] = {}
    before = [first["new"]["before"], first["old"]["before"]]
    before += [_score(first, *score)["before"] for score in scores]
    print(f"| before | 0 | {' | '.join(map(interval, before))} |")
    for ratio, record in rows.items():
        found = record["adaptation"]
        after = [found["new"]["after"], found["old"]["after"]]
        cells = [f"{interval(part)}" for part in after]
        cells[0] += f", change {interval(found['new']['change'])}"
        cells[1] += f", change {interval(found['old']['change'])}"
        both = [_score(found, *score) for score in scores]
        cells += [interval(score["after"]) for score in both]
        print(f"| {ratio:g} | {record['total_steps']} | {' | '.join(cells)} |")
        figures[f"replay {ratio:g}: loss change new"] = round(found["new"]["change"]["value"], 4)
        figures[f"replay {ratio:g}: loss change old"] = round(found["old"]["change"]["value"], 4)
        for (task, metric), score in zip(scores, both, strict=True):
            change = score["after"]["value"] - score["before"]["value"]
            figures[f"replay {ratio:g}: {task} {metric} change"] = round(change, 4)
    print(json.dumps(figures))


def _score(found: dict[str, Any], task: str, metric: str) -> dict[str, Any]:
    return next(line for line in found["watched"] if (line["task"], line["metric"]) == (task, metric))


if __name__ == "__main__":
    main()
