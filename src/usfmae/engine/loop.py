"""One plain loop for every network: batches in, steps out, checkpoints on the way."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import torch
from pydantic import Field
from torch import Tensor, nn

from usfmae.base.config import Config
from usfmae.base.errors import FolderError, TrainingError
from usfmae.base.interrupt import Interrupted
from usfmae.base.logs import get_logger, progress_bar
from usfmae.base.seeds import seed_for
from usfmae.engine.bad_steps import LOOKED_AT_ONCE, BadSteps, OnBadStep, SpikeWatch, Unseen, too_many
from usfmae.engine.checkpoint import find_checkpoints, load_checkpoint
from usfmae.engine.compiling import CompileName, compiling
from usfmae.engine.devices import PrecisionName, autocast, pick_precision
from usfmae.engine.loss_parts import TOTAL, StepLoss, mean_parts, named, total_of
from usfmae.engine.memory import explain_lost_worker, explain_out_of_memory
from usfmae.engine.meters import RateMeter, peak_memory_gb
from usfmae.engine.metrics_log import MetricsLog, NoMetrics
from usfmae.engine.parallel import gradients_kept_back, in_step, recomputing, whole
from usfmae.engine.ranks import ALONE, ParallelName, Ranks
from usfmae.engine.saving import saving
from usfmae.engine.schedule import Schedule
from usfmae.engine.stopping import stop_on_signal
from usfmae.engine.utilisation import Utilisation

log = get_logger(__name__)

Batch = tuple[Tensor, ...]
"""Tensors with one row per image."""


StepFunction = Callable[[nn.Module, Batch], StepLoss]
"""What one step computes."""

Hook = Callable[[int], Sequence[dict[str, object]]]
"""Called after every step with the number of steps done; returns lines for the metrics log."""


class LoopConfig(Config):
    """How a run is stepped, whatever the network."""

    precision: PrecisionName = "auto"
    """bf16 (autocast), fp32, or auto: bf16 where the hardware multiplies it natively."""

    accumulate: int = Field(default=1, ge=1)
    """Parts into which a batch is cut when it does not fit into memory; the result is that of the whole."""

    activation_checkpointing: bool = False
    """Keep only the inputs of blocks and compute the rest again: less memory, a third slower, same result."""

    compile: CompileName = "off"
    """blocks: make fused code for the network's blocks at the start (half a minute, needs a C++ compiler);
    graphs: replay it as CUDA graphs, for small networks on a GPU. The same result up to rounding."""

    parallel: ParallelName = "ddp"
    """Under torchrun: ddp, each process holds the whole network; fsdp, a share of every tensor."""

    checkpoint_steps: int = Field(default=500, ge=1)
    """Steps between checkpoints; one more is written at the end."""

    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest to keep."""

    async_checkpoints: bool = True
    """Train on while a thread writes a checkpoint from a copy in host memory: weights and Adam's averages
    once more, 12 bytes a parameter (16 with `ema`). With fsdp, or no room for the copy, training waits."""

    log_steps: int = Field(default=10, ge=1)
    """Steps between lines in metrics.jsonl."""

    on_bad_step: OnBadStep = "stop"
    """When loss or gradient is not a finite number: stop, or skip, which leaves the update out and goes on.
    To skip, a GPU is asked after every step, which costs some of its speed."""

    max_bad_in_row: int = Field(default=5, ge=0)
    """Bad steps that may follow each other with skip; one more stops the run."""

    def model_post_init(self, _context: object) -> None:
        if self.compile != "graphs":
            return
        other = "compile=graphs cannot be used with {}; compile=blocks can"
        # Fails on replay: pytorch/pytorch issue 154306, still open.
        if self.activation_checkpointing:
            raise ValueError(other.format("activation_checkpointing"))
        # Weights are gathered into other memory each time, where graphs find none.
        if self.parallel == "fsdp":
            raise ValueError(other.format("parallel=fsdp"))


@dataclass(frozen=True)
class LoopResult:
    """How a run of the loop ended."""

    steps_done: int
    """Steps counted from the very beginning."""

    seconds: float
    """Of this call only."""

    images_per_s: float
    """Mean of this call."""

    peak_memory_gb: float
    """Largest so far."""


