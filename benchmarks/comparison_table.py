"""The tables of docs/results/benchmarks.md from a comparison's `comparison.json`.

The first has a contender a column: mean over seeds with its interval over patients and seeds, and below the
standard deviation over seeds. The second has the differences of the plan's first encoder, bold where Holm's p
is below .05 and the interval leaves out 0; a star where seeds or splits speak against it.

Run:  python benchmarks/comparison_table.py COMPARISON [--ways finetune 'finetune 10%']
"""

import argparse
import json
from pathlib import Path
from typing import Any

from usfmae.base.files import read_json

METRICS = {"macro_f1": "macro-F1", "auroc": "AUROC"}


def main() -> None:
    """Print both tables, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("comparison", type=Path)
    parser.add_argument("--ways", nargs="+", help="all if not given")
    chosen = parser.parse_args()
    found = read_json(chosen.comparison / "comparison.json")
    entries = [one for one in found["entries"] if not chosen.ways or one["way"] in chosen.ways]
    rivals = [one for one in found["comparisons"] if not chosen.ways or one["way"] in chosen.ways]
    names = list(dict.fromkeys(one["encoder"] for one in entries))
    rows = list(dict.fromkeys((one["task"], one["way"]) for one in entries))
    figures = {}
    print("| set, way | " + " | ".join(names) + " |\n" + "|---" * (1 + len(names)) + "|")
    for task, way in rows:
        for metric, title in METRICS.items():
            cells = []
            for name in names:
                mine = [e for e in entries if (e["task"], e["way"], e["encoder"]) == (task, way, name)]
                cells.append(_number(mine[0], metric) if mine else "")
                if mine:
                    value = mine[0]["metrics"][metric]["value"]
                    figures[f"{task}, {way}, {name}, {metric}"] = round(value, 4)
            print(f"| {task}, {way}, {title} | " + " | ".join(cells) + " |")
    others = list(dict.fromkeys(one["rival"] for one in rivals))
    print(f"\n| {names[0]} less | " + " | ".join(others) + " |\n" + "|---" * (1 + len(others)) + "|")
    for task, way in rows:
        for metric, title in METRICS.items():
            cells = []
            for name in others:
                key = (task, way, name, metric)
                mine = [c for c in rivals if (c["task"], c["way"], c["rival"], c["metric"]) == key]
                cells.append(_difference(mine[0]) if mine else "")
            print(f"| {task}, {way}, {title} | " + " | ".join(cells) + " |")
    print(json.dumps({"benchmark": "comparison_table", **figures}))


def _number(entry: dict[str, Any], metric: str) -> str:
    one, spread = entry["metrics"][metric], entry["sd_over_seeds"][metric]
    beside = "" if spread is None else f", sd {_short(spread)}"
    return f"{_short(one['value'])} ({_short(one['low'])} to {_short(one['high'])}{beside})"


def _difference(one: dict[str, Any]) -> str:
    change = one["difference"]
    low, high, p = change["low"], change["high"], one["p_holm"]
    value = _short(change["value"], signed=True)
    if p is not None and p < 0.05 and (low > 0 or high < 0):
        value = f"**{value}**"
    star = "*" if one["over_seeds"]["doubts"] else ""
    chance = "p ?" if p is None else "p < .001" if p < 0.001 else f"p {_short(p)}"
    return f"{value}{star} ({_short(low)} to {_short(high)}; {chance})"


def _short(value: float, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.3f}".replace("0.", ".", 1)


if __name__ == "__main__":
    main()
