"""Segmentation: encoder and a light decoder trained together, one network per split, scored as stored.

The number of epochs is fixed beforehand and the last weights are tested, as in fine-tuning. What the network
says of its square input is laid back over the stored picture and scored there against the stored label map:
results at any input size compare, and distances can be in millimetres.

Instances are the connected parts of the semantic map (`instances.py`) rather than queries of a Mask2Former
(Cheng et al. 2022): the sets here show one lesion or organ per image nearly without exception, and a set
predictor with its matching wants more images and epochs than they have. Boxes are those around the masks.

    results/<name>/folds/<split>/      metrics.jsonl, tensorboard/, checkpoints/ while it is trained;
        segmenter.safetensors          the network that was tested
        overlaps.csv, truth.json, detections.json, label_maps/<image>.png, fold.json
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from usfmae.base.files import read_json, write_bytes, write_json
from usfmae.base.input_spec import InputSpec
from usfmae.base.logs import get_logger
from usfmae.base.seeds import seed_for
from usfmae.datasets.splits import Split
from usfmae.engine.devices import DeviceName, pick_device, set_up_cpu
from usfmae.engine.meters import peak_memory_gb
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.fold_folders import fold_facts, fold_folder, gather_metrics, learn_each_split
from usfmae.evaluate.instances import Instance, find_instances, true_instances
from usfmae.evaluate.overlap import overlaps
from usfmae.evaluate.result import RESULT_FILE, RUN_FILE, open_result, result_notes, split_record
from usfmae.evaluate.segment_config import SegmentConfig
from usfmae.evaluate.segment_scores import (
    SegmentScores,
    pooled_scores,
    read_scores,
    segment_metrics,
    write_scores,
)
from usfmae.evaluate.segment_task import SegmentTask
from usfmae.evaluate.segment_training import stored_probabilities, train_segmenter
from usfmae.evaluate.start import Weights, heed_licence, open_start, warn_of_other_showing
from usfmae.evaluate.stated import statement
from usfmae.models.segmenter import Segmenter, ViTFeatures
from usfmae.models.segmenter_file import save_segmenter
from usfmae.models.vit import VisionTransformer

log = get_logger(__name__)

SEGMENTER_FILE = "segmenter.safetensors"
LABEL_MAPS_FOLDER = "label_maps"


def segment(
    task: SegmentTask,
    weights: Weights,
    *,
    out: Path,
    config: SegmentConfig,
    device: DeviceName = "auto",
    like: Path | None = None,
    pretraining_pool: PretrainingPool | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train and test one network per split, and score all test images together.

    Resuming and sharing of splits among processes are those of `finetune`.

    Args:
        task: loaded with `config.task`.
        weights: a file, a run folder, or "scratch".
        out: the result's folder.
        config: the recipe; `scratch_segment_config()` for a random start.
        device: where the network is trained.
        like: with "scratch", weights whose shape and input are taken instead of `config.network`.
        pretraining_pool: what the encoder was pretrained on, to count test images in it.
        resume: go on with what is in `out`.
        overwrite: delete an earlier result first.

    Returns:
        The content of `result.json`; or, while another process is still training splits, the record of
        `run.json`, with status "running" and the missing splits under `waiting_for`.

    Raises:
        FolderError: the folder exists, or was started with other settings.
        WeightsError: the weights cannot be used.
        SettingError: the licence of the weights does not allow the use named.
        TrainingError: the loss is not a finite number; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    where = pick_device(device)
    set_up_cpu(config.threads)
    start = open_start(
        weights,
        network=config.network,
        like=like,
        image_px=config.image_px,
        fit=task.config.fit,
        crop=task.config.crop,
        seed=config.seed,
    )
    warn_of_other_showing(start, fit=task.config.fit, crop=task.config.crop)
    heed_licence(start, encoder="vit", use=config.use)
    record = open_result(
        out,
        task,
        stage="evaluate segment",
        settings=config,
        inputs={"weights": start.sha256 or "scratch"},
        facts={"method": "segment", **start.facts},
        resume=resume,
        overwrite=overwrite,
    )
    if (out / RESULT_FILE).exists():
        log.info("%s: is finished already", out)
        earlier: dict[str, Any] = read_json(out / RESULT_FILE)
        return earlier
    missing = learn_each_split(
        out,
        task,
        record=record,
        learn=lambda split, folder: _train_and_test(task, split, weights, like, folder, config, where),
    )
    if missing:
        return {**record, "waiting_for": missing}
    gather_metrics(out, task)
    facts = [fold_facts(out, split) for split in task.splits]
    return _finish(
        out,
        task,
        record=record,
        config=config,
        facts={
            "seed": config.seed,
            "weights_sha256": start.sha256,
            "contamination": check_contamination(task, start.init, pretraining_pool, card=start.card),
            "epochs": config.epochs,
            "seconds": sum(fold["seconds"] for fold in facts),
            "peak_memory_gb": max(fold["peak_memory_gb"] for fold in facts),
        },
    )


def predicted_label_map(out: Path, split_name: str, name: str) -> Path:
    """Where the predicted label map of a test image lies, as a PNG of labels at its own size."""
    return out / "folds" / split_name / LABEL_MAPS_FOLDER / f"{name}.png"


def _train_and_test(
    task: SegmentTask,
    split: Split,
    weights: Weights,
    like: Path | None,
    folder: Path,
    config: SegmentConfig,
    where: torch.device,
) -> dict[str, Any]:
    seed = seed_for(config.seed, "split", split.name)
    start = open_start(
        weights,
        network=config.network,
        like=like,
        image_px=config.image_px,
        drop_path=config.drop_path,
        fit=task.config.fit,
        crop=task.config.crop,
        seed=seed,
    )
    spec = start.input_spec
    generator = torch.Generator().manual_seed(seed_for(seed, "decoder"))
    assert isinstance(start.encoder, VisionTransformer)
    encoder = ViTFeatures(start.encoder)
    module = Segmenter(encoder, len(task.structures) + 1, channels=spec.channels, generator=generator)
    module = module.to(where)
    done = train_segmenter(module, task, split, input_spec=spec, config=config, out=folder)
    save_segmenter(folder / SEGMENTER_FILE, module, structures=task.structures, input_spec=spec)
    _test(module, task, split, folder, input_spec=spec, config=config)
    return {
        "steps": done.steps_done,
        "images_per_s": done.images_per_s,
        "peak_memory_gb": peak_memory_gb(where),
        "num_decoder_parameters": module.num_decoder_parameters,
    }


def _test(
    module: Segmenter,
    task: SegmentTask,
    split: Split,
    folder: Path,
    *,
    input_spec: InputSpec,
    config: SegmentConfig,
) -> None:
    """Score the test images at their stored size; writes the folder's tables and label maps."""
    tested = split.test.tolist()
    num_structures = len(task.structures)
    values, areas, sizes = [], [], []
    truths: list[tuple[Instance, ...]] = []
    found: list[tuple[Instance, ...]] = []
    said = stored_probabilities(module, task, split.test, input_spec=input_spec, mirror=config.mirror_test)
    for index, probabilities in zip(tested, said, strict=True):
        stored = task.stored[index]
        assert stored is not None, "unreadable images are on no side"
        truth, predicted = task.truth(index), probabilities.argmax(axis=0).astype(np.uint8)
        spacing = stored.spacing_mm if task.unit == "mm" and stored.spacing_mm else (1.0, 1.0)
        values.append(overlaps(truth, predicted, num_structures=num_structures, spacing=spacing))
        areas.append([_areas(truth, num_structures), _areas(predicted, num_structures)])
        truths.append(tuple(true_instances(truth)))
        found.append(tuple(find_instances(probabilities, min_area_ratio=config.min_area_ratio)))
        sizes.append(stored.size)
        path = folder / LABEL_MAPS_FOLDER / f"{task.items[index].name}.png"
        done, code = cv2.imencode(".png", predicted)
        assert done
        write_bytes(path, code.tobytes())
    scores = SegmentScores(
        structures=task.structures,
        unit=task.unit,
        paths=tuple(task.items[index].name for index in tested),
        groups=tuple(task.items[index].group for index in tested),
        folds=(split.name,) * len(tested),
        overlaps=np.stack(values),
        areas_px=np.array(areas, dtype=np.int64).transpose(0, 2, 1),
        truth=tuple(truths),
        found=tuple(found),
    )
    write_scores(folder, scores, sizes)


