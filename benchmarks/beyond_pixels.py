"""Teacher, masked convolutions, pairs of views: what does each add to plain MAE at equal processor time?

Every variant gets the same pool and as many epochs as fit into `--seconds` of processor time on one thread;
what an image costs is measured first, in turns, for all variants. The pool must hold no image of a test side
(that of `comparison.py --shared` holds none). Frozen features are judged as in `ablation.py`: by neighbours
and a linear probe, macro-F1 and AUROC, on the images of each set's first split that are no test images. Then
the network is fine-tuned with a tenth of that split's training labels, several draws, and judged on all other
images of it that are no test images: the validation side and the nine tenths whose labels were not learnt
from, of other patients, which is six times as many as the validation side alone. Frozen scores of a
convolutional network hang on the running moments that it happens to have: "moments alone" is ImageNet's
network with those of the pool (docs/results/pretraining.md).

Resumable: a run goes on where it stopped, a finished cell is not made again. Cells stand in OUT/cells.

Run:  USFMAE_DATA=... python benchmarks/beyond_pixels.py --corpus DIR --out OUT [--seconds 540] [--seeds 0]
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch

from ablation import TASKS, judge
from usfmae.base.config import with_settings
from usfmae.base.files import read_json, write_json
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.engine.devices import set_up_cpu
from usfmae.engine.loss_parts import total_of
from usfmae.engine.optim import build_optimizer
from usfmae.evaluate.finetune import finetune
from usfmae.evaluate.finetune_config import finetune_defaults
from usfmae.evaluate.metrics import score
from usfmae.evaluate.predictions import PREDICTIONS_FILE, read_predictions
from usfmae.evaluate.protocol import Task, TaskConfig, TaskSource, load_task
from usfmae.evaluate.start import Weights, open_start
from usfmae.models.masked_models import build_masked
from usfmae.models.vit import ViTConfig
from usfmae.models.weights import save_encoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.run import RUN_FILE, pretrain
from usfmae.pretrain.step import PretrainBatches, PretrainStep
from usfmae.pretrain.teaching import open_teaching
from usfmae.pretrain.whole_moments import whole_moments
from usfmae.recipes.registry import get_recipe

VIT, CNN, GENTLE = "vit_ti16_cpu", "sparse_cnn_cpu", "best_small_pool"
MILD = (
    "augment.scale=[0.6,1.0]", "augment.flip_down=0", "augment.rotate_deg=[-10,10]",
    "augment.interpolation=area",
)  # fmt: skip
"""Views as evaluation shows images: upright, smooth, hardly cropped."""
VARIANTS: dict[str, tuple[str, tuple[str, ...], Literal["imagenet"] | None]] = {
    "plain MAE": (VIT, (), None),
    "teacher EfficientNet-Lite0": (VIT, ("model.teacher.kind=efficientnet-lite0",), None),
    "the same, pooled too": (
        VIT,
        ("model.teacher.kind=efficientnet-lite0", "model.teacher.pooled_weight=1"),
        None,
    ),
    "own average as teacher": (VIT, ("model.teacher.kind=self", "model.teacher.decay=0.99"), None),
    "pairs of views": (VIT, ("model.agreement.kind=image",), None),
    "masked CNN from ImageNet": (CNN, (), "imagenet"),
    "plain MAE, mild views": (VIT, MILD, None),
    "masked CNN, gently": (GENTLE, (), "imagenet"),
    "the same, pairs of views": (GENTLE, ("model.agreement.kind=image",), "imagenet"),
}
"""Recipe, changes to it, and what it starts from; one idea each."""

BETWEEN = {"moments alone": 0.0, "half way": 0.5}
"""How far the weights are from ImageNet's (0) to those of "masked CNN, gently" (1); batch norms have the
moments of whole images of the pool in any case."""

UNTRAINED = "ImageNet CNN, untouched"
"""EfficientNet-Lite0 at 128 px as it comes: what the masked CNN starts from."""

BATCH, TIMED_STEPS = 64, 5
FIRST: dict[str, tuple[str, ...] | None] = {"bus-bra": ("fold-2",), "mmotu-2d": None}
"""The split of each set that is used: all of MMOTU-2D, whose split is official."""


def config_of(name: str, *, seed: int, epochs: float) -> PretrainConfig:
    """The recipe with the variant's changes, on one thread."""
    recipe, changes, _ = VARIANTS[name]
    common = (f"seed={seed}", f"epochs={epochs}", "threads=1", "watch.every_epochs=1000")
    common += (f"optim.warmup_epochs={epochs / 10}",)  # the recipes' own are longer than some of these runs
    return with_settings(get_recipe(recipe), (*changes, *common, f"global_batch={BATCH}"))


