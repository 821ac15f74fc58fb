"""Which settings of pretraining make the better encoder, at equal compute?

Every variant is ViT-Ti/16 at 128 px (recipe vit_ti16_cpu, batches of 64) trained on the same pool: so many
images each of BUS-BRA and MMOTU-2D, drawn once from those that are no test images. Compute is counted in
operations of matrix products per step, so it does not depend on what else the machine does: the dearest
variant is trained for `--epochs`, cheaper ones for more until they have spent the same.

Frozen features are judged by nearest neighbours and a linear probe, macro-F1, on images that are no test
side of docs/results/journey.md's tables for the first split: all that is left without it is dealt by patient
(MMOTU-2D: by near-duplicate cluster) into five parts, each judged by the other four, with the probe's
penalty chosen on one of those. Labels of the test side are not read.

Resumable: a run goes on where it stopped, a finished cell is not made again. Cells stand in OUT/cells.

Run:  USFMAE_DATA=... python benchmarks/ablation.py --out OUT [--images 600] [--seeds 0 1] [--only NAME ...]
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from usfmae.base.config import with_settings
from usfmae.base.files import read_json, write_json
from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.corpus.sources import Source
from usfmae.datasets.partition import deal_groups
from usfmae.engine.loss_parts import total_of
from usfmae.evaluate.features import encode_images
from usfmae.evaluate.knn import knn_probabilities
from usfmae.evaluate.linear_probe import C_GRID, SMALLEST, fit_fixed_probe
from usfmae.evaluate.metrics import score
from usfmae.evaluate.protocol import Task, TaskConfig, load_task
from usfmae.models.encoder import Encoder
from usfmae.models.mae import MaskedAutoencoder
from usfmae.models.weights import load_encoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import RUN_FILE, pretrain
from usfmae.pretrain.step import PretrainBatches, PretrainStep
from usfmae.recipes.registry import get_recipe

TASKS = {"bus-bra": "bus-bra", "mmotu-2d": "mmotu-2d"}
PARTS = 5
UNTRAINED = "untrained"
"""One step at a rate near zero: what the start's random features are worth."""

VARIANTS: dict[str, tuple[str, ...]] = {
    UNTRAINED: (),
    "baseline": (),
    "hide .5": ("model.hide_ratio=0.5",),
    "hide .9": ("model.hide_ratio=0.9",),
    "hide in the sector": ("model.hiding.kind=sector",),
    "blocks of 2": ("model.hiding.kind=block", "model.hiding.block=2", "model.hide_ratio=0.6"),
    "plain pixels": ("model.normalised_pixels=false",),
    "cross decoder": ("model.decoder.kind=cross",),
    "cross, half predicted": ("model.decoder.kind=cross", "model.decoder.predict_ratio=0.5"),
    "paper's augmentation": (
        "augment.scale=[0.5, 2.0]",
        "augment.flip_down=0.5",
        "augment.rotate_deg=[0, 90]",
        "augment.interpolation=nearest",
    ),
}
"""Changes to the baseline, one idea each."""

PHYSICAL = (
    "augment.scale=[0.4, 1.0]",
    "augment.flip_down=0.0",
    "augment.rotate_deg=[0, 0]",
    "augment.interpolation=area",
)
"""The baseline's views, which the recipe had before this table was made."""


def config_of(variant: str, seed: int, epochs: float, threads: int) -> PretrainConfig:
    """The recipe with the variant's changes."""
    common = (
        f"seed={seed}", f"epochs={epochs}", f"threads={threads}", "watch.every_epochs=1000",
        "global_batch=64",
    )  # fmt: skip
    return with_settings(get_recipe("vit_ti16_cpu"), (*PHYSICAL, *VARIANTS[variant], *common))


def cost(variant: str, corpus: Corpus) -> float:
    """Operations of a step's matrix products, forward and backward."""
    config = config_of(variant, 0, 1, 1).model_copy(update={"augment_on": "cpu"})
    module = MaskedAutoencoder(config.model)
    batch = PretrainBatches(corpus, config)(0)
    counter = FlopCounterMode(display=False)
    with counter:
        total_of(PretrainStep(config.input_spec, config)(module, batch)).backward()
    return float(counter.get_total_flops())


def build_pool(out: Path, tasks: dict[str, Task], count: int) -> Path:
    """A pool of `count` images of each task that are on no test side, linked into a folder of their own."""
    folder = out / "corpus"
    if (folder / "corpus.json").exists():
        return folder
    sources = []
    for name, task in tasks.items():
        place = out / "images" / name
        place.mkdir(parents=True, exist_ok=True)
        allowed = np.union1d(task.splits[0].train, task.splits[0].val)
        for index in rng_for(0, "ablation", name).choice(allowed, min(count, len(allowed)), replace=False):
            path = task.items[index].path
            (place / path.name).symlink_to(path.resolve())
        sources.append(Source(name, place, None))
    build_corpus(sources, out=folder, config=BuildConfig(), workers=2, resume=folder.exists())
    return folder


