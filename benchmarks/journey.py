"""The table of docs/results/journey.md, from the folders that docs/quickstart.md's commands leave.

Run:  python benchmarks/journey.py
"""

import json
from pathlib import Path

from usfmae.evaluate.compare import compare_results

RUN = Path("runs/ti-all")
TASKS = {"bus-bra": "bus", "mmotu-2d": "mmotu"}


def shown(metric: dict[str, float]) -> str:
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"


def main() -> None:
    run = json.loads((RUN / "run.json").read_text())
    corpus = run["corpus"]["sha256"][:12]
    print(f"pretraining: {run['seconds']:.0f} s, {run['peak_memory_gb']:.2f} GB, corpus {corpus}\n")
    print("| task | start | macro-F1 | AUROC | test images / groups | in the pool | seconds | GB |")
    print("|---|---|---|---|---|---|---|---|")
    figures = {}
    for task, short in TASKS.items():
        folders = {start: Path(f"results/{short}-{start}") for start in ("scratch", "pretrained")}
        for start, folder in folders.items():
            r = json.loads((folder / "result.json").read_text())
            seen = r["contamination"].get("test_images_in_pool", 0)
            scores = f"{shown(r['metrics']['macro_f1'])} | {shown(r['metrics']['auroc'])}"
            cost = f"{r['seconds']:.0f} | {r['peak_memory_gb']:.2f}"
            tested = f"{r['num_images']} / {r['num_patients']}"
            print(f"| {task} | {start} | {scores} | {tested} | {seen} | {cost} |")
        gain = compare_results(folders["scratch"], folders["pretrained"])["difference"]
        print(f"| {task} | gain, paired | {shown(gain['macro_f1'])} | {shown(gain['auroc'])} | | | | |")
        figures[task] = {name: gain[name] for name in ("macro_f1", "auroc")}
        for start, folder in folders.items():
            r = json.loads((folder / "result.json").read_text())
            folds = [(fold.get("split") or fold.get("name"), fold["metrics"]) for fold in r["folds"]]
            values = ", ".join(
                f"{n} {m['macro_f1']['value']:.3f}/{m['auroc']['value']:.3f}" for n, m in folds
            )
            print(f"<!-- {task} {start} by split, macro-F1/AUROC: {values} -->")
    print(json.dumps({"benchmark": "journey", "gain": figures}))


if __name__ == "__main__":
    main()