def seconds_per_image(corpus: Corpus) -> dict[str, float]:
    """Processor time of a training step over its images, median of several, all variants in turns."""
    set_up_cpu(1)
    ready: dict[str, Any] = {}
    for name in VARIANTS:
        config = config_of(name, seed=0, epochs=1).model_copy(update={"augment_on": "cpu"})
        teaching = open_teaching(config)
        config = teaching.config
        module = build_masked(config.model)
        optimizer = build_optimizer(module, config.optim, layer_of=module.encoder.layer_of)
        teacher, averages = teaching.begin(module.encoder, optimizer, config.input_spec)
        ready[name] = (
            module,
            optimizer,
            PretrainStep(config.input_spec, config, teacher=teacher),
            PretrainBatches(corpus, config),
            averages,
        )
    spent: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for index in range(TIMED_STEPS + 1):
        for name, (module, optimizer, step, batches, averages) in ready.items():
            start = time.process_time()
            total_of(step(module, batches(index))).backward()
            optimizer.step()
            optimizer.zero_grad()
            for average in averages:
                average(index + 1)
            if index:  # the first warms up
                spent[name].append((time.process_time() - start) / BATCH)
    return {name: median(times) for name, times in spent.items()}


def judged(weights: Weights, encoder: Literal["vit", "efficientnet-lite0"], data: Path) -> dict[str, Any]:
    """Figures of frozen features for each set."""
    build = BuildConfig()
    start = open_start(weights, network=ViTConfig(size="ti"), encoder=encoder, image_px=128)
    figures = {}
    for name, place in TASKS.items():
        task = load_task(name, data / place, config=TaskConfig(fit=build.fit, crop=build.crop))
        figures[name] = judge(start.encoder, start.input_spec, task)
    return figures


def few_labels(
    weights: Weights, encoder: Literal["vit", "efficientnet-lite0"], data: Path, out: Path, *, draws: int,
    epochs: float,
) -> dict[str, Any]:  # fmt: skip
    """Figures of each set after fine-tuning with a tenth of the labels, mean over draws."""
    figures = {}
    for name, place in TASKS.items():
        source, scores = TaskSource(name, data / place), []
        for draw in range(draws):
            task = drawn_task(source, draw=draw)
            config = finetune_defaults(weights, encoder).model_copy(
                update={"task": task.config, "encoder": encoder, "epochs": epochs, "watch_epochs": epochs}
                | {"seed": draw, "threads": 1}
                | ({"image_px": 128} if weights == "imagenet" else {})
            )
            where = out / f"{name}-{draw}"
            finetune(task, weights, out=where, config=config, resume=where.exists())
            told = read_predictions(where / PREDICTIONS_FILE)
            scores.append(score(told.labels, told.probabilities, positive=task.positive))
        figures[name] = {
            f"few_{metric}": float(np.mean([one[metric] for one in scores]))
            for metric in ("macro_f1", "auroc")
        }
    return figures


def drawn_task(source: TaskSource, *, draw: int) -> Task:
    """A tenth of the training labels of the first split; all that is neither learnt from nor on its test side
    is judged, in place of that."""
    build = BuildConfig()
    common = {"fit": build.fit, "crop": build.crop, "folds": FIRST[source.name]}
    (whole,) = source.task(TaskConfig(**common)).splits
    task = source.task(TaskConfig(**common, label_ratio=0.1, label_seed=draw))
    (few,) = task.splits
    judged = np.setdiff1d(np.union1d(whole.train, whole.val), few.train)
    return replace(task, splits=(replace(few, val=few.val[:0], test=judged),))