def train(
    module: nn.Module,
    step_function: StepFunction,
    batches_from: Callable[[int], Iterable[Batch]],
    *,
    out: Path,
    config: LoopConfig,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    clip_norm: float | None,
    steps_per_epoch: float,
    seed: int,
    hooks: Sequence[Hook] = (),
    first_look: Hook | None = None,
    title: str = "train",
    utilisation: Utilisation | None = None,
    spikes: SpikeWatch | None = None,
    ranks: Ranks = ALONE,
    global_batch: int | None = None,
) -> LoopResult:
    """Step `module` from the newest checkpoint in `out` (or from the start) to `schedule.total_steps`.

    A step is a pure function of the weights, the batch and (seed, step): drop path and the like draw from
    a generator that is set anew for each step (and rank). On one CPU set-up a resumed run therefore ends on
    the same bits as an undisturbed one. Several ranks call this together, each with its rows of every batch,
    and get what one process would get on all rows, up to rounding (and to what drop path draws).

    Args:
        module: any network, already on its device; with fsdp already sharded.
        step_function: loss of a batch.
        batches_from: called with the first step wanted, gives the batches from there on.
        out: the run's folder: checkpoints/, metrics.jsonl, tensorboard/.
        config: precision, accumulation, checkpoints, logging.
        optimizer: its groups may carry `lr_scale`.
        schedule: learning rate per step and the number of steps.
        clip_norm: largest gradient norm or None.
        steps_per_epoch: to write epochs beside steps.
        seed: the run's seed.
        hooks: called after each step, for pictures and live evaluation.
        first_look: called once with 0 before the first step of a run that does not resume.
        title: text left of the progress bar.
        utilisation: logs the share of the device's matmul rate that the run gets; None for not.
        spikes: keeps batches whose loss jumps; None for not. Of several ranks only the first needs it.
        ranks: the processes that train together.
        global_batch: rows of a batch over all ranks; needed where there are several.

    Raises:
        TrainingError: the loss or a gradient is not a finite number (with `on_bad_step` skip, too often in a
            row); the checkpoint before stays, and the batch is kept in `out/bad_batch.safetensors`. Memory
            ran out. Another rank died, or does not see the checkpoint to go on from.
        FolderError: the disk is full at the last checkpoint; at earlier ones that is a warning.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written first.
    """
    device = next(module.parameters()).device
    precision = pick_precision(config.precision, device)
    done = ranks.first(lambda: find_checkpoints(out))
    if ranks.anyone(bool(done) and not done[-1].path.is_dir()):
        raise TrainingError(
            f"{done[-1].path}: is not there for all processes of this run",
            hint="--out must be on a disk that all machines share",
        )
    step = done[-1].step if done else 0
    if done:
        load_checkpoint(done[-1], module=module, optimizer=optimizer, ranks=ranks)
        log.info("going on at step %d of %d", step, schedule.total_steps)
    total, first = schedule.total_steps, step
    stepped = in_step(module, ranks)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    metrics = MetricsLog(out, step=step) if ranks.leads else NoMetrics()
    meter, start = RateMeter(), time.perf_counter()
    images = 0
    losses: list[dict[str, Tensor]] = []
    taken: list[int] = []
    bad_steps, unseen = BadSteps(config.on_bad_step, config.max_bad_in_row), Unseen()
    due = False
    rank_of_seed = (ranks.rank,) if ranks.rank else ()

    def log_watch(hook: Hook) -> None:
        try:
            for line in hook(step):
                metrics.write("watch", step=step, epoch=round(step / steps_per_epoch, 4), **line)
        except FolderError as error:
            log.warning("%s; the run goes on", error.message)

    def give_up(bad: int, batch: Batch | None = None) -> NoReturn:
        saver.settle()  # the message names the newest checkpoint
        if batch is None or bad != step:
            batch = next(iter(batches_from(bad)))
        raise too_many(out, batch, bad, schedule.lr(bad), seed, bad_steps, ranks.rank, precision)

    try:
        with (
            stop_on_signal() as stop,
            progress_bar(title, total=total, done=step, shown=ranks.leads) as bar,
            ranks.explain_loss_of_another(),
            explain_lost_worker(),
            compiling(module, config.compile, device) as before_forward,
            recomputing(module) if config.activation_checkpointing else nullcontext(),
            saving(
                out,
                module,
                optimizer,
                keep=config.keep_checkpoints,
                background=config.async_checkpoints,
                ranks=ranks,
            ) as saver,
        ):
            if first_look is not None and step == 0:
                log_watch(first_look)
            batches = iter(batches_from(step)) if step < total else iter(())
            while step < total:
                batch = meter.next(batches)
                rows = len(batch[0]) if ranks.world == 1 else global_batch
                assert rows is not None, "several ranks must be told the size of the global batch"
                module.train()
                if utilisation is not None:
                    utilisation.see(module, batch)
                torch.manual_seed(seed_for(seed, "step", step, *rank_of_seed))
                lr = schedule.lr(step)
                for group in optimizer.param_groups:
                    group["lr"] = lr * group.get("lr_scale", 1.0)
                optimizer.zero_grad(set_to_none=True)
                with explain_out_of_memory(
                    len(batch[0]),
                    accumulate=config.accumulate,
                    recomputes=config.activation_checkpointing,
                    precision=precision,
                    device=device,
                ):
                    parts = min(config.accumulate, rows // ranks.world)
                    every = _backward(
                        stepped, step_function, batch, parts, rows, ranks, precision, before_forward
                    )
                    loss = every[TOTAL]
                    norm = whole(nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf, foreach=True))
                    losses.append(every)
                    taken.append(step)
                    look = config.on_bad_step == "skip" or device.type in LOOKED_AT_ONCE
                    look = look or (step + 1) % config.log_steps == 0 or step + 1 == total
                    look = look or (step + 1) % config.checkpoint_steps == 0
                    unseen.add(step, loss, norm)
                    bad = unseen.first_bad(ranks) if look else None
                    if bad is not None:
                        if bad_steps.bad():  # the same answer on all ranks
                            give_up(bad, batch)
                        log.warning("step %d is left out: its loss or gradient is not a finite number", step)
                        metrics.write("bad_step", step=step + 1, at=step, seed=seed, loss=str(float(loss)))
                        losses.pop()
                        taken.pop()
                    else:
                        optimizer.step()
                        bad_steps.good()
                step += 1
                meter.add(rows)
                images += rows
                bar.advance()
                if losses and (step % config.log_steps == 0 or step == total):
                    each = ranks.mean(torch.stack([step_loss[TOTAL] for step_loss in losses]))
                    shown, shares = float(each.mean()), mean_parts(losses, ranks)
                    if spikes is not None:
                        values = zip(taken, each.tolist(), strict=True)
                        for line in spikes.see(values, lambda at: next(iter(batches_from(at)))):
                            metrics.write("spike", step=step, **line)
                    losses.clear()
                    taken.clear()
                    metrics.write(
                        "train",
                        step=step,
                        epoch=round(step / steps_per_epoch, 4),
                        loss=shown,
                        **shares,
                        lr=lr,
                        grad_norm=float(norm),
                        images_per_s=round(meter.images_per_s, 1),
                        data_wait=round(meter.data_wait, 4),
                        **_mfu(utilisation, meter.images_per_s, device),
                        memory_gb=round(peak_memory_gb(device), 3),
                    )
                    bar.say(f"loss {shown:.4f}  {meter.images_per_s:.0f} images/s")
                saver.look()
                for hook in hooks:
                    log_watch(hook)
                # While steps are left out nobody knows whether the weights are still good, and a resumed run
                # is to count those steps again: no checkpoint before a step goes well.
                due = due or step % config.checkpoint_steps == 0
                if step == total or (due and not bad_steps.in_row):
                    saver.save(step, needed=step == total)
                    due = False
                if not bad_steps.in_row and ranks.anyone(stop.asked):
                    bad = unseen.first_bad(ranks)
                    if bad is not None:
                        bad_steps.bad()
                        give_up(bad)
                    saver.save(step, needed=True)
                    raise Interrupted(f"stopped after step {step} of {total}; a checkpoint was written")
    finally:
        metrics.close()
    seconds = time.perf_counter() - start
    rate = images / seconds if step > first else 0.0
    return LoopResult(step, seconds, rate, peak_memory_gb(device))


def _backward(
    stepped: nn.Module,
    step_function: StepFunction,
    batch: Batch,
    parts: int,
    rows: int,
    ranks: Ranks,
    precision: Literal["bf16", "fp32"],
    before_forward: Callable[[], None],
) -> dict[str, Tensor]:
    """The loss, whole and in parts, of this rank's rows of a batch of `rows`, so scaled that the mean over
    ranks is the mean over rows, and its gradients."""
    device = next(stepped.parameters()).device
    sums: dict[str, Tensor] = {}
    for index, part in enumerate(zip(*(tensor.tensor_split(parts) for tensor in batch), strict=True)):
        before_forward()
        with gradients_kept_back(stepped, until_last=index + 1 < parts):
            with autocast(precision, device):
                part_loss = step_function(stepped, part)
                share = len(part[0]) * ranks.world / rows
                scaled = total_of(part_loss) * share
            scaled.backward()  # type: ignore[no-untyped-call]
        for name, value in named(part_loss).items():
            sums[name] = sums.get(name, 0) + value * share
    return sums


def _mfu(utilisation: Utilisation | None, images_per_s: float, device: torch.device) -> dict[str, float]:
    return {} if utilisation is None else {"mfu": round(utilisation.mfu(images_per_s, device), 4)}
