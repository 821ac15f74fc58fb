"""Evaluations that leave the encoder as it is: nearest neighbours and a linear classifier on its features."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float64
from pydantic import Field

from usfmae.base.files import read_json, write_by
from usfmae.base.logs import get_logger, progress_bar
from usfmae.base.seeds import seed_for
from usfmae.datasets.splits import Split
from usfmae.engine.devices import DeviceName, PrecisionName, pick_device, set_up_cpu
from usfmae.engine.meters import peak_memory_gb
from usfmae.evaluate.attentive_probe import AttentiveProbeSettings, fit_attentive_probe
from usfmae.evaluate.contamination import PretrainingPool, check_contamination
from usfmae.evaluate.features import FeatureStore, encode_images
from usfmae.evaluate.fold_training import balancing_weights
from usfmae.evaluate.knn import knn_probabilities
from usfmae.evaluate.linear_probe import fit_linear_probe
from usfmae.evaluate.method_config import EncoderUseConfig, heeded_start
from usfmae.evaluate.protocol import Task
from usfmae.evaluate.result import RESULT_FILE, FoldResult, finish_result, fold_predictions, open_result
from usfmae.evaluate.start import Weights

log = get_logger(__name__)

FEATURES_FILE = "test_features.npz"
"""What nearest neighbours saw of the test images, in the order of `predictions.csv`; half precision."""

Features = Float[np.ndarray, "n ..."]
"""One vector per image, or all of its tokens."""

Told = Callable[[Features], Float64[np.ndarray, "n class"]]
"""From the features of some images to their probabilities."""

Judge = Callable[[Features, Split], tuple[Told, dict[str, Any]]]
"""From the features of all images and a split to what tells classes apart there, and facts to report."""


class FrozenConfig(EncoderUseConfig):
    """What all evaluations of a frozen encoder share."""

    precision: PrecisionName = "fp32"
    """Of the encoder."""

    seed: int = Field(default=0, ge=0)
    """Of a random encoder."""


class KnnConfig(FrozenConfig):
    """Nearest neighbours."""

    k: int = Field(default=20, ge=1)
    """Training images that vote."""

    temperature: float = Field(default=0.07, gt=0)
    """Small values let the nearest decide."""


class LinearProbeConfig(FrozenConfig):
    """Logistic regression on standardised features."""

    balanced: bool = False
    """Let every class weigh the same."""


class AttentiveProbeConfig(FrozenConfig):
    """Attention over frozen tokens; `pool` has no part in it."""

    probe: AttentiveProbeSettings = AttentiveProbeSettings()
    """Size and training."""

    balanced: bool = False
    """Let every class weigh the same."""


def evaluate_knn(
    task: Task,
    weights: Weights,
    *,
    out: Path,
    config: KnnConfig,
    device: DeviceName = "auto",
    like: Path | None = None,
    pretraining_pool: PretrainingPool | None = None,
    store: FeatureStore | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Classify the test images by their nearest training images.

    Args:
        task: loaded with `config.task`.
        weights: a file, a run folder, or "scratch".
        out: the result's folder.
        config: neighbours, pooling, intervals.
        device: where the encoder runs.
        like: with "scratch", weights whose shape is taken.
        pretraining_pool: what the encoder was pretrained on, to count test images in it.
        store: features made by earlier evaluations of the same images, and by this one for later ones.
        resume: return the result if it is there, else make it.
        overwrite: delete an earlier result first.

    Returns:
        The content of `result.json`.

    Raises:
        FolderError: the folder exists, or was made with other settings.
        WeightsError: the weights cannot be used.
    """

    def judge(features: Features, split: Split) -> tuple[Told, dict[str, Any]]:
        learnt = task.learnt_from(split)

        def votes(asked: Features) -> Float64[np.ndarray, "n class"]:
            return knn_probabilities(
                features[learnt],
                task.labels[learnt],
                asked,
                num_classes=len(task.classes),
                k=config.k,
                temperature=config.temperature,
            )

        return votes, {}

    job = _Job(task, weights, out, config, device, like, pretraining_pool, store, resume, overwrite)
    return _evaluate("knn", judge, job)