def main() -> None:
    """Make the cells that are missing, then print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=540, help="of processor time for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    known = [UNTRAINED, *VARIANTS, *BETWEEN]
    parser.add_argument("--only", nargs="+", default=known, choices=known)
    parser.add_argument("--draws", type=int, default=2, help="of a tenth of the labels")
    parser.add_argument("--few-epochs", type=float, default=24, help="over a tenth of the labels")
    chosen = parser.parse_args()
    data, out = Path(os.environ["USFMAE_DATA"]), chosen.out
    corpus = open_corpus(chosen.corpus)
    measured = out / "seconds_per_image.json"
    if not measured.exists():
        write_json(measured, seconds_per_image(corpus))
    cost = read_json(measured)
    cell = out / "cells" / "untouched.json"
    if UNTRAINED in chosen.only and not cell.exists():
        figures = together(
            judged("imagenet", "efficientnet-lite0", data),
            few_labels(
                "imagenet", "efficientnet-lite0", data, out / "tuned" / "untouched",
                draws=chosen.draws, epochs=chosen.few_epochs,
            ),
        )  # fmt: skip
        write_json(cell, {"variant": UNTRAINED, "seed": 0, "epochs": 0, "seconds": 0, **figures})
    for seed in chosen.seeds:
        for name in chosen.only:
            short = as_file_name(name)
            cell, run = out / "cells" / f"{short}-{seed}.json", out / "runs" / f"{short}-{seed}"
            if name == UNTRAINED or cell.exists():
                continue
            encoder: Literal["vit", "efficientnet-lite0"] = "efficientnet-lite0"
            weights, epochs, seconds = run, 0.0, 0.0
            if name in BETWEEN:
                gently = out / "runs" / f"{as_file_name('masked CNN, gently')}-{seed}"
                weights = between(gently, BETWEEN[name], corpus, seed=seed)
            else:
                recipe, _, start = VARIANTS[name]
                encoder = "vit" if recipe == VIT else encoder
                epochs = round(chosen.seconds / cost[name] / len(corpus), 2)
                seconds = pretrain(
                    config_of(name, seed=seed, epochs=epochs), chosen.corpus, run, recipe=recipe,
                    weights=start, resume=(run / RUN_FILE).exists(),
                )["seconds"]  # fmt: skip
            few = few_labels(
                weights, encoder, data, out / "tuned" / run.name, draws=chosen.draws, epochs=chosen.few_epochs
            )
            figures = together(judged(weights, encoder, data), few)
            write_json(cell, {"variant": name, "seed": seed, "epochs": epochs, "seconds": seconds, **figures})
    table(out, cost)


def between(run: Path, share: float, corpus: Corpus, *, seed: int) -> Path:
    """Weights between ImageNet's and those of a masked CNN, in a file beside the run's (Wortsman et al. 2022,
    "Robust fine-tuning of zero-shot models")."""
    file = run / f"between-{share:g}.safetensors"
    common = {"network": ViTConfig(size="ti"), "encoder": "efficientnet-lite0", "image_px": 128}
    old, new = open_start("imagenet", **common), open_start(run, **common)
    before, after = old.encoder.state_dict(), new.encoder.state_dict()
    for name, value in after.items():
        start = before[name] if before[name].shape == value.shape else before[name].sum(1, keepdim=True)
        if value.is_floating_point():  # the three channels of the first convolution, added up, are one
            after[name] = torch.lerp(start, value, share)
    new.encoder.load_state_dict(after)
    with whole_moments(corpus, 512, new.input_spec, seed=seed).settled(new.encoder):
        save_encoder(file, new.encoder, input_spec=new.input_spec)
    return file


def together(*parts: dict[str, Any]) -> dict[str, Any]:
    """The figures of all parts, set by set."""
    return {name: {k: v for part in parts for k, v in part[name].items()} for name in TASKS}


def as_file_name(name: str) -> str:
    """Letters and digits of a variant's name."""
    return "".join(c if c.isalnum() else "-" for c in name)


def table(out: Path, cost: dict[str, float]) -> None:
    """Mean and range over seeds."""
    rows = [read_json(path) for path in sorted((out / "cells").glob("*.json"))]
    heads = [(task, figure) for task in TASKS for figure in rows[0][task]]
    print(
        "| variant | seeds | epochs | time of an image | " + " | ".join(f"{t} {f}" for t, f in heads) + " |"
    )
    print("|---" * (4 + len(heads)) + "|")
    figures = {}
    for name in (UNTRAINED, *BETWEEN, *VARIANTS):
        mine = [row for row in rows if row["variant"] == name]
        if not mine:
            continue
        cells = []
        for task, figure in heads:
            values = [row[task][figure] for row in mine]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
            figures[f"{name}: {task} {figure}"] = round(float(np.mean(values)), 4)
        relative = f"{cost[name] / cost['plain MAE']:.2f}" if name in cost else ""
        print(f"| {name} | {len(mine)} | {mine[0]['epochs']:.1f} | {relative} | " + " | ".join(cells) + " |")
    print(json.dumps({"benchmark": "beyond_pixels", **figures}))


if __name__ == "__main__":
    main()