def judge(encoder: Encoder, spec: InputSpec, task: Task) -> dict[str, float]:
    """Macro-F1 and AUROC of neighbours and of a linear probe, over the images that are no test images."""
    split = task.splits[0]
    allowed = np.union1d(split.train, split.val)
    features = encode_images(encoder, task.images[allowed], input_spec=spec)
    labels = task.labels[allowed]
    groups = [task.items[index].group for index in allowed.tolist()]
    part = deal_groups(groups, labels, [1 / PARTS] * PARTS, seed=0, purpose="ablation")
    told = {name: np.zeros((len(allowed), len(task.classes))) for name in ("knn", "linear")}
    for k in range(PARTS):
        asked, chosen_on = part == k, part == (k + 1) % PARTS
        learnt = ~asked & ~chosen_on
        told["knn"][asked] = knn_probabilities(
            features[~asked], labels[~asked], features[asked],
            num_classes=len(task.classes), k=20, temperature=0.07,
        )  # fmt: skip
        losses = []
        for c in C_GRID:
            probe = fit_fixed_probe(features[learnt], labels[learnt], num_classes=len(task.classes), c=c)
            likelihood = probe.probabilities(features[chosen_on])[
                np.arange(chosen_on.sum()), labels[chosen_on]
            ]
            losses.append(-np.log(np.maximum(likelihood, SMALLEST)).mean())
            if losses[-1] == min(losses):
                told["linear"][asked] = probe.probabilities(features[asked])
    return {
        f"{name}_{metric}": float(score(labels, p)[metric])
        for name, p in told.items()
        for metric in ("macro_f1", "auroc")
    }


def main() -> None:
    """Make the cells that are missing, then print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=30, help="of the dearest variant")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--images", type=int, default=600, help="of each set in the pool")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    data = Path(os.environ["USFMAE_DATA"])
    build = BuildConfig()
    tasks = {
        name: load_task(name, data / place, config=TaskConfig(fit=build.fit, crop=build.crop))
        for name, place in TASKS.items()
    }
    folder = build_pool(chosen.out, tasks, chosen.images)
    corpus = open_corpus(folder)
    costs = {name: cost(name, corpus) for name in VARIANTS}
    epochs = {name: chosen.epochs * max(costs.values()) / costs[name] for name in VARIANTS}
    epochs[UNTRAINED] = 0.01
    for seed in chosen.seeds:
        for name in chosen.only:
            short = "".join(c if c.isalnum() else "-" for c in name)
            cell, run = chosen.out / "cells" / f"{short}-{seed}.json", chosen.out / "runs" / f"{short}-{seed}"
            if cell.exists():
                continue
            config = config_of(name, seed, round(epochs[name], 2), chosen.threads)
            record = pretrain(config, folder, run, recipe="vit_ti16_cpu", resume=(run / RUN_FILE).exists())
            torch.set_num_threads(chosen.threads)
            loaded = load_encoder(run)
            figures = {name: judge(loaded.encoder, loaded.input_spec, task) for name, task in tasks.items()}
            row = {"variant": name, "seed": seed, "epochs": epochs[name], "seconds": record["seconds"]}
            write_json(cell, {**row, "cost": costs[name] / costs["baseline"], **figures})
    table(chosen.out)


def table(out: Path) -> None:
    """Mean and range over seeds."""
    rows = [read_json(path) for path in sorted((out / "cells").glob("*.json"))]
    heads = [(task, method) for task in TASKS for method in ("knn_macro_f1", "linear_macro_f1")]
    print(
        "| variant | seeds | epochs | step, operations | "
        + " | ".join(f"{t} {m[:-9]}" for t, m in heads)
        + " |"
    )
    print("|---" * (4 + len(heads)) + "|")
    figures = {}
    for name in VARIANTS:
        mine = [row for row in rows if row["variant"] == name]
        if not mine:
            continue
        cells = []
        for task, method in heads:
            values = [row[task][method] for row in mine]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
            figures[f"{name}: {task} {method}"] = round(float(np.mean(values)), 4)
        first = mine[0]
        print(
            f"| {name} | {len(mine)} | {first['epochs']:.0f} | {first['cost']:.2f} | "
            + " | ".join(cells)
            + " |"
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
