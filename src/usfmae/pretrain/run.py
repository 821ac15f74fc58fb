"""A pretraining run: a corpus in, an encoder out, everything needed to repeat it beside it."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from usfmae.base.errors import SettingError
from usfmae.base.files import remove_partials, write_json
from usfmae.base.launch import launched
from usfmae.base.logs import get_logger
from usfmae.base.record import made_by
from usfmae.base.seeds import seed_for
from usfmae.corpus.checksums import check_shards
from usfmae.corpus.shards import Corpus, joint_terms, open_corpus
from usfmae.engine.augment import whole_batch
from usfmae.engine.bad_steps import SpikeWatch
from usfmae.engine.devices import DeviceName, pick_augment_place, pick_device, pick_precision, set_up_cpu
from usfmae.engine.ema import WeightAverage
from usfmae.engine.loader import step_batches
from usfmae.engine.looks import Looks
from usfmae.engine.loop import train
from usfmae.engine.memory import explain_no_room
from usfmae.engine.optim import build_optimizer
from usfmae.engine.parallel import shard, whole_on_first
from usfmae.engine.ranks import ALONE, Ranks, join_ranks
from usfmae.engine.sampler import steps_in
from usfmae.engine.schedule import make_schedule
from usfmae.engine.utilisation import Utilisation
from usfmae.models.masked_models import build_masked, start_masked
from usfmae.models.weights import WEIGHTS_FILE
from usfmae.pretrain.adaptation import Adaptation, draw_sample
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.context import check_partners
from usfmae.pretrain.final_weights import FinalWeights, saying_what_is_done
from usfmae.pretrain.page import LivePage, PageWriter
from usfmae.pretrain.replay import hold_out, open_old
from usfmae.pretrain.resume import earlier_run
from usfmae.pretrain.run_folder import RUN_FILE, claimed_run, kept_record, steps_done
from usfmae.pretrain.start import Start, all_pools, pools_seen, read_start
from usfmae.pretrain.step import PretrainBatches, PretrainStep, picture_indices
from usfmae.pretrain.teaching import Teaching, open_teaching
from usfmae.pretrain.watch import LiveEvaluation, Look, Pictures, Scores, Watch
from usfmae.pretrain.whole_moments import whole_moments

log = get_logger(__name__)


def pretrain(
    config: PretrainConfig,
    corpus_folder: Path,
    out: Path,
    *,
    recipe: str = "custom",
    weights: Path | Literal["imagenet"] | None = None,
    device: DeviceName = "auto",
    evaluations: Sequence[LiveEvaluation] = (),
    watched: Sequence[str] = (),
    write_page: PageWriter | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Pretrain a masked autoencoder (He et al. 2022; recipe of USF-MAE, Megahed et al. 2025).

    Under torchrun every process calls this; together they do what one would do alone.

    Args:
        config: every setting; `loop.precision` and `augment_on` "auto" are resolved and recorded.
        corpus_folder: made by `usfmae corpus build`; the new pool where `config.replay` names an old one.
        out: the run's folder: run.json, metrics.jsonl, pictures/, checkpoints/, weights.safetensors.
        recipe: its name, for the record.
        weights: start from an MAE or ViT file, for a convolutional network from published weights, or from an
            earlier run of the same kind; "imagenet" for those of a convolutional network that are on this
            machine; None for a random start.
        device: where to run.
        evaluations: called on the encoder at every watch interval.
        watched: what the evaluations look at, for the record.
        write_page: draws the run's page from its folder, at every watch interval and at the end.
        resume: go on from the newest checkpoint; settings, corpus and weights must be the same, but for those
            settings that change no result (`resume.HARMLESS`) or only its rounding.
        overwrite: delete an earlier run first.

    Returns:
        The content of run.json.

    Raises:
        FolderError: `out` exists, holds a run with other settings, or another run is writing there.
        SettingError: the licences of the pool do not allow what `config.demand` names.
        CorpusError, WeightsError, TrainingError, Interrupted: see there.
    """
    set_up_cpu(config.threads)
    where = pick_device(device)
    corpus = open_corpus(corpus_folder)
    if corpus.size_px < max(config.input_spec.size_px):
        log.warning("the corpus has %d px images, enlarged to the network's input", corpus.size_px)
    old = open_old(config.replay, corpus)
    pools = [corpus] if old is None else [corpus, old]
    if old is not None and weights is None:
        log.warning("replay.corpus without --weights: a random network has learnt nothing to forget")
    measured = corpus
    if config.replay.hold_out_ratio:
        corpus, measured = hold_out(corpus, config.replay.hold_out_ratio, seed=config.seed)
    for pool in pools:
        _refuse_terms(pool, config)
    if config.model.agreement.kind in ("clip", "patient"):
        check_partners(corpus, config.model.agreement.kind)
    loop = config.loop.model_copy(update={"precision": pick_precision(config.loop.precision, where)})
    place = pick_augment_place(config.augment_on, where)
    config = config.model_copy(update={"loop": loop, "augment_on": place})
    teaching = open_teaching(config)
    config = teaching.config
    start = None if weights is None else read_start(weights, config)
    if start is None and config.model.kind == "sparse-cnn":
        log.warning("the network starts at random; its recipes are meant for --weights imagenet")
    inputs = {"corpus": corpus.sha256, **({} if start is None else start.inputs), **teaching.inputs}
    inputs |= {} if old is None else {"replay": old.sha256}
    new_facts = _pool_facts(corpus)
    old_facts = None if old is None else {**_pool_facts(old), "images_per_batch": config.num_old}
    before = (*(() if start is None else start.pools), *teaching.pools)
    with join_ranks(where, config.loop.parallel) as ranks, ExitStack() as held:
        # torchrun started all processes anew after one died; only the machine of that one counts it.
        again = ranks.anyone(launched().restarts > 0)
        read = {"--corpus": corpus_folder, **({"--weights": weights} if isinstance(weights, Path) else {})}
        read |= teaching.reads | ({} if old is None else {"replay.corpus": old.folder})
        claimed = claimed_run(
            out, read, resume=resume, overwrite=overwrite, restarted=launched() if again else None
        )
        ranks.first(lambda: held.enter_context(claimed))
        earlier = ranks.first(lambda: earlier_run(out / RUN_FILE, config, inputs, ranks))
        if earlier.get("status") == "finished" and (out / WEIGHTS_FILE).exists():
            log.info("%s: is finished already (%d steps)", out, earlier["total_steps"])
            return earlier
        ranks.first(lambda: [check_shards(pool) for pool in pools])
        ranks.first(lambda: remove_partials(out))
        record = {
            "made_by": made_by("pretrain", settings=config, inputs=inputs),
            "launch": launched().id,
            "status": "running",
            "recipe": recipe,
            "device": str(where),
            "ranks": {"world": ranks.world, "parallel": ranks.parallel},
            "corpus": new_facts,
            "replay": old_facts,
            "pools_seen": all_pools([*pools_seen({"corpus": new_facts, "replay": old_facts}), *before]),
            "terms": joint_terms(pools),
            "teacher": teaching.facts,
            "watched": list(watched),
            "verdicts": earlier.get("verdicts", {}),
            "steps_done": steps_done(out),
            "seconds": earlier.get("seconds", 0.0),
            "peak_memory_gb": earlier.get("peak_memory_gb", 0.0),
        }
        shown = (corpus, old, measured)
        shown_by = (tuple(evaluations), write_page)
        return _pretrain(config, shown, out, record, ranks, where, start, teaching, shown_by)


