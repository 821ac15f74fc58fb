"""Are evaluation images that hide in a pool, disguised and renamed, all found and held out, and nobody else?

200 images of BUS-BRA, each in one of the disguises of benchmarks/disguises.py in turn, are hidden under other
names among the stills of BUSI, MMOTU-2D, fetal heads, liver and nerves. The pool is built twice: with
`--hold-out bus-bra`, which must leave out the 200 and no other; and without, for `corpus audit` to find them.

Run:  USFMAE_DATA=... python benchmarks/audit.py [--out FOLDER]
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from disguises import DISGUISES, disguised
from usfmae.corpus.audit import audit_corpus
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import Source
from usfmae.datasets.registry import read_dataset
from usfmae.images.grey import to_grey
from usfmae.images.read import read_frame

HIDDEN = 200
INNOCENT = {
    "busi": "busi",
    "mmotu": "mmotu-2d/OTU_2d/images",
    "fetal-head": "pool/fetal-head",
    "liver": "pool/liver",
    "nerve": "pool/brachial-plexus",
}


def hide(data: Path, folder: Path) -> dict[str, str]:
    """Write the disguised images; returns their disguise by name."""
    items = read_dataset("bus-bra", data / "bus-bra", find_clusters=False).items
    rng = np.random.default_rng(11)
    folder.mkdir()
    names = {}
    for number, index in enumerate(rng.choice(len(items), size=HIDDEN, replace=False)):
        name = list(DISGUISES)[number % len(DISGUISES)]
        grey = to_grey(read_frame(items[index].path).pixels)
        file = folder / f"scan{number:04d}.png"
        cv2.imwrite(str(file), disguised(grey, name, rng))
        names[file.name] = name
    return names


def main() -> None:
    """Print a table for people and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="keep the audit here")
    words = parser.parse_args()
    data = Path(os.environ["USFMAE_DATA"])
    with tempfile.TemporaryDirectory() as temporary:
        tmp = Path(temporary)
        hidden = hide(data, tmp / "hidden")
        sources = [Source("hidden", tmp / "hidden")]
        sources += [Source(name, data / folder) for name, folder in INNOCENT.items()]
        config = BuildConfig(keep_per_cluster=None)
        labelled = [("bus-bra", data / "bus-bra")]
        cores = len(os.sched_getaffinity(0))
        held = build_corpus(sources, out=tmp / "held", config=config, hold_out=labelled, workers=cores)
        left = held.record["left_out"]
        gone = [*left["held_out"]["named"], *left["held_out_near"]["named"]]
        innocent = [entry for entry in gone if entry["source"] != "hidden"]
        missed = sorted(set(hidden) - {entry["path"] for entry in gone if entry["source"] == "hidden"})
        plain = build_corpus(sources, out=tmp / "plain", config=config, workers=cores)
        record = audit_corpus(plain, labelled, out=words.out or tmp / "audit", workers=cores)
        found = {match["path"] for match in record["matches"] if match["source"] == "hidden"}
        accused = {
            (match["source"], match["path"]) for match in record["matches"] if match["source"] != "hidden"
        }
        print(f"{'disguise':28}{'hidden':>8}{'held out':>10}{'in audit':>10}")
        for name in DISGUISES:
            files = {file for file, disguise in hidden.items() if disguise == name}
            print(f"{name:28}{len(files):8}{len(files - set(missed)):10}{len(files & found):10}")
        for entry in innocent:
            print(f"innocent: {entry['source']}/{entry['path']} {entry['why']}")
        figures = {
            "hidden": len(hidden),
            "held_out": len(hidden) - len(missed),
            "found_by_audit": len(found),
            "innocent_in_pool": len(held) + len(innocent),
            "innocent_held_out": len(innocent),
            "innocent_in_audit": len(accused),
            "missed": missed,
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
