"""A pretraining run: a corpus in, an encoder out, everything needed to repeat it beside it."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usfmae.base.config import make_config
from usfmae.base.errors import FolderError, SettingError
from usfmae.base.files import claim_folder, read_json, remove_partials, write_json
from usfmae.base.interrupt import Interrupted
from usfmae.base.logs import get_logger
from usfmae.base.record import made_by
from usfmae.base.seeds import seed_for
from usfmae.corpus.shards import Corpus, open_corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.bad_steps import SpikeWatch
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.devices import DeviceName, pick_augment_place, pick_device, pick_precision, set_up_cpu
from usfmae.engine.ema import WeightAverage
from usfmae.engine.loader import step_batches
from usfmae.engine.loop import train
from usfmae.engine.meters import peak_memory_gb
from usfmae.engine.optim import build_optimizer
from usfmae.engine.sampler import steps_in
from usfmae.engine.schedule import make_schedule
from usfmae.engine.utilisation import Utilisation
from usfmae.models.mae import MaskedAutoencoder
from usfmae.models.vit import start_weights
from usfmae.models.weights import WEIGHTS_FILE, WeightsFile, load_into, read_weights, save_encoder
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.page import LivePage, PageWriter
from usfmae.pretrain.step import PretrainBatches, PretrainStep, picture_indices
from usfmae.pretrain.watch import LiveEvaluation, Watch

log = get_logger(__name__)
RUN_FILE = "run.json"
EMA_FILE = "weights_ema.safetensors"


def pretrain(
    config: PretrainConfig,
    corpus_folder: Path,
    out: Path,
    *,
    recipe: str = "custom",
    weights: Path | None = None,
    device: DeviceName = "auto",
    evaluations: Sequence[LiveEvaluation] = (),
    watched: Sequence[str] = (),
    write_page: PageWriter | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Pretrain a masked autoencoder (He et al. 2022; recipe of USF-MAE, Megahed et al. 2025).

    Args:
        config: every setting; `loop.precision` and `augment_on` "auto" are resolved and recorded.
        corpus_folder: made by `usfmae corpus build`.
        out: the run's folder: run.json, metrics.jsonl, pictures/, checkpoints/, weights.safetensors.
        recipe: its name, for the record.
        weights: start from an MAE or ViT file or an earlier run; None for a random start.
        device: where to run.
        evaluations: called on the encoder at every watch interval.
        watched: what the evaluations look at, for the record.
        write_page: draws the run's page from its folder, at every watch interval and at the end.
        resume: go on from the newest checkpoint; settings, corpus and weights must be the same.
        overwrite: delete an earlier run first.

    Returns:
        The content of run.json.

    Raises:
        FolderError: `out` exists, or holds a run with other settings.
        SettingError: the licences of the pool do not allow what `config.demand` names.
        CorpusError, WeightsError, TrainingError, Interrupted: see there.
    """
    started = time.perf_counter()
    set_up_cpu(config.threads)
    where = pick_device(device)
    corpus = open_corpus(corpus_folder)
    if corpus.size_px < max(config.input_spec.size_px):
        log.warning("the corpus has %d px images, enlarged to the network's input", corpus.size_px)
    _refuse_terms(corpus, config)
    spec = config.input_spec.model_copy(update={"fit": corpus.fit, "crop": corpus.crop})
    loop = config.loop.model_copy(update={"precision": pick_precision(config.loop.precision, where)})
    place = pick_augment_place(config.augment_on, where)
    config = config.model_copy(update={"loop": loop, "augment_on": place})
    file = None if weights is None else read_weights(weights)
    inputs = {"corpus": corpus.sha256, **({} if file is None else {"weights": file.sha256})}
    claim_folder(out, marker=RUN_FILE, resume=resume, overwrite=overwrite)
    earlier = _earlier_run(out, config, inputs)
    remove_partials(out)

    total = steps_in(config.epochs, num_images=len(corpus), global_batch=config.global_batch)
    steps_per_epoch = len(corpus) / config.global_batch
    module = MaskedAutoencoder(config.model)
    start_weights(module, torch.Generator().manual_seed(seed_for(config.seed, "start")))
    report = None if file is None else _load_start(module, file, config)
    module.to(where)
    record: dict[str, Any] = {
        "made_by": made_by("pretrain", settings=config, inputs=inputs),
        "status": "running",
        "recipe": recipe,
        "device": str(where),
        "corpus": {"folder": str(corpus_folder), "sha256": corpus.sha256, "num_images": len(corpus)},
        "terms": corpus.terms,
        "weights": None if report is None else {"file": str(weights), "loaded": report},
        "watched": list(watched),
        "verdicts": earlier.get("verdicts", {}),
        "num_parameters": {
            "encoder": count_parameters(module.encoder),
            "decoder": count_parameters(module.decoder),
        },
        "total_steps": total,
        "steps_done": 0,
        "seconds": earlier.get("seconds", 0.0),
        "peak_memory_gb": earlier.get("peak_memory_gb", 0.0),
    }
    if earlier.get("status") == "finished" and (out / WEIGHTS_FILE).exists():
        log.info("%s: is finished already (%d steps)", out, total)
        return earlier
    write_json(out / RUN_FILE, record)

    look = max(1, round(config.watch.every_epochs * steps_per_epoch))
    shown = corpus.read(picture_indices(corpus, config.watch.num_pictures, config.seed))
    watch = Watch(
        module=module,
        images=whole_batch(shown, image_px=spec.image_px),
        input_spec=spec,
        out=out,
        every_steps=look,
        total_steps=total,
        seed=config.seed,
        evaluations=tuple(evaluations),
    )
    page = LivePage(out, out / RUN_FILE, record, look, total, write_page)
    log.info(
        "%s: %d images, %d steps of %d (%.4g epochs), %.1f M parameters, %s on %s",
        recipe, len(corpus), total, config.global_batch, config.epochs,
        sum(record["num_parameters"].values()) / 1e6, config.loop.precision, where,
    )  # fmt: skip
    step, watching = PretrainStep(spec, config), config.watch
    optimizer = build_optimizer(module, config.optim, encoder_prefix="encoder.")
    decay = config.ema.per_step(config.global_batch)
    average = None if decay is None else WeightAverage(optimizer, list(module.encoder.parameters()), decay)
    try:
        train(
            module,
            step,
            _batches(corpus, config, total, pin=where.type == "cuda"),
            out=out,
            config=config.loop,
            optimizer=optimizer,
            schedule=make_schedule(
                config.optim,
                global_batch=config.global_batch,
                steps_per_epoch=steps_per_epoch,
                total_steps=total,
            ),
            clip_norm=config.optim.clip_norm,
            steps_per_epoch=steps_per_epoch,
            seed=config.seed,
            hooks=[*([] if average is None else [average]), watch, page],
            first_look=watch.look,
            title="pretrain",
            utilisation=Utilisation(step, config.loop.precision) if watching.utilisation else None,
            spikes=SpikeWatch(out, config.seed, watching.spike_factor) if watching.spike_factor else None,
        )
        notes = {
            "recipe": recipe,
            "corpus_sha256": corpus.sha256,
            "terms": json.dumps(corpus.terms),
        }
        save_encoder(out / WEIGHTS_FILE, module.encoder, input_spec=spec, notes=notes)
        if average is not None:
            with average.in_place():
                save_encoder(out / EMA_FILE, module.encoder, input_spec=spec, notes=notes)
        record["status"] = "finished"
    except Interrupted:
        record["status"] = "stopped"
        raise
    finally:
        done = find_checkpoints(out)
        record["steps_done"] = done[-1].step if done else 0
        record["seconds"] += time.perf_counter() - started
        record["peak_memory_gb"] = max(record["peak_memory_gb"], peak_memory_gb(where))
        write_json(out / RUN_FILE, record)
        page.draw()
    return record


