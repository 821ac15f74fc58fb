"""Folders of simulated images: a labelled set in the `folder` layout, or an unlabelled pool."""

import csv
import io
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.files import claim_folder, write_bytes, write_json, write_text
from usfmae.base.logs import progress_bar
from usfmae.base.processes import in_processes
from usfmae.base.record import made_by
from usfmae.base.seeds import rng_for
from usfmae.images.simulate.device import DEVICES, Device
from usfmae.images.simulate.lesion import Kind
from usfmae.images.simulate.study import simulate_study

MARKER = "simulated.json"
DRAW_AGAIN = "draw them again with --overwrite, perhaps with fewer --workers"
COLUMNS = ("path", "label", "patient", "mask", "device")


class SimulatedSet(Config):
    """What a folder of simulated images holds."""

    num_patients: int = Field(gt=0)
    images_per_patient: int = Field(gt=0)
    seed: int = 0
    labelled: bool = True
    """With `labels.csv` and masks; if not, a third of the patients have no lesion."""

    devices: tuple[Device, ...] = Field(default=DEVICES, min_length=1)


def write_simulated_dataset(
    root: Path,
    *,
    num_patients: int,
    images_per_patient: int,
    seed: int = 0,
    labelled: bool = True,
    devices: Sequence[Device] = DEVICES,
    workers: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write simulated patients as PNG files, in parallel; the same pixels whatever the number of workers.

    Half of the patients have a benign and half a malignant lesion; each is scanned with one device. Layout:
    `images/patient-0007-1.png`, and if labelled `masks/` with the same names and `labels.csv` with the
    columns path, label, patient, mask (paths relative to `root`) and device. Two sets with different
    seeds share no patient.

    Args:
        root: a new or empty folder.
        num_patients: how many people.
        images_per_patient: planes of each.
        seed: of the set.
        labelled: False writes a pool for pretraining: no labels, no masks, a third without lesion.
        devices: the scanners to draw from.
        workers: processes; None takes one per core, 0 or 1 stays in this process.
        overwrite: delete an older simulated set in `root`.

    Returns:
        The images, in order of patient and plane.

    Raises:
        FolderError: `root` exists and is not empty, or cannot be written.
    """
    settings = SimulatedSet(
        num_patients=num_patients, images_per_patient=images_per_patient, seed=seed, labelled=labelled,
        devices=tuple(devices),
    )  # fmt: skip
    claim_folder(root, marker=MARKER, overwrite=overwrite, resumable=False)
    record = {"made_by": made_by("simulate", settings=settings, inputs={})}
    write_json(root / MARKER, record | {"finished": False})
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    rows: dict[int, list[dict[str, str]]] = {}
    draw = partial(_write_patient, root, settings)
    with progress_bar("simulate", total=num_patients * images_per_patient) as bar:
        for patient, drawn in in_processes(draw, range(num_patients), workers=workers, hint=DRAW_AGAIN):
            rows[patient] = drawn
            bar.advance(images_per_patient)
    ordered = [row for patient in range(num_patients) for row in rows[patient]]
    if labelled:
        write_text(root / "labels.csv", _csv(ordered))
    write_json(root / MARKER, record | {"finished": True, "num_images": len(ordered)})
    return [root / row["path"] for row in ordered]


def _write_patient(root: Path, settings: SimulatedSet, patient: int) -> tuple[int, list[dict[str, str]]]:
    """Write the images of one patient; returns the patient and their rows of `labels.csv`."""
    kinds: tuple[Kind | None, ...] = (
        ("benign", "malignant") if settings.labelled else ("benign", "malignant", None)
    )
    kind = kinds[patient % len(kinds)]
    device = settings.devices[int(rng_for(settings.seed, "device", patient).integers(len(settings.devices)))]
    rows = []
    for plane in range(settings.images_per_patient):
        study = simulate_study(patient, device=device, lesion=kind, seed=settings.seed, plane=plane)
        name = f"patient-{patient:04d}-{plane}.png"
        _write_png(root / "images" / name, study.frame.pixels)
        if settings.labelled:
            _write_png(root / "masks" / name, study.lesion_mask.astype(np.uint8) * 255)
        rows.append(
            {
                "path": f"images/{name}",
                "label": kind or "normal",
                "patient": f"patient-{patient:04d}",
                "mask": f"masks/{name}",
                "device": device.name,
            }
        )
    return patient, rows


def _write_png(path: Path, pixels: UInt8[np.ndarray, "height width"]) -> None:
    done, code = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 3))
    assert done
    write_bytes(path, code.tobytes())


def _csv(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
