"""Plans with networks so small that a cell takes a tenth of a second."""

from pathlib import Path

from usfmae.evaluate.contamination import PretrainingPool
from usfmae.evaluate.plan import Plan, PlanEncoder, PlanTask, PlanWay
from usfmae.evaluate.plan_run import PlanRun
from usfmae.evaluate.statistics import BootstrapConfig

SETTINGS = ("task.size_px=32", "network.image_px=16", "network.patch_px=8", "threads=1")
KNN = PlanWay(method="knn", settings=("k=5",))
ONE_FOLD = (PlanTask(name="bus-bra", folds=(2,)),)


def plan(weights: Path, **changes: object) -> Plan:
    """Two folds, two encoders, two ways and two seeds, but for the changes."""
    given = {
        "tasks": (PlanTask(name="bus-bra", folds=(2, 3)),),
        "encoders": (PlanEncoder(name="ours", weights=str(weights)), PlanEncoder(name="scratch")),
        "ways": (KNN, PlanWay(method="linear-probe")),
        "seeds": (0, 1),
        "settings": SETTINGS,
        "bootstrap": BootstrapConfig(num_resamples=100),
        "allow_unchecked": True,  # the weights are of no run
    }
    return Plan(**(given | changes))


def planned(
    made: Plan, root: Path, out: Path, *, pool: PretrainingPool | None = None, resume: bool = False
) -> PlanRun:
    """In its folder, not run yet; each encoder has seen `pool`."""
    run = PlanRun(made, data=root.parent, out=out, device="cpu", pool_of=lambda *_: pool, threads=1)
    run.claim(resume=resume, overwrite=False)
    return run
