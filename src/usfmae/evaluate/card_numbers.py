"""The numbers of a model card: results and comparisons that were made with its weights and no others."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from usfmae.base.errors import FolderError, WeightsError
from usfmae.base.files import file_sha256, read_json

RESULT_FILE, FINDINGS = "result.json", "comparison.json"
COMPARED = ("macro_f1", "auroc")
"""Metrics whose differences from rivals are shown."""


def card_numbers(folders: Sequence[Path], *, weights: Collection[str]) -> list[dict[str, Any]]:
    """Every metric with its interval and the number of patients, per task and way.

    Args:
        folders: of results (`result.json`) or comparisons (`comparison.json`).
        weights: SHA-256 of the files that count as these weights: in full and in half precision.

    Raises:
        FolderError: a folder holds neither.
        WeightsError: a result was made with other weights, or no contender of a comparison has these.
    """
    found = []
    for folder in folders:
        if (folder / RESULT_FILE).is_file():
            found.append(_result(folder, weights))
        elif (folder / FINDINGS).is_file():
            found += _comparison(folder, weights)
        else:
            raise FolderError(
                f"{folder}: holds neither {RESULT_FILE} nor {FINDINGS}",
                hint="give the --out of usfmae evaluate or usfmae evaluate compare",
            )
    return found


def _result(folder: Path, weights: Collection[str]) -> dict[str, Any]:
    result = read_json(folder / RESULT_FILE)
    if result.get("weights_sha256") not in weights:
        raise WeightsError(
            f"{folder}: was made with other weights ({str(result.get('weights_sha256'))[:12]})",
            hint="give results of this run, or of the file that this command has written",
        )
    return {
        "task": result["task"],
        "way": result["method"],
        "splits": [fold["split"] for fold in result["folds"]],
        "seeds": [result["seed"]],
        "num_images": result["num_images"],
        "num_patients": result["num_patients"],
        "group_kind": result.get("group_kind", "patient"),
        "metrics": _metrics(result["metrics"]),
        "contamination": _contamination([result]),
        "against": [],
        "from": {"file": f"{folder.name}/{RESULT_FILE}", "sha256": file_sha256(folder / RESULT_FILE)},
    }


def _comparison(folder: Path, weights: Collection[str]) -> list[dict[str, Any]]:
    findings = read_json(folder / FINDINGS)
    found = []
    for entry in findings["entries"]:
        cells = _cells(folder, entry)
        if not cells or any(cell.get("weights_sha256") not in weights for cell in cells):
            continue
        found.append(
            {
                "task": entry["task"],
                "way": entry["way"],
                "splits": sorted({cell["split"]["name"] for cell in cells}),
                "seeds": entry["seeds"],
                "num_images": entry["num_images"],
                "num_patients": entry["num_patients"],
                "group_kind": cells[0].get("group_kind", "patient"),
                "metrics": _metrics(entry["metrics"]),
                "contamination": _contamination(cells),
                "against": _against(findings["comparisons"], entry),
                "from": {"file": f"{folder.name}/{FINDINGS}", "sha256": file_sha256(folder / FINDINGS)},
            }
        )
    if not found:
        raise WeightsError(
            f"{folder}: none of its contenders has these weights",
            hint="a plan names them with weights: RUN, or by the file that this command has written",
        )
    return found


def _cells(folder: Path, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results behind an entry, in the folders that `plan.Cell` names."""
    task, encoder, way = (
        str(entry[name]).replace(" ", "-").replace("%", "pc") for name in ("task", "encoder", "way")
    )
    files = sorted(folder.glob(f"cells/{task}/*/{encoder}/{way}/seed-*/{RESULT_FILE}"))
    return [read_json(file) for file in files]


def _metrics(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {key: one[key] for key in ("value", "low", "high")}
        for name, one in metrics.items()
        if one.get("value") is not None
    }


def _contamination(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Test images that are in the pool, over all splits; unchecked where one split was not, and without a
    number of near-duplicates where they were not looked for."""
    by_split = {result["split"]["name"]: result.get("contamination") or {} for result in results}
    unchecked = [found for found in by_split.values() if not found.get("checked")]
    if unchecked:
        return {"checked": False, "why": unchecked[0].get("why", "the record says nothing about it")}
    names = ("test_images_in_pool", "near_duplicates_in_pool", "of")
    counts = {name: [found.get(name, 0) for found in by_split.values()] for name in names}
    return {"checked": True} | {name: None if None in part else sum(part) for name, part in counts.items()}


def _against(comparisons: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was compared with it: these weights minus the rival."""
    found = []
    for one in comparisons:
        here = (one["task"], one["way"]) == (entry["task"], entry["way"]) and one["metric"] in COMPARED
        if not here or entry["encoder"] not in (one["first"], one["rival"]):
            continue
        first = one["first"] == entry["encoder"]
        change = {name: one["difference"][name] for name in ("value", "low", "high")}
        if not first:
            change = {
                name: None if change[other] is None else -change[other]
                for name, other in (("value", "value"), ("low", "high"), ("high", "low"))
            }
        rival = one["rival"] if first else one["first"]
        found.append(
            {"rival": rival, "metric": one["metric"], "difference": change, "p_holm": one.get("p_holm")}
        )
    return found
