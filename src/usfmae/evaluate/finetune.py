"""Fine-tuning: encoder and linear classifier trained together, one network per split.

The number of epochs is fixed beforehand and the last weights are the ones that are tested; neither test nor
validation images choose an epoch. The recipe is that of MAE (He et al. 2022, appendix A.1, table 9) with
milder crops: layer-wise learning rates, label smoothing, stochastic depth.

    results/<name>/folds/<split>/      metrics.jsonl, tensorboard/, checkpoints/ while it is trained;
        classifier.safetensors         the network that was tested
        predictions.csv, fold.json     what it said; there when the split is finished
"""

from pathlib import Path
from typing import Any

import torch

from usfmae.base.files import read_json
from usfmae.base.logs import get_logger
from usfmae.base.seeds import seed_for
from usfmae.datasets.splits import Split
from usfmae.engine.devices import DeviceName, pick_device, set_up_cpu
from usfmae.engine.meters import peak_memory_gb
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.finetune_config import FinetuneConfig
from usfmae.evaluate.fold_folders import fold_facts, fold_folder, gather_metrics, learn_each_split
from usfmae.evaluate.fold_training import class_probabilities, train_on_split
from usfmae.evaluate.method_config import heeded_start, start_of
from usfmae.evaluate.predictions import PREDICTIONS_FILE, VALIDATION_FILE, read_predictions, write_predictions
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.result import RESULT_FILE, FoldResult, finish_result, fold_predictions, open_result
from usfmae.evaluate.start import Weights
from usfmae.models.classifier import Classifier, save_classifier

log = get_logger(__name__)

CLASSIFIER_FILE = "classifier.safetensors"


def finetune(
    task: Task,
    weights: Weights,
    *,
    out: Path,
    config: FinetuneConfig,
    device: DeviceName = "auto",
    like: Path | None = None,
    pretraining_pool: PretrainingPool | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train and test one network per split, and score all test images together.

    A killed run goes on with `resume` from its last checkpoint; finished splits are kept. Several processes
    may work on one folder, each started with `resume`: a split is trained by the one that locks it, and the
    one that ends last writes the result.

    Args:
        task: loaded with `config.task`.
        weights: a file, a run folder, or "scratch".
        out: the result's folder.
        config: the recipe; `finetune_defaults` has one for each start.
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
        TrainingError: the loss is not a finite number; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    where = pick_device(device)
    set_up_cpu(config.threads)
    start = heeded_start(config, task, weights, like=like, seed=config.seed)
    record = open_result(
        out,
        task,
        stage="evaluate finetune",
        settings=config,
        inputs={"weights": start.sha256 or "scratch"},
        facts={"method": "finetune", "encoder": config.encoder, **start.facts},
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
    folds = [_finished(out, split) for split in task.splits]
    gather_metrics(out, task)
    return finish_result(
        out,
        task,
        folds,
        record=record,
        bootstrap=config.bootstrap,
        facts={
            "seed": config.seed,
            "weights_sha256": start.sha256,
            "image_px": start.input_spec.image_px,
            "contamination": check_contamination(task, start.init, pretraining_pool, card=start.card),
            "epochs": config.epochs,
            "seconds": sum(fold.facts["seconds"] for fold in folds),
            "peak_memory_gb": max(fold.facts["peak_memory_gb"] for fold in folds),
        },
    )


def _train_and_test(
    task: Task,
    split: Split,
    weights: Weights,
    like: Path | None,
    folder: Path,
    config: FinetuneConfig,
    where: torch.device,
) -> dict[str, Any]:
    seed = seed_for(config.seed, "split", split.name)
    start = start_of(config, task, weights, like=like, seed=seed, drop_path=config.drop_path)
    generator = torch.Generator().manual_seed(seed_for(seed, "classifier"))
    module = Classifier(
        start.encoder, len(task.classes), pool=config.pool, norm=config.head_norm, generator=generator
    ).to(where)
    done = train_on_split(module, task, split, input_spec=start.input_spec, config=config, out=folder)
    probabilities = class_probabilities(
        module, task.images[split.test], input_spec=start.input_spec, mirror=config.mirror_test
    )
    if len(watched := task.watched(split)):
        seen = class_probabilities(
            module, task.images[watched], input_spec=start.input_spec, mirror=config.mirror_test
        )
        told = fold_predictions(task, split, seen, on_validation=True)
        write_predictions(folder / VALIDATION_FILE, told)
    save_classifier(folder / CLASSIFIER_FILE, module, classes=task.classes, input_spec=start.input_spec)
    write_predictions(folder / PREDICTIONS_FILE, fold_predictions(task, split, probabilities))
    return {
        "steps": done.steps_done,
        "images_per_s": done.images_per_s,
        "peak_memory_gb": peak_memory_gb(where),
    }


def _finished(out: Path, split: Split) -> FoldResult:
    folder = fold_folder(out, split)
    watched = folder / VALIDATION_FILE
    return FoldResult(
        split,
        read_predictions(folder / PREDICTIONS_FILE),
        read_predictions(watched) if watched.exists() else None,
        fold_facts(out, split),
    )
