"""The comparison of docs/results/benchmarks.md: ours, the same ViT from scratch, and convolutional networks.

For each task's split an encoder is pretrained on the unlabelled pool without that split's test images (and
without near-duplicates of them), then everything is compared by `usfmae evaluate compare`: neighbours, linear
and attentive probe, fine-tuning with a tenth and all of the labels, several seeds. With `--shared` one pool
leaves out the test images of all splits at once, which is BUS-BRA as a whole, so that one encoder serves all
splits: less compute, a smaller pool, and no test image seen either. What is watched while pretraining are the
validation images of each task's first split; nothing is chosen by it. `--groups 2` is between the two: half
of BUS-BRA's folds stay out of either pool, and MMOTU-2D's test images out of both.

Resumable: pools stand in OUT/corpora, runs in OUT/runs, cells in OUT/comparison; the same command goes on.

Run:  USFMAE_DATA=... python benchmarks/comparison.py --out OUT [--shared] [--epochs 60]
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import yaml

from usfmae.base.files import read_json, write_text
from usfmae.cli.main import main as usfmae
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import Source
from usfmae.evaluate.protocol import Task, TaskConfig, load_task
from usfmae.pretrain.run import RUN_FILE

TASKS = ("bus-bra", "mmotu-2d")
UNLABELLED = {
    "busi": ("busi", None, None),
    "pocus": ("pocus", None, None),
    "pool/fetal-head": (None, "CC-BY-4.0", "fetal"),
    "pool/muscle": (None, "CC0-1.0", "musculoskeletal"),
    "pool/muscle-lower-limb": (None, "Apache-2.0", "musculoskeletal"),
    "pool/carotid": (None, "MIT", "vascular"),
    "pool/carotid-cca": (None, "CC-BY-4.0", "vascular"),
    "pool/brachial-plexus": (None, "GPL-3.0-only", "nerve"),
    "pool/liver": (None, "CC-BY-4.0", "abdomen"),
}
"""Folders below USFMAE_DATA that no task tests on: the card that says what of them is an image or, without
one, licence and anatomy as the folder's README has them."""

UNCLEAR = ("busi", "pocus", "pool/brachial-plexus")
"""Whose licence is not stated, not for profit, or says that what is made of it shares it."""

WAYS = (
    {"method": "knn"},
    {"method": "linear-probe"},
    {"method": "attentive-probe"},
    {"method": "linear-probe", "label_ratio": 0.1},
    {"method": "finetune", "label_ratio": 0.1},
    {"method": "finetune"},
)
CNNS = (
    {
        "name": "EfficientNet-Lite0 ImageNet",
        "encoder": "efficientnet-lite0",
        "weights": "imagenet",
        "licence": "Apache-2.0",
    },
    {"name": "ResNet-50 scratch", "encoder": "resnet-50"},
    {"name": "VGG-19 scratch", "encoder": "vgg-19-bn"},
)


