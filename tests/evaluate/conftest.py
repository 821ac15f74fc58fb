from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_finetune import tuned
from small_networks import small_networks

from usfmae.base.files import write_json
from usfmae.base.input_spec import InputSpec
from usfmae.datasets.fake import fake_dataset
from usfmae.evaluate.protocol import Task, TaskConfig, load_task
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import save_encoder

TINY = ViTConfig(size="ti", image_px=16, patch_px=8)
"""4 patches."""


@pytest.fixture(scope="module", autouse=True)
def _small_networks() -> Iterator[None]:
    with small_networks():
        yield


@pytest.fixture(scope="session")
def fake_bus_bra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 patients, 30 images, folds 2 to 5."""
    root = tmp_path_factory.mktemp("fake") / "bus-bra"
    return fake_dataset("bus-bra", root, num_patients=30, variant="without-fold-1")


@pytest.fixture(scope="session")
def task(fake_bus_bra: Path) -> Task:
    """Folds 2 and 3 of the fake, at 32 px."""
    return load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(2, 3)))


@pytest.fixture(scope="session")
def fake_screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patients, but each picture is a scanner's screen: a fan right of the middle, and in it a
    white square, which is the lesion."""
    root = tmp_path_factory.mktemp("fake") / "screens"
    fake_dataset("bus-bra", root, num_patients=12, variant="without-fold-1")
    rows, columns = np.mgrid[:160, :200]
    fan = np.abs(columns - 100) < 25 + 0.45 * rows
    for number, path in enumerate(sorted((root / "Images").glob("*.png"))):
        rng = np.random.default_rng(number)
        screen, lesion = np.zeros((2, 200, 300), np.uint8)
        screen[20:180, 90:290] = np.where(fan, rng.integers(60, 140, fan.shape), 0)
        top, left = int(rng.integers(70, 110)), int(rng.integers(150, 200))
        screen[top : top + 40, left : left + 40] = lesion[top : top + 40, left : left + 40] = 255
        cv2.imwrite(str(path), screen)
        cv2.imwrite(str(root / "Masks" / path.name.replace("bus", "mask")), lesion)
    return root


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny encoder."""
    with small_networks():
        encoder = VisionTransformer(TINY)
    start_weights(encoder, torch.Generator().manual_seed(7))
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_encoder(path, encoder, input_spec=InputSpec(image_px=16))
    return path


@pytest.fixture(scope="session")
def kept(task: Task, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning of two folds."""
    with small_networks():
        return tuned(task, weights, tmp_path_factory.mktemp("results") / "kept")


@pytest.fixture(scope="session")
def cells(fake_bus_bra: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same as two cells of a comparison, a fold each."""
    found = []
    root = tmp_path_factory.mktemp("comparison")
    for fold in (2, 3):
        one = load_task("bus-bra", fake_bus_bra, config=TaskConfig(size_px=32, folds=(fold,)))
        with small_networks():
            found.append(tuned(one, weights, root / f"cells/bus-bra/fold-{fold}/MAE/finetune/seed-0"))
    write_json(root / "plan.json", {})
    return found


@pytest.fixture(scope="session")
def seeds(task: Task, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two more seeds of another recipe."""
    root = tmp_path_factory.mktemp("seeds")
    with small_networks():
        return [tuned(task, weights, root / f"s{seed}", seed=seed, label_smoothing=0.0) for seed in (1, 2)]