def count_parameters(module: nn.Module) -> int:
    """Parameters of a network, fixed positions left out."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def load_run_config(run: Path) -> PretrainConfig:
    """The settings of an earlier run, from its run.json, ready to be run again."""
    record = read_json(run / RUN_FILE)
    return make_config(PretrainConfig, record["made_by"]["settings"])


def _refuse_terms(corpus: Corpus, config: PretrainConfig) -> None:
    """Raise if the run demands what a licence of the pool forbids or leaves open."""
    lacking = [term for term in config.demand if not corpus.terms.get(term)]
    if not lacking:
        return
    sources = [
        f"{source['name']} ({source['licence'] or 'not stated'})"
        for source in corpus.record["sources"]
        if not source.get("terms", {}).get(lacking[0])
    ]
    raise SettingError(
        f"{corpus.folder}: the run demands {lacking[0]}, which {len(sources)} of its sources do not allow "
        f"(first: {', '.join(sources[:3])})",
        hint="build a pool without them; usfmae datasets list --licence "
        f"{lacking[0]} names sets that allow it",
    )


def _batches(corpus: Corpus, config: PretrainConfig, total: int, *, pin: bool) -> Callable[[int], Any]:
    make = PretrainBatches(corpus, config)
    return lambda first: step_batches(make, range(first, total), workers=config.workers, pin=pin)


def _load_start(module: MaskedAutoencoder, file: WeightsFile, config: PretrainConfig) -> dict[str, Any]:
    report = load_into(module.encoder, file, decoder=module.decoder, input_spec=config.input_spec)
    if file.config.channels == config.model.encoder.channels and (
        file.input_spec.mean != config.mean or file.input_spec.std != config.std
    ):
        log.warning("%s was trained with another standardisation than this run's", file.path)
    log.info("start: %s", report.summary())
    return {
        "loaded": len(report.loaded),
        "resized": report.resized,
        "dropped": report.dropped,
        "fresh": list(report.fresh),
    }


def _earlier_run(out: Path, config: PretrainConfig, inputs: dict[str, str]) -> dict[str, Any]:
    if not (out / RUN_FILE).exists():
        return {}
    record: dict[str, Any] = read_json(out / RUN_FILE)
    then = make_config(PretrainConfig, record["made_by"]["settings"])  # names newer than the run: defaults
    before, now = then.model_dump(mode="json"), config.model_dump(mode="json")
    ignored = {"workers", "threads"}  # they change the speed, not the result
    changed = [name for name in now if name not in ignored and before.get(name) != now[name]]
    changed += [f"the {name}" for name in {*inputs, *record["made_by"]["inputs"]}
                if record["made_by"]["inputs"].get(name) != inputs.get(name)]  # fmt: skip
    if changed:
        raise FolderError(
            f"{out}: was started with other settings or inputs ({', '.join(sorted(changed))})",
            hint="--resume goes on with exactly the same ones; choose another --out, or --overwrite",
        )
    return record
