"""Running a plan: each cell once, by whichever process comes first, and what fails is written down.

    OUT/plan.json                          the plan and what it was made by
    OUT/cells/<task>/<split>/<encoder>/<way>/seed-<n>/      an ordinary result folder each
                       seed-<n>.failed.json    instead of a result, with the reason
                       .seed-<n>/              lock, and who makes the cell (`plan_attempts`)

Several processes may work on one plan, each started with `resume`: a cell belongs to the one that locks it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from usfmae.base.config import with_settings
from usfmae.base.errors import DatasetError, LeakError, SettingError, TrainingError, WeightsError
from usfmae.base.files import claim_folder, read_json, write_json
from usfmae.base.logs import get_logger
from usfmae.base.record import made_by
from usfmae.engine.devices import DeviceName
from usfmae.engine.memory import ran_out
from usfmae.evaluate.contamination import PretrainingPool
from usfmae.evaluate.features import FeatureStore
from usfmae.evaluate.fold_folders import locked
from usfmae.evaluate.methods import METHODS, MethodConfig
from usfmae.evaluate.plan import Cell, Plan, PlanTask, cells_of
from usfmae.evaluate.plan_attempts import (
    MAX_KILLS,
    Killed,
    attempt,
    clear_attempts,
    killed_attempts,
    lock_of,
)
from usfmae.evaluate.plan_contamination import Seen, look_for_test_images, refuse_contamination
from usfmae.evaluate.protocol import Task, TaskConfig, TaskSource
from usfmae.evaluate.result import RESULT_FILE
from usfmae.evaluate.start import Weights, encoder_of, refuse_start, shown_to, was_pretrained_here
from usfmae.models.shipped import file_named, weights_named

log = get_logger(__name__)

PLAN_FILE = "plan.json"

PoolOf = Callable[[Weights], PretrainingPool | None]
"""Finds the images that weights were pretrained on; None where they are not at hand."""


@dataclass
class PlanState:
    """What became of the cells."""

    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    """With the reason."""

    elsewhere: list[Cell] = field(default_factory=list)
    """Another process is working on them."""


class PlanRun:
    """A plan with its data at hand.

    Args:
        plan: what is compared.
        data: folder that holds the folders of the tasks.
        out: the plan's folder.
        device: where networks run.
        pool_of: finds what weights were pretrained on.
        threads: CPU threads of each cell; None for all.

    Raises:
        SettingError: a split, weights or a setting that is not there, or does not fit its encoder; names it.
        DatasetError: a dataset cannot be read, or a side of a split lacks a class.
        LeakError: a patient is on two sides of a split.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        data: Path,
        out: Path,
        device: DeviceName,
        pool_of: PoolOf,
        threads: int | None = None,
    ) -> None:
        self.plan, self.data, self.out = plan, data, out
        self.device, self.pool_of, self.threads = device, pool_of, threads
        self._sources = {task.name: TaskSource(task.name, data / task.folder) for task in plan.tasks}
        self._store = FeatureStore()
        self._pools: dict[str, PretrainingPool | None] = {}
        self._columns: dict[str, dict[str, dict[str, str | None]]] = {}
        splits = {task.name: self._splits(task) for task in plan.tasks}
        self.cells = list(cells_of(plan, splits))
        missing = sorted({cell.weights for cell in self.cells if not _is_there(cell)})
        if missing:
            raise SettingError(
                f"{len(missing)} of the plan's weights are not there (first: {missing[0]})",
                hint="pretrain them first, or take the encoder out of the plan",
            )
        firsts: dict[object, Cell] = {}
        for cell in self.cells:
            firsts.setdefault((cell.task, cell.encoder, cell.way), cell)
        for cell in firsts.values():
            self._refuse_settings(cell)

    def claim(self, *, resume: bool, overwrite: bool) -> None:
        """Make the plan's folder, or go on in it.

        Raises:
            FolderError: it exists and neither was asked for.
        """
        claim_folder(self.out, marker=PLAN_FILE, resume=resume, overwrite=overwrite)
        write_json(
            self.out / PLAN_FILE, {"made_by": made_by("evaluate compare", settings=self.plan, inputs={})}
        )

    def run(self, *, look: bool = True, try_killed: bool = True, try_killers: bool = True) -> PlanState:
        """Work through all cells that are not finished.

        A cell at which a process was killed is tried once more; killed there again, it has failed.

        Args:
            look: for test images in the pools; False where another process has just looked.
            try_killed: make cells at which a process was killed; else they are left to others.
            try_killers: make cells again that failed for that; else they have failed.

        Raises:
            LeakError, SettingError: as `refuse_contamination`.
            FolderError: a finished cell was made with other settings than the plan's.
        """
        if look:
            self.refuse_contamination()
        state = PlanState()
        for number, cell in enumerate(self.cells, start=1):
            folder = self.out / cell.folder
            with locked(lock_of(folder)) as mine:
                if not mine or (not try_killed and killed_attempts(folder) is not None):
                    state.elsewhere.append(cell)
                    continue
                log.info("%d of %d: %s", number, len(self.cells), cell.name)
                reason = self._attempt(cell, folder, try_killers=try_killers)
            if reason is None:
                state.done.append(cell)
            else:
                state.failed[cell] = reason
        return state

    def killed(self) -> dict[Cell, Killed]:
        """Unfinished cells that nobody works on since the process was killed."""
        found: dict[Cell, Killed] = {}
        for cell in self.cells:
            folder = self.out / cell.folder
            with locked(lock_of(folder)) as mine:
                left = killed_attempts(folder) if mine else None
            if left is not None and not (folder / RESULT_FILE).exists():
                found[cell] = left
        return found

    def config_of(self, cell: Cell) -> MethodConfig:
        """Every setting of a cell: the method's defaults, then those of plan, task, way and encoder."""
        weights = _weights(cell)
        encoder = encoder_of(weights, cell.encoder.encoder)
        fit, crop = shown_to(weights, like=file_named(cell.like), encoder=encoder)
        own = [f"task.fit={fit}", f"task.crop={crop}", f"encoder={encoder}"]
        ours = [f"seed={cell.seed}", f"task.folds=[{cell.split}]", f"task.label_ratio={cell.way.label_ratio}"]
        ours += [f"task.label_seed={cell.seed}"] if cell.way.is_few else []
        ours += [f"task.labels_per_class={cell.way.labels_per_class}"] if cell.way.labels_per_class else []
        ours += [] if self.threads is None else [f"threads={self.threads}"]
        given = (*self.plan.settings, *cell.task.settings, *cell.way.settings, *cell.encoder.settings)
        boot = [f"bootstrap.{name}={value}" for name, value in self.plan.bootstrap.model_dump().items()]
        return with_settings(
            METHODS[cell.way.method].defaults(weights, encoder), [*own, *boot, *given, *ours]
        )

    def task_of(self, config: MethodConfig) -> Callable[[PlanTask], Task]:
        """The task of a cell under its settings; images are read once for each way of showing them."""
        return lambda task: self._sources[task.name].task(config.task)

    @cached_property
    def seen(self) -> list[Seen]:
        """What each encoder has seen of each split's test images while it was pretrained."""
        log.info("looking for test images in what the encoders were pretrained on")
        return look_for_test_images(
            self.cells,
            task_of=lambda cell: self.task_of(self.config_of(cell))(cell.task),
            pool_of=self._pool,
        )

    def refuse_contamination(self) -> None:
        """Look for each split's test images in the pool of each encoder, before anything is trained.

        Raises:
            LeakError: one is there, with the same pixels, and the plan does not allow it.
            SettingError: of an encoder with unfinished cells nobody can say, and the plan does not allow it.
        """
        unfinished = [cell for cell in self.cells if not (self.out / cell.folder / RESULT_FILE).exists()]
        refuse_contamination(self.plan, self.seen, unfinished=unfinished)

    def picture(self, task: str, name: str) -> UInt8[np.ndarray, "s s"]:
        """A test image as a network sees it, whole."""
        source = self._sources[task]
        place = next(index for index, item in enumerate(source.labelled_set.items) if item.name == name)
        size_px = TaskConfig().size_px
        images, _ = source.images(size_px=size_px, fit="pad", crop="none")
        pixels: UInt8[np.ndarray, "s s"] = images[place]
        return pixels

    def columns(self, task: str) -> dict[str, dict[str, str | None]]:
        """What the images of a task are parted by: column to image to value."""
        return self._columns[task]

    def _splits(self, task: PlanTask) -> Sequence[str]:
        settings = (*self.plan.settings, *task.settings)
        of_task = [words for words in settings if words.startswith("task.")]
        config = with_settings(METHODS["knn"].defaults("scratch", "vit"), of_task).task
        config = config.model_copy(update={"folds": task.folds})
        made = self._sources[task.name].task(config)
        names = [item.name for item in made.items]
        self._columns[task.name] = {
            column: dict(zip(names, values, strict=True)) for column, values in made.columns.items()
        }
        return [split.name for split in made.splits]

    def _refuse_settings(self, cell: Cell) -> None:
        """A setting that is mistyped or does not fit its encoder is told before anything runs."""
        try:
            config = self.config_of(cell)
            with suppress(WeightsError):  # fails alone, as a cell
                refuse_start(
                    _weights(cell),
                    network=config.network,
                    encoder=config.encoder,
                    like=file_named(cell.like),
                    image_px=config.image_px,
                    use=config.use,
                )
        except SettingError as error:
            where = f"{cell.encoder.name}, {cell.way.name} on {cell.task.name}"
            raise SettingError(f"{where}: {error.message}", hint=error.hint) from error

    def _pool(self, cell: Cell) -> PretrainingPool | None:
        weights = _weights(cell)
        if not was_pretrained_here(weights, encoder=encoder_of(weights, cell.encoder.encoder)):
            return None
        if cell.weights not in self._pools:
            self._pools[cell.weights] = self.pool_of(weights)
        return self._pools[cell.weights]

    def _attempt(self, cell: Cell, folder: Path, *, try_killers: bool) -> str | None:
        """`_run_cell`, unless that has killed too many processes."""
        failed = failed_file(folder)
        told = read_json(failed) if failed.exists() else {}
        if not try_killers and told.get("kills"):
            return str(told["reason"])
        left = killed_attempts(folder)
        kills = left.num if left else told.get("kills", 0)
        if left and kills >= MAX_KILLS and not (folder / RESULT_FILE).exists():
            clear_attempts(folder)
            return self._failed(cell, folder, left.reason, kills=MAX_KILLS - 1)  # asked again, it has one try
        with attempt(folder, kills=kills):
            return self._run_cell(cell, folder)

    def _run_cell(self, cell: Cell, folder: Path) -> str | None:
        """Make a cell, or find it made; the reason where it cannot be made."""
        way = METHODS[cell.way.method]
        try:
            config = self.config_of(cell)
            way.evaluate(
                self.task_of(config)(cell.task),
                _weights(cell),
                out=folder,
                config=config,
                device=self.device,
                like=file_named(cell.like),
                pretraining_pool=self._pool(cell),
                resume=folder.exists(),
                **({"store": self._store} if way.is_frozen else {}),
            )
        except LeakError:
            raise
        except (DatasetError, SettingError, TrainingError, WeightsError) as error:
            reason = error.message
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            reason = f"out of memory ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        else:
            failed_file(folder).unlink(missing_ok=True)
            return None
        return self._failed(cell, folder, reason)

    def _failed(self, cell: Cell, folder: Path, reason: str, **facts: int) -> str:
        log.warning("%s: failed: %s", cell.name, reason)
        write_json(failed_file(folder), {"cell": cell.name, "reason": reason, **facts})
        return reason


def failed_file(folder: Path) -> Path:
    """Where it is written why a cell could not be made: beside its folder, which may not be there."""
    return folder.with_name(f"{folder.name}.failed.json")


def state_of(plan_run: PlanRun) -> PlanState:
    """What became of the cells, as the folder tells it."""
    state = PlanState()
    for cell in plan_run.cells:
        folder = plan_run.out / cell.folder
        if (folder / RESULT_FILE).exists():
            state.done.append(cell)
        elif failed_file(folder).exists():
            state.failed[cell] = str(read_json(failed_file(folder))["reason"])
        else:
            state.elsewhere.append(cell)
    return state


def _weights(cell: Cell) -> Weights:
    return weights_named(cell.weights)


def _is_there(cell: Cell) -> bool:
    weights = _weights(cell)
    return not isinstance(weights, Path) or weights.exists()
