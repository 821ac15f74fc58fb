"""Are copies in disguise found, and nothing else; how long does it take for 100,000 images?

Every k-th image of BUS-BRA is copied in each disguise (benchmarks/disguises.py) and looked for among all of
them. Recall: copies that are found at their own original. Precision: of all images that a copy is matched to,
those that are its original or a near-duplicate of it; pairs of originals are listed apart, since they are
shown to people. The likeness limit was chosen on other sets (docs/decisions/near-duplicate-distance.md).

The groups of BUSI and MMOTU-2D are listed, one a line, with the labels where those of one group disagree.

For speed, 100,000 fingerprints are made of real ones and clustered: crops of 50 to 75 % with random texture
added, a fifth of them copies in pairs and in runs of 16 frames with a little noise.

Run:  USFMAE_DATA=... python benchmarks/duplicates.py [--every 3] [--images 100000] [--groups-only]
"""

import argparse
import json
import os
import time
from pathlib import Path

import cv2
import numpy as np

from disguises import DISGUISES, disguised
from usfmae.datasets.duplicates import (
    file_fingerprints,
    near_duplicate_clusters,
    near_duplicate_matches,
    near_duplicate_pairs,
)
from usfmae.datasets.registry import read_dataset
from usfmae.images.fingerprint import CELLS, fingerprint
from usfmae.images.grey import to_grey
from usfmae.images.read import read_frame


def planted(data: Path, every: int, figures: dict[str, float]) -> None:
    """Recall and precision of each disguise on BUS-BRA."""
    items = read_dataset("bus-bra", data / "bus-bra", find_clusters=False).items
    originals = file_fingerprints([item.path for item in items])
    pairs = near_duplicate_pairs(originals)
    print(f"BUS-BRA: {len(pairs)} pairs among {len(items):,} originals")
    for left, right, likeness in zip(pairs.left, pairs.right, pairs.likeness, strict=True):
        same = "same patient" if items[left].group == items[right].group else "other patients"
        print(f"    {items[left].name} {items[right].name} {likeness:.3f} {same}")
    figures["busbra_pairs_of_originals"] = len(pairs)
    alike = {(int(a), int(b)) for a, b in zip(pairs.left, pairs.right, strict=True)}
    alike |= {(b, a) for a, b in alike} | {(k, k) for k in range(len(items))}
    chosen = range(0, len(items), every)
    greys = [to_grey(read_frame(items[index].path).pixels) for index in chosen]
    print(f"{'disguise':28}{'copies':>8}{'recall':>9}{'precision':>11}")
    worst_recall = worst_precision = 1.0
    for number, name in enumerate(DISGUISES):
        rng = np.random.default_rng([7, number])
        copies = np.array([fingerprint(disguised(grey, name, rng)) for grey in greys])
        found = near_duplicate_matches(copies, originals)
        matched = [(chosen[a], int(b)) for a, b in zip(found.left.tolist(), found.right, strict=True)]
        recall = len({a for a, b in matched if a == b}) / len(copies)
        precision = sum(pair in alike for pair in matched) / max(1, len(matched))
        print(f"{name:28}{len(copies):8}{recall:9.4f}{precision:11.4f}", flush=True)
        figures[f"recall {name}"], figures[f"precision {name}"] = recall, precision
        worst_recall, worst_precision = min(worst_recall, recall), min(worst_precision, precision)
    figures["worst_recall"], figures["worst_precision"] = worst_recall, worst_precision


def groups(data: Path, name: str, folder: str, figures: dict[str, float]) -> None:
    """Near-duplicate groups of a published set: a line for each, with its labels where they disagree."""
    labelled = read_dataset(name, data / folder, find_clusters=False)
    clusters = near_duplicate_clusters(file_fingerprints([item.path for item in labelled.items]))
    sizes = np.bincount(clusters)
    shared = np.flatnonzero(sizes > 1)
    lines, conflicting = [], []
    for cluster in shared:
        items = [labelled.items[k] for k in np.flatnonzero(clusters == cluster)]
        classes = {labelled.classes[item.label] for item in items if item.label is not None}
        names = ", ".join(item.name.removesuffix(item.path.suffix) for item in items)
        if len(classes) > 1:
            conflicting.append(len(items))
        lines.append(f"    {names}{'  CONFLICT: ' + ', '.join(sorted(classes)) if len(classes) > 1 else ''}")
    figures[f"{name}_images_in_groups"] = int(sizes[shared].sum())
    figures[f"{name}_groups"] = len(shared)
    figures[f"{name}_largest_group"] = int(sizes.max())
    figures[f"{name}_groups_with_conflicting_labels"] = len(conflicting)
    figures[f"{name}_images_in_groups_with_conflicting_labels"] = sum(conflicting)
    print(
        f"{name}: {sizes[shared].sum()} of {len(labelled.items)} images in {len(shared)} groups, largest "
        f"{sizes.max()}; {len(conflicting)} groups ({sum(conflicting)} images) carry conflicting labels"
    )
    print("\n".join(lines), flush=True)


