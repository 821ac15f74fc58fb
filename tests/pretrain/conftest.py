"""A small corpus and a small run, drawn once."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pair import Pair
from small_networks import small_networks
from teachers import LITE, SELF, drawn_vit, of_file
from variants import draw_clips

from usfmae.base.config import with_settings
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.sources import Source
from usfmae.engine.loop import LoopConfig
from usfmae.engine.optim import OptimConfig
from usfmae.models.mae import DecoderConfig, MaeConfig
from usfmae.models.vit import ViTConfig
from usfmae.pretrain.config import PretrainConfig, WatchConfig


@pytest.fixture(scope="module", autouse=True)
def _small_networks() -> Iterator[None]:
    with small_networks():
        yield


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pool")
    noise = np.random.default_rng(0)
    for k in range(20):
        picture = cv2.GaussianBlur(noise.integers(0, 256, (48, 40), dtype=np.uint8), (9, 9), 3)
        cv2.imwrite(str(root / f"{k:02d}.png"), picture)
    out = tmp_path_factory.mktemp("corpora") / "small"
    build_corpus([Source("scans", root)], out=out, config=BuildConfig(size_px=32))
    return out


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    """19 frames: four clips of four and three stills."""
    root = tmp_path_factory.mktemp("clips")
    draw_clips(root)
    out = tmp_path_factory.mktemp("corpora") / "clips"
    build_corpus([Source("scans", root)], out=out, config=BuildConfig(size_px=32, keep_per_cluster=None))
    return out


@pytest.fixture(scope="session")
def other_corpus(tmp_path_factory) -> Path:
    """14 images of two sources, coarser than those of the small one."""
    noise = np.random.default_rng(1)
    sources = []
    for name, count in (("a", 10), ("b", 4)):
        root = tmp_path_factory.mktemp(name)
        sources.append(Source(name, root))
        for k in range(count):
            picture = cv2.resize(noise.integers(0, 256, (6, 5), dtype=np.uint8), (40, 48))
            cv2.imwrite(str(root / f"{k:02d}.png"), picture)
    out = tmp_path_factory.mktemp("corpora") / "other"
    build_corpus(sources, out=out, config=BuildConfig(size_px=32))
    return out


@pytest.fixture(scope="session")
def small_config() -> PretrainConfig:
    return PretrainConfig(
        model=MaeConfig(
            encoder=ViTConfig(image_px=32, patch_px=8),
            decoder=DecoderConfig(dim=16, num_layers=1, num_heads=2),
        ),
        optim=OptimConfig(lr_per_256=1e-2, warmup_epochs=0.5),
        loop=LoopConfig(precision="fp32", checkpoint_steps=3, log_steps=1),
        watch=WatchConfig(every_epochs=1, num_pictures=3),
        global_batch=8,
        epochs=3,
        threads=1,
    )


@pytest.fixture(scope="module")
def teacher_weights(tmp_path_factory):
    """A file of a small ViT with patches of another size than the student's."""
    path = tmp_path_factory.mktemp("teachers") / "vit.safetensors"
    return drawn_vit(path, seed=5)


@pytest.fixture(scope="module")
def kinds(teacher_weights):
    return {"lite": LITE, "file": of_file(teacher_weights), "self": [*SELF, "model.teacher.pooled_weight=1"]}


@pytest.fixture(scope="module")
def short(small_config):
    """3 steps and a checkpoint after 2, when the average is no longer the network itself."""
    words = ["epochs=1.2", "loop.checkpoint_steps=2", "watch.num_pictures=0", "watch.utilisation=false"]
    return with_settings(small_config, words)


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Two processes that train together, again and again."""
    with Pair() as both:
        yield both