def _pretrain(
    config: PretrainConfig,
    pools: tuple[Corpus, Corpus | None, Corpus],
    out: Path,
    record: dict[str, Any],
    ranks: Ranks,
    where: torch.device,
    start: Start | None,
    teaching: Teaching,
    shown_by: tuple[tuple[LiveEvaluation, ...], PageWriter | None],
) -> dict[str, Any]:
    """Every rank calls this with the folder claimed; completes and writes `record`.

    `pools` are what is trained on, what is replayed, and what of the first pool is measured.
    """
    corpus, old, measured = pools
    evaluations, write_page = shown_by
    spec = config.input_spec.model_copy(update={"fit": corpus.fit, "crop": corpus.crop})
    total = steps_in(config.epochs, num_images=len(corpus), global_batch=config.num_new)
    steps_per_epoch = len(corpus) / config.num_new
    if steps_per_epoch < 1:
        log.warning(
            "%s: has %d images to train on, fewer than the %d of a batch: batches hold some more than once",
            corpus.folder, len(corpus), config.num_new,
        )  # fmt: skip
    with explain_no_room("the network", hint="choose a smaller model.encoder.size"):
        module = build_masked(config.model)
        start_masked(module, torch.Generator().manual_seed(seed_for(config.seed, "start")))
        taken = None if start is None else start.load_into(module, config)
        module.to(where)
    whole = whole_on_first(module, ranks)
    shard(module, ranks)
    record |= {
        "weights": taken,
        "input_spec": spec.model_dump(mode="json"),
        "num_parameters": {
            "encoder": count_parameters(module.encoder),
            "decoder": count_parameters(module.decoder),
            **({} if module.projector is None else {"projector": count_parameters(module.projector)}),
        },
        "total_steps": total,
    }
    ranks.first(lambda: write_json(out / RUN_FILE, record))

    looks = Looks.every(config.watch.every_epochs, steps_per_epoch=steps_per_epoch, total_steps=total)
    shown = corpus.read(picture_indices(corpus, config.watch.num_pictures, config.seed))
    pictures = Pictures(whole_batch(shown, image_px=spec.image_px), spec, out, config.seed)
    moments = whole_moments(corpus, config.model.moment_images, spec, seed=config.seed)
    parts: list[Look] = [pictures, Scores(evaluations, spec, moments)]
    adaptation = None
    if old is not None:
        samples = {
            name: draw_sample(pool, image_px=spec.image_px, seed=config.seed)
            for name, pool in (("new", measured), ("old", old))
        }
        adaptation = Adaptation(
            samples=samples,
            held_out=measured is not corpus,
            input_spec=spec,
            out=out,
            total_steps=total,
            seed=config.seed,
        )
        parts.append(adaptation)
    watch = Watch(whole, looks, tuple(parts), ranks.leads)
    page = LivePage(out, out / RUN_FILE, record, looks, write_page)
    log.info(
        "%s: %d images, %d steps of %d (%.4g epochs), %.1f M parameters, %s on %s%s",
        record["recipe"], len(corpus), total, config.global_batch, config.epochs,
        sum(record["num_parameters"].values()) / 1e6, config.loop.precision, where,
        f", {ranks.world} processes ({ranks.parallel})" if ranks.world > 1 else "",
    )  # fmt: skip
    spikes = SpikeWatch(out, config.seed, config.watch.spike_factor or math.inf)
    optimizer = build_optimizer(
        module, config.optim, layer_of=module.encoder.layer_of, encoder_prefix="encoder."
    )
    teacher, its_averages = teaching.begin(module.encoder, optimizer, spec)
    step = PretrainStep(spec, config, ranks, teacher)
    utilisation = Utilisation(replace(step, ranks=ALONE), config.loop.precision, num_devices=ranks.world)
    decay = config.ema.per_step(config.global_batch)
    average = None if decay is None else WeightAverage(optimizer, list(module.encoder.parameters()), decay)
    notes = {
        "recipe": record["recipe"],
        "corpus_sha256": corpus.sha256,
        **({} if old is None else {"replay_sha256": old.sha256}),
        "terms": json.dumps(record["terms"]),
        **({} if start is None else start.notes),
        **teaching.notes,
    }
    final = FinalWeights(out, whole, ranks, spec, notes, total, moments, average)
    with kept_record(out, record, where, page if ranks.leads else None):
        with saying_what_is_done(final):
            train(
                module,
                step,
                _batches(
                    corpus, old, config, total, rows=ranks.rows(config.global_batch), pin=where.type == "cuda"
                ),
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
                hooks=[
                    *its_averages,
                    *([] if average is None else [average]),
                    final,
                    watch,
                    *([page] if ranks.leads else []),
                ],
                first_look=watch.look,
                title="pretrain",
                utilisation=utilisation if config.watch.utilisation else None,
                spikes=spikes if ranks.leads and config.watch.spike_factor else None,
                ranks=ranks,
                global_batch=config.global_batch,
            )
        final(total)
        if adaptation is not None and ranks.leads:
            record["adaptation"] = adaptation.record()
    return record


def count_parameters(module: nn.Module) -> int:
    """Parameters of a network, fixed positions left out."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


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


def _pool_facts(corpus: Corpus) -> dict[str, Any]:
    return {"folder": str(corpus.folder), "sha256": corpus.sha256, "num_images": len(corpus)}


def _batches(
    corpus: Corpus, old: Corpus | None, config: PretrainConfig, total: int, *, rows: slice, pin: bool
) -> Callable[[int], Any]:
    make = PretrainBatches(corpus, config, rows, old)
    return lambda first: step_batches(make, range(first, total), workers=config.workers, pin=pin)