def made_of_real_ones(real: np.ndarray, number: int) -> tuple[np.ndarray, int]:
    """Fingerprints with the structure of real ones; and how many are copies."""
    rng = np.random.default_rng(0)
    grid = (np.arange(CELLS) + 0.5) / CELLS
    out = np.zeros((number, CELLS, CELLS), np.uint8)
    num_fresh = round(0.8 * number)
    for k in range(num_fresh):
        size, place = rng.uniform(0.5, 0.75, 2), rng.uniform(0, 1, 2)
        down, across = ((place[i] * (1 - size[i]) + size[i] * grid) * CELLS - 0.5 for i in (0, 1))
        x, y = np.meshgrid(across.astype(np.float32), down.astype(np.float32))
        some = cv2.remap(real[rng.integers(len(real))].astype(np.float32), x, y, cv2.INTER_LINEAR)
        texture = rng.normal(0, 15, (11, 11)).astype(np.float32)
        out[k] = np.clip(some + cv2.resize(texture, (CELLS, CELLS), interpolation=cv2.INTER_CUBIC), 0, 255)
    k = num_fresh
    while k < number:
        run = min(int(rng.choice([1, 15])), number - k)
        first = out[rng.integers(num_fresh)]
        out[k : k + run] = np.clip(first + rng.normal(0, 3, (run, CELLS, CELLS)), 0, 255)
        k += run
    return out[rng.permutation(number)], number - num_fresh


def clustering(data: Path, number: int, figures: dict[str, float]) -> None:
    """Seconds that many fingerprints take."""
    paths = [
        path for folder in ("pool", "mmotu-2d/OTU_2d/images", "busi") for path in (data / folder).rglob("*.*")
    ]
    paths = sorted(p for p in paths if p.suffix.lower() in {".png", ".jpg"} and "mask" not in p.name)
    real = file_fingerprints(paths)
    picture = cv2.resize(to_grey(read_frame(paths[0]).pixels), (256, 256))
    started = time.process_time()
    for _ in range(200):
        fingerprint(picture)
    figures["fingerprint_ms"] = (time.process_time() - started) * 5
    thumbs, num_copies = made_of_real_ones(real, number)
    started, used = time.perf_counter(), time.process_time()
    clusters = near_duplicate_clusters(thumbs)
    figures["cluster_s"] = time.perf_counter() - started
    figures["cluster_cpu_s"] = time.process_time() - used
    figures["cluster_images"], figures["cluster_copies"] = number, num_copies
    figures["clusters"] = int(clusters.max()) + 1
    load = os.getloadavg()[0]
    figures["load"] = load
    print(
        f"{number:,} fingerprints ({num_copies:,} copies) of {figures['clusters']:,} clusters: "
        f"{figures['cluster_s']:.0f} s, {figures['cluster_cpu_s']:.0f} s of one core "
        f"({len(os.sched_getaffinity(0))} cores, load {load:.1f}); "
        f"one fingerprint {figures['fingerprint_ms']:.2f} ms"
    )


def main() -> None:
    """Print a table for people and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=3)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--groups-only", action="store_true", help="only list groups of published sets")
    words = parser.parse_args()
    data = Path(os.environ["USFMAE_DATA"])
    figures: dict[str, float] = {}
    cv2.setNumThreads(1)
    if not words.groups_only:
        planted(data, words.every, figures)
    groups(data, "busi", "busi", figures)
    groups(data, "mmotu-2d", "mmotu-2d", figures)
    if not words.groups_only:
        clustering(data, words.images, figures)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
