"""Do the heat maps of a fine-tuned classifier point at the lesion? BUS-BRA, against its label maps.

Attention rollout, gradient x attention and gradient x input of each split's network on its own test images,
for the class that it predicts. Beside them the same maps of the same network at a random start (Adebayo et
al. 2018, "Sanity Checks for Saliency Maps": a map that does not change with the weights explains nothing),
a random point and the centre of the picture; the mean label map of the training images, which knows where
lesions usually lie and has not seen the picture; and, as the ceiling, the lesion itself at the resolution of
patches (4 x 4 patches hit little more than half of the lesions). Means over images, 95 % intervals over
patients.

Cost: minutes on one core for ViT-Ti at 64 px. The classifier comes from, for example:
      usfmae evaluate finetune --task bus-bra --data $USFMAE_DATA/bus-bra --weights scratch --out FOLDER \\
          --set network.image_px=64 --set task.size_px=128 --set 'task.folds=[2]' --set epochs=30
Run:  USFMAE_DATA=... python benchmarks/pointing.py --classifier FOLDER [--tolerance 0.05] [--threads 1]
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from usfmae.base.config import make_config
from usfmae.base.files import read_json
from usfmae.datasets.record import Item
from usfmae.engine.augment import whole_batch
from usfmae.engine.devices import set_up_cpu, to_input
from usfmae.evaluate.finetune import CLASSIFIER_FILE
from usfmae.evaluate.fold_folders import FOLDS_FOLDER
from usfmae.evaluate.pointing_game import Pointed, point, score_pointing
from usfmae.evaluate.protocol import TaskConfig, load_task
from usfmae.evaluate.result import RUN_FILE
from usfmae.evaluate.statistics import BootstrapConfig, Interval
from usfmae.images.prepare import content_box, prepare_mask
from usfmae.images.read import read_frame
from usfmae.models.classifier import Classifier, LoadedClassifier, load_classifier
from usfmae.models.relevance import attention_rollout, class_relevance, gradient_times_input, upsample_maps
from usfmae.models.vit import start_weights

BATCH = 64

Method = Callable[[Classifier, Tensor], Tensor]
METHODS: dict[str, Method] = {
    "attention rollout": lambda network, images: attention_rollout(
        network.encoder, images, pool=network.pool
    ),
    "gradient x attention": class_relevance,
    "gradient x input": lambda network, images: gradient_times_input(
        network, images, cell_px=network.encoder.config.patch_px
    ),
}


def lesion_of(item: Item, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the lesion is in the prepared square, and where there is picture."""
    height, width = read_frame(item.path).pixels.shape[:2]
    marked = np.any([label_map.read((height, width)) > 0 for label_map in item.masks], axis=0)
    lesion = prepare_mask(marked.astype(np.uint8), size_px=side_px).astype(bool)
    top, left, rows, columns = content_box(height, width, side_px)
    shown = np.zeros_like(lesion)
    shown[top : top + rows, left : left + columns] = True
    return lesion, shown


def heat_maps(
    method: Method, loaded: LoadedClassifier, network: Classifier, images: np.ndarray
) -> np.ndarray:
    """Maps at the resolution of the network's input."""
    side = loaded.input_spec.size_px
    parts = []
    for start in range(0, len(images), BATCH):
        seen = torch.from_numpy(whole_batch(images[start : start + BATCH], image_px=side))
        maps = method(network, to_input(seen, loaded.input_spec, torch.device("cpu")))
        parts.append(upsample_maps(maps, side).numpy().astype(np.float64))
    return np.concatenate(parts)


def at_random(loaded: LoadedClassifier, seed: int) -> Classifier:
    """A network of the same shape that has learnt nothing."""
    generator = torch.Generator().manual_seed(seed)
    network = Classifier(
        type(loaded.network.encoder)(loaded.network.encoder.config),
        len(loaded.classes),
        pool=loaded.network.pool,
        generator=generator,
    )
    start_weights(network, generator)
    return network.eval()


