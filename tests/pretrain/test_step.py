import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shown import shown

from usfmae.corpus.balance import BalanceConfig
from usfmae.corpus.build import build_corpus
from usfmae.corpus.config import BuildConfig
from usfmae.corpus.shards import open_corpus
from usfmae.corpus.sources import Source
from usfmae.engine.loader import step_batches
from usfmae.engine.sampler import batch_indices
from usfmae.engine.views import AugmentConfig
from usfmae.pretrain.step import PretrainBatches, picture_indices


def test_a_batch_is_views_and_a_full_partition_of_patches(small_corpus, small_config):
    batch = PretrainBatches(open_corpus(small_corpus), small_config)(0)
    assert (batch[0].shape, batch[0].dtype) == ((8, 1, 32, 32), torch.uint8)
    seen = shown(small_config, batch)
    assert torch.equal(seen.grey.round().to(torch.uint8), batch[0])
    visible, hidden = seen.hiding.visible, seen.hiding.hidden
    assert (visible.shape, hidden.shape) == ((8, 4), (8, 12))
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(16).expand(8, -1))


def test_two_worker_processes_give_the_same_batches_as_none(small_corpus, small_config):
    make = PretrainBatches(open_corpus(small_corpus), small_config)
    alone = list(step_batches(make, range(2, 8), workers=0))
    shared = list(step_batches(make, range(2, 8), workers=2))
    for one, two in zip(alone, shared, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_network_sees_the_same_views_wherever_they_are_made(small_corpus, small_config):
    corpus = open_corpus(small_corpus)
    augment = AugmentConfig(gain=(0.8, 1.25), shadow=0.5, speckle=(0.0, 0.1))
    seen = []
    for place in ("cpu", "device"):
        config = small_config.model_copy(update={"augment": augment, "augment_on": place})
        seen.append(shown(config, PretrainBatches(corpus, config)(3)))
    here, there = seen
    assert here.grey.shape == (8, 1, 32, 32)
    assert (here.grey - there.grey).abs().max() < 2.5
    assert (here.grey - there.grey).abs().mean() < 0.5
    assert torch.equal(here.hiding.visible, there.hiding.visible)


def test_whole_images_and_the_numbers_of_their_views_go_to_a_device(small_corpus, small_config):
    corpus = open_corpus(small_corpus)
    config = small_config.model_copy(update={"augment_on": "device"})
    images, numbers, size_px, hide, predict = PretrainBatches(corpus, config)(3)
    assert np.array_equal(images[:, 0], corpus.read(batch_indices(3, num_images=20, global_batch=8, seed=0)))
    assert [len(part) for part in (numbers, size_px, hide, predict)] == [8, 8, 8, 8]
    assert numbers.dtype == torch.float32


def test_a_process_that_makes_only_its_rows_makes_the_same_ones(small_corpus, small_config):
    corpus = open_corpus(small_corpus)
    for place in ("cpu", "device"):
        config = small_config.model_copy(update={"augment_on": place})
        whole = PretrainBatches(corpus, config)(2)
        for rows in (slice(0, 3), slice(3, 8)):
            part = PretrainBatches(corpus, config, rows)(2)
            assert all(torch.equal(some, every[rows]) for some, every in zip(part, whole, strict=True))


def test_batches_depend_on_the_seed_and_survive_pickling(small_corpus, small_config):
    make = PretrainBatches(open_corpus(small_corpus), small_config)
    other = PretrainBatches(open_corpus(small_corpus), small_config.model_copy(update={"seed": 1}))
    again = pickle.loads(pickle.dumps(make))
    assert torch.equal(again(5)[0], make(5)[0])
    assert not torch.equal(other(5)[0], make(5)[0])
    assert not torch.equal(make(6)[3], make(5)[3])


def test_the_pictures_are_of_the_same_distinct_images_each_time(small_corpus):
    corpus = open_corpus(small_corpus)
    chosen = picture_indices(corpus, 8, 0)
    assert np.array_equal(chosen, picture_indices(corpus, 8, 0))
    assert len(set(chosen.tolist())) == 8
    assert len(picture_indices(corpus, 500, 0)) == len(corpus)


def test_a_balanced_run_draws_a_small_source_as_often_as_a_large_one(small_corpus, small_config, tmp_path):
    large = open_corpus(small_corpus)
    for k, image in enumerate(large.read(np.arange(4))):
        Image.fromarray(255 - image).save(tmp_path / f"{k}.png")
    config = BuildConfig(size_px=32, keep_per_cluster=None)
    sources = [Source("large", Path(large.record["sources"][0]["folder"])), Source("small", tmp_path)]
    corpus = build_corpus(sources, out=tmp_path / "both", config=config)
    assert len(corpus) == 24
    balanced = small_config.model_copy(update={"balance": BalanceConfig(source=0.0), "global_batch": 24})
    counts = [
        sum(drawn_from(corpus, config, step) for step in range(4)) / 4
        for config in (small_config.model_copy(update={"global_batch": 24}), balanced)
    ]
    assert counts == [4, 12]


def drawn_from(corpus, config, step: int) -> int:
    """How many images of an epoch of 24 are of the small source."""
    pools = PretrainBatches(corpus, config).pools
    indices = pools.batch(step, global_batch=24, num_old=0, seed=config.seed)
    return sum(corpus.manifest["source"][index].as_py() == "small" for index in indices)