def linked(task: Task, wanted: np.ndarray, folder: Path) -> Path:
    """A folder of links to some images of a task."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in wanted.tolist():
        path = task.items[index].path
        link = folder / path.name
        if not link.is_symlink():
            link.symlink_to(path.resolve())
    return folder


def pool_without(
    tested: dict[str, np.ndarray],
    tasks: dict[str, Task],
    out: Path,
    name: str,
    data: Path,
    *,
    free: bool = False,
    simulated: Path | None = None,
) -> Path:
    """The unlabelled pool with all images of all tasks but the tested ones and what looks like them.

    With `free` only what is freely licensed; with `simulated` the frames of that folder too.
    """
    folder = out / "corpora" / name
    record = folder / "corpus.json"
    if record.exists() and read_json(record).get("status") == "finished":
        return folder
    sources = [
        Source(Path(place).name, data / place, card, licence, anatomy)
        for place, (card, licence, anatomy) in UNLABELLED.items()
        if (data / place).is_dir() and not (free and place in UNCLEAR)
    ]
    if simulated is not None:
        sources.append(Source("simulated", simulated, None, "CC0-1.0", "simulated"))
    held = []
    for task_name, task in tasks.items():
        test = tested.get(task_name, np.array([], dtype=np.int64))
        if len(test) < len(
            task.items
        ):  # of its own reader, which knows patients; test images leave by content
            sources.append(Source(task_name, data / task_name, task_name))
        if len(test):
            place = out / "images" / name / "test" / task_name
            for label, name_of_class in enumerate(task.classes):  # as the reader of `folder` wants it
                linked(task, test[task.labels[test] == label], place / name_of_class.replace("/", " "))
            held.append(("folder", place))
    build_corpus(sources, out=folder, config=BuildConfig(), hold_out=held, workers=2, resume=folder.exists())
    return folder


def grouped(tasks: dict[str, Task], number: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """Few pools for many splits: the splits of a task are dealt out in turn, and a pool goes without the test
    images of all splits of its group. A task with one split is left out of every pool.

    Returns:
        Test images of each pool by task, and the pool that serves each split, by "TASK-SPLIT".
    """
    names = ["shared"] if number == 1 else [f"group-{index}" for index in range(number)]
    tested: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in names}
    serves = {}
    for task_name, task in tasks.items():
        for index, split in enumerate(task.splits):
            mine = names[index % number]
            serves[f"{task_name}-{split.name}"] = mine
            for name in names if len(task.splits) == 1 else [mine]:
                tested[name].setdefault(task_name, []).append(split.test)
    united = {n: {t: np.unique(np.concatenate(parts)) for t, parts in by.items()} for n, by in tested.items()}
    return united, serves


def main() -> None:
    """Make what is missing, then the comparison; its last line of JSON holds the main differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    pools = parser.add_mutually_exclusive_group()
    pools.add_argument("--groups", type=int, help="pools, each without the test images of a share of splits")
    pools.add_argument(
        "--shared", dest="groups", action="store_const", const=1, help="one pool without any test image"
    )
    parser.add_argument("--recipe", default="vit_ti16_cpu")
    parser.add_argument("--epochs", type=float, default=60, help="of pretraining")
    parser.add_argument("--fine-epochs", type=float, default=30, help="of fine-tuning")
    parser.add_argument("--cnn-px", type=int, default=128, help="input side of EfficientNet-Lite0")
    parser.add_argument("--large-cnn-px", type=int, default=64, help="of ResNet-50 and VGG-19")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--frozen-only", action="store_true", help="without fine-tuning")
    parser.add_argument("--free", action="store_true", help="a pool of freely licensed images only")
    parser.add_argument(
        "--simulated", type=Path, help="frames of `usfmae corpus simulate`, as one more source"
    )
    parser.add_argument("--pool-only", action="store_true", help="build the pools and stop")
    parser.add_argument(
        "--set", dest="settings", nargs="*", default=[], help="further settings of pretraining"
    )
    chosen = parser.parse_args()
    data, out = Path(os.environ["USFMAE_DATA"]), chosen.out
    build = BuildConfig()
    tasks = {
        name: load_task(name, data / name, config=TaskConfig(fit=build.fit, crop=build.crop))
        for name in TASKS
    }
    if chosen.groups:
        wanted, serves = grouped(tasks, chosen.groups)
    else:
        wanted = {f"{n}-{s.name}": {n: s.test} for n, t in tasks.items() for s in t.splits}
        serves = {}
    settings = [f"epochs={chosen.epochs}", *chosen.settings]
    watched = [word for name in TASKS for word in ("--watch", f"{name}={data / name}")]
    for name, tested in wanted.items():
        run = out / "runs" / name
        corpus = pool_without(tested, tasks, out, name, data, free=chosen.free, simulated=chosen.simulated)
        if not chosen.pool_only and not (run / "weights.safetensors").exists():
            words = ["pretrain", chosen.recipe, "--corpus", str(corpus), "--out", str(run), *watched]
            words += [word for setting in settings for word in ("--set", setting)]
            if usfmae(words + (["--resume"] if (run / RUN_FILE).exists() else [])):
                raise SystemExit(1)
    if chosen.pool_only:
        return
    for name, group in (
        serves.items() if chosen.groups != 1 else ()
    ):  # a plan finds the run of a split by the split's name
        link = out / "runs" / name
        if not link.is_symlink():
            link.symlink_to(group, target_is_directory=True)
    ours = str(out / "runs" / ("shared" if chosen.groups == 1 else "{task}-{split}"))
    ways = [dict(way) for way in WAYS if not (chosen.frozen_only and way["method"] == "finetune")]
    for way in ways:
        if way["method"] == "finetune":
            few = "label_ratio" in way  # a tenth of the images: not a tenth of the steps
            way["settings"] = [f"epochs={chosen.fine_epochs * (4 if few else 1):g}"]
    cnn_px = (chosen.cnn_px, chosen.large_cnn_px, chosen.large_cnn_px)
    plan = {
        "tasks": [{"name": name} for name in TASKS],
        "encoders": [
            {"name": "USF-MAE", "weights": ours},
            {"name": "ViT scratch", "weights": "scratch", "like": ours},
            *({**cnn, "settings": [f"image_px={px}"]} for cnn, px in zip(CNNS, cnn_px, strict=True)),
        ],
        "ways": ways,
        "seeds": chosen.seeds,
    }
    write_text(out / "plan.yaml", yaml.safe_dump(plan, sort_keys=False))
    comparison = out / "comparison"
    words = ["evaluate", "compare", str(out / "plan.yaml"), "--data", str(data), "--out", str(comparison)]
    words += ["--jobs", str(chosen.jobs)] + (["--resume"] if comparison.exists() else [])
    if usfmae(words) not in (0, 3):  # 3: cells failed, which it has named; the rest is compared
        raise SystemExit(1)
    found = read_json(comparison / "comparison.json")
    figures = {
        f"{c['task']}, {c['way']}: {c['first']} - {c['rival']}, {c['metric']}": [c["difference"], c["p_holm"]]
        for c in found["comparisons"]
    }
    print(json.dumps({"benchmark": "comparison", "differences": figures}))


if __name__ == "__main__":
    main()