def shown(part: Interval) -> str:
    """A value with its bounds."""
    return (
        f"{part.value:.3f} ({part.low:.3f} to {part.high:.3f})"
        if part.low is not None
        else f"{part.value:.3f}"
    )


def main() -> None:
    """Point with every method, trained and not, and print the table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classifier", type=Path, required=True, help="folder of usfmae evaluate finetune")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="share of the input side; 15/500 in the paper"
    )
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    set_up_cpu(chosen.threads)
    settings = read_json(chosen.classifier / RUN_FILE)["made_by"]["settings"]
    config = make_config(TaskConfig, settings["task"])
    if (config.fit, config.crop) != ("pad", "none"):
        raise SystemExit("label maps are laid out for task.fit=pad and task.crop=none only")
    task = load_task("bus-bra", Path(os.environ["USFMAE_DATA"]) / "bus-bra", config=config)

    found: dict[tuple[str, str], list[Pointed]] = {}
    tested: list[int] = []
    for split in task.splits:
        file = chosen.classifier / FOLDS_FOLDER / split.name / CLASSIFIER_FILE
        if not file.exists():
            print(f"{split.name}: not trained yet, left out")
            continue
        loaded = load_classifier(file)
        side = loaded.input_spec.size_px[0]
        laid = [lesion_of(task.items[index], side) for index in split.test.tolist()]
        lesions, pictures = (np.stack(one) for one in zip(*laid, strict=True))
        has = (lesions & pictures).any(axis=(1, 2))
        tested += split.test[has].tolist()
        usual = np.mean([lesion_of(task.items[index], side)[0] for index in split.train.tolist()], axis=0)
        patch = loaded.network.encoder.config.patch_px
        grid = lesions[has].reshape(-1, side // patch, patch, side // patch, patch).mean(axis=(2, 4))
        for name, maps in (
            ("mean training label map", np.broadcast_to(usual, lesions[has].shape)),
            ("the lesion in patches", upsample_maps(torch.from_numpy(grid), (side, side)).numpy()),
        ):
            pointed = point(maps, lesions[has], shown=pictures[has], tolerance_px=chosen.tolerance * side)
            found.setdefault((name, "-"), []).append(pointed)
        for start, network in (("trained", loaded.network), ("random", at_random(loaded, seed=0))):
            for name, method in METHODS.items():
                maps = heat_maps(method, loaded, network, task.images[split.test[has]])
                pointed = point(maps, lesions[has], shown=pictures[has], tolerance_px=chosen.tolerance * side)
                found.setdefault((name, start), []).append(pointed)

    groups = task.group_ids(np.array(tested))
    bootstrap = BootstrapConfig(num_resamples=chosen.resamples)
    print(
        f"{len(tested)} test images of {len(np.unique(groups))} patients, "
        f"tolerance {chosen.tolerance:g} of the side"
    )
    columns = ("hit", "hit_over_random", "hit_over_centre", "energy", "energy_over_area")
    print(f"| maps | weights | {' | '.join(columns)} |\n{'|---' * (2 + len(columns))}|")
    figures: dict[str, float | None] = {"images": len(tested)}
    scores: dict[str, Interval] = {}
    for (name, start), parts in found.items():
        fields = Pointed.__dataclass_fields__
        whole = Pointed(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))
        scores = score_pointing(whole, groups, config=bootstrap)
        print(f"| {name} | {start} | {' | '.join(shown(scores[column]) for column in columns)} |")
        figures |= {f"{name}, {start}: {column}": scores[column].value for column in ("hit", "energy")}
    for baseline in ("random_hit", "centre_hit", "area_ratio"):
        print(f"{baseline}: {shown(scores[baseline])}")
        figures[baseline] = scores[baseline].value
    print(json.dumps({key: round(value, 4) for key, value in figures.items() if value is not None}))


if __name__ == "__main__":
    main()