def _finish(
    out: Path, task: SegmentTask, *, record: dict[str, Any], config: SegmentConfig, facts: dict[str, Any]
) -> dict[str, Any]:
    """Score the pooled test images and write `result.json` and what it was made from."""
    read = [read_scores(fold_folder(out, split)) for split in task.splits]
    scores = pooled_scores([fold for fold, _ in read])
    metrics, by_structure = segment_metrics(scores, config=config.bootstrap)
    result = {
        **{name: value for name, value in record.items() if name != "status"},
        "structures": list(task.structures),
        "hd95_unit": task.unit,
        "split": split_record(task),
        "stated": statement(task, main_metric="dice"),
        "metrics": {name: interval.record() for name, interval in metrics.items()},
        "by_structure": {
            structure: {name: interval.record() for name, interval in each.items()}
            for structure, each in by_structure.items()
        },
        "num_images": len(scores),
        "num_patients": len(set(scores.groups)),
        "num_instances": sum(map(len, scores.truth)),
        "group_kind": task.group_kind,
        **_without_leaks(scores, task, config),
        "folds": [
            {
                "split": split.name,
                "sha256": split.sha256(task.items),
                "num_train": len(task.learnt_from(split)),
                "num_val": len(task.watched(split)),
                "num_test": len(split.test),
                "metrics": _records(fold, config),
                **fold_facts(out, split),
            }
            for split, (fold, _) in zip(task.splits, read, strict=True)
        ],
        "bootstrap": {**config.bootstrap.model_dump(), "over": task.group_kind},
        "notes": result_notes(task),
        **facts,
    }
    write_scores(out, scores, [size for _, sizes in read for size in sizes])
    write_json(out / RESULT_FILE, result)
    write_json(out / RUN_FILE, {**record, "status": "finished"})
    return result


def _without_leaks(scores: SegmentScores, task: SegmentTask, config: SegmentConfig) -> dict[str, Any]:
    """The metrics without test images that the official lists part from a near-duplicate."""
    leaks = {task.items[index].name for split in task.splits for index in split.known_leaks.tolist()}
    clean = [row for row, path in enumerate(scores.paths) if path not in leaks]
    if len(clean) == len(scores):
        return {}
    return {
        "metrics_without_near_duplicates": _records(scores.rows(clean), config),
        "num_near_duplicates": len(scores) - len(clean),
    }


def _records(scores: SegmentScores, config: SegmentConfig) -> dict[str, Any]:
    metrics, _ = segment_metrics(scores, config=config.bootstrap)
    return {name: interval.record() for name, interval in metrics.items()}


def _areas(labels: UInt8[np.ndarray, "height width"], num_structures: int) -> list[int]:
    counted: list[int] = np.bincount(labels.ravel(), minlength=num_structures + 1)[1:].tolist()
    return counted