def evaluate_linear_probe(
    task: Task,
    weights: Weights,
    *,
    out: Path,
    config: LinearProbeConfig,
    device: DeviceName = "auto",
    like: Path | None = None,
    pretraining_pool: PretrainingPool | None = None,
    store: FeatureStore | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Classify the test images by a linear classifier on frozen features; arguments as in `evaluate_knn`.

    The penalty is chosen by cross-validation inside the training images, whole groups at a time; the choice
    and its losses stand in `folds` of the result.
    """

    def judge(features: Features, split: Split) -> tuple[Told, dict[str, Any]]:
        learnt = task.learnt_from(split)
        probe = fit_linear_probe(
            features[learnt],
            task.labels[learnt],
            [task.items[index].group for index in learnt.tolist()],
            num_classes=len(task.classes),
            balanced=config.balanced,
            seed=seed_for(config.seed, "split", split.name),
        )
        return probe.probabilities, probe.record()

    job = _Job(task, weights, out, config, device, like, pretraining_pool, store, resume, overwrite)
    return _evaluate("linear-probe", judge, job)


def evaluate_attentive_probe(
    task: Task,
    weights: Weights,
    *,
    out: Path,
    config: AttentiveProbeConfig,
    device: DeviceName = "auto",
    like: Path | None = None,
    pretraining_pool: PretrainingPool | None = None,
    store: FeatureStore | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Classify the test images by a probe that learns where to look; arguments as in `evaluate_knn`."""

    def judge(features: Features, split: Split) -> tuple[Told, dict[str, Any]]:
        learnt = task.learnt_from(split)
        labels = task.labels[learnt]
        probe = fit_attentive_probe(
            features[learnt],
            labels,
            num_classes=len(task.classes),
            settings=config.probe,
            class_weights=balancing_weights(labels, len(task.classes), config.balanced),
            seed=seed_for(config.seed, "split", split.name),
        )
        return probe.probabilities, {"epochs": config.probe.epochs}

    job = _Job(task, weights, out, config, device, like, pretraining_pool, store, resume, overwrite)
    return _evaluate("attentive-probe", judge, job, pool="tokens")


@dataclass(frozen=True, eq=False)
class _Job:
    """The arguments that both evaluations share, as `evaluate_knn` describes them."""

    task: Task
    weights: Weights
    out: Path
    config: FrozenConfig
    device: DeviceName
    like: Path | None
    pretraining_pool: PretrainingPool | None
    store: FeatureStore | None
    resume: bool
    overwrite: bool


def _evaluate(
    method: str, judge: Judge, job: _Job, *, pool: Literal["tokens"] | None = None
) -> dict[str, Any]:
    started = time.perf_counter()
    task, config, where = job.task, job.config, pick_device(job.device)
    set_up_cpu(config.threads)
    start = heeded_start(config, task, job.weights, like=job.like, seed=config.seed)
    record = open_result(
        job.out,
        task,
        stage=f"evaluate {method}",
        settings=config,
        inputs={"weights": start.sha256 or "scratch"},
        facts={"method": method, "encoder": config.encoder, **start.facts},
        resume=job.resume,
        overwrite=job.overwrite,
    )
    if (job.out / RESULT_FILE).exists():
        log.info("%s: is finished already", job.out)
        earlier: dict[str, Any] = read_json(job.out / RESULT_FILE)
        return earlier
    decides = (
        start.sha256 or (config.network.model_dump_json(), config.seed, job.like),
        config.encoder,
        start.input_spec.model_dump_json(),
        pool or config.pool,
        config.precision,
        where,
    )
    features = (job.store or FeatureStore()).get(
        decides,
        task.images,
        lambda: encode_images(
            start.encoder.to(where),
            task.images,
            input_spec=start.input_spec,
            pool=pool or config.pool,
            precision=config.precision,
            title="encode",
        ),
    )
    if method == "knn":
        tested = np.concatenate([split.test for split in task.splits])
        write_by(
            job.out / FEATURES_FILE,
            lambda path: np.savez(path, features=features[tested].astype(np.float16)),
        )
    folds = []
    with progress_bar(method, total=len(task.splits)) as bar:
        for split in task.splits:
            bar.say(split.name)
            told, facts = judge(features, split)
            watched = task.watched(split)
            on_validation = (
                fold_predictions(task, split, told(features[watched]), on_validation=True)
                if len(watched)
                else None
            )
            on_test = fold_predictions(task, split, told(features[split.test]))
            folds.append(FoldResult(split, on_test, on_validation, facts))
            bar.advance()
    return finish_result(
        job.out,
        task,
        folds,
        record=record,
        bootstrap=config.bootstrap,
        facts={
            "seed": config.seed,
            "weights_sha256": start.sha256,
            "image_px": start.input_spec.image_px,
            "contamination": check_contamination(task, start.init, job.pretraining_pool, card=start.card),
            "epochs": None,
            "seconds": time.perf_counter() - started,
            "peak_memory_gb": peak_memory_gb(where),
        },
    )
