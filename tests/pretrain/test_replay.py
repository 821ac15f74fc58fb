import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from small_pools import build_pool, draw_scans

from usfmae.base.errors import CorpusError
from usfmae.corpus.balance import BalanceConfig
from usfmae.corpus.shards import Corpus, joint_terms, open_corpus
from usfmae.engine.sampler import batch_indices
from usfmae.pretrain.config import PretrainConfig
from usfmae.pretrain.context import group_by, one_after_the_other
from usfmae.pretrain.replay import Pools, ReplayConfig, hold_out, open_old
from usfmae.pretrain.step import PretrainBatches


@pytest.fixture(scope="session")
def pools(small_corpus, other_corpus) -> Pools:
    """20 new images, 14 old ones."""
    return Pools(open_corpus(small_corpus), open_corpus(other_corpus))


def steps(pools: Pools, count: int, *, seed: int = 0) -> np.ndarray:
    return np.stack([pools.batch(step, global_batch=8, num_old=3, seed=seed) for step in range(count)])


def replaying(config: PretrainConfig, old: Path, ratio: float = 0.4) -> PretrainConfig:
    """Of 8 images 3.2, so 3, are old."""
    return config.model_copy(update={"replay": ReplayConfig(corpus=str(old), ratio=ratio)})


def test_a_ratio_is_rounded_to_an_image():
    # .3 of 8 is 2.4; .3 of 256 is 76.8; .35 of 10 is 3.5, which Python rounds to the even 4.
    counts = [
        ReplayConfig(corpus="old", ratio=ratio).num_old(batch)
        for ratio, batch in ((0.3, 8), (0.3, 256), (0.35, 10), (0.0, 8))
    ]
    assert counts == [2, 77, 4, 0]


def test_a_ratio_outside_zero_to_one_or_without_a_pool_is_refused():
    for ratio in (-0.1, 1.0, 1.5):
        with pytest.raises(ValidationError, match="ratio"):
            ReplayConfig(corpus="old", ratio=ratio)
    with pytest.raises(ValidationError, match=r"ratio=0\.3 needs replay\.corpus"):
        ReplayConfig(ratio=0.3)


def test_a_ratio_that_leaves_one_pool_out_of_a_batch_is_refused():
    with pytest.raises(ValidationError, match=r"replay\.ratio=0\.01 is 0 of 8 images"):
        PretrainConfig(replay=ReplayConfig(corpus="old", ratio=0.01), global_batch=8)
    with pytest.raises(ValidationError, match=r"replay\.ratio=0\.99 is 8 of 8 images"):
        PretrainConfig(replay=ReplayConfig(corpus="old", ratio=0.99), global_batch=8)


def test_each_batch_holds_exactly_its_share_of_the_old_pool(pools):
    indices = steps(pools, 40)
    assert np.array_equal((indices >= 20).sum(axis=1), np.full(40, 3))
    assert indices.min() >= 0
    assert indices.max() < 34


def test_every_new_image_comes_once_an_epoch_and_every_old_one_once_a_round(pools):
    # 5 new ones a batch: 4 batches are an epoch of 20. 3 old ones: 14 batches of 3 are three rounds of 14.
    indices = steps(pools, 56)
    new, old = indices[:, :5], indices[:, 5:] - 20
    for epoch in range(14):
        assert sorted(new[4 * epoch : 4 * epoch + 4].ravel()) == list(range(20))
    for around in range(12):
        assert sorted(old.ravel()[14 * around : 14 * around + 14]) == list(range(14))


def test_the_two_orders_are_drawn_apart(small_corpus, pools):
    # As large as the new pool, the old one would come in the same order if both drew from one seed.
    new = open_corpus(small_corpus)
    twin = Pools(new, new)
    first = twin.batch(0, global_batch=8, num_old=4, seed=0)
    assert not np.array_equal(first[:4], first[4:] - 20)
    assert np.array_equal(first[:4], batch_indices(0, num_images=20, global_batch=4, seed=0))
    assert not np.array_equal(steps(pools, 5), steps(pools, 5, seed=1))


def test_without_replay_a_batch_is_what_it_always_was(small_corpus, pools):
    alone = Pools(open_corpus(small_corpus))
    for step in range(6):
        expected = batch_indices(step, num_images=20, global_batch=8, seed=0)
        for some in (alone, pools):
            assert np.array_equal(some.batch(step, global_batch=8, num_old=0, seed=0), expected)


def test_images_are_read_from_the_pool_that_their_number_says(pools):
    read = pools.read(np.array([33, 0, 20, 19]))
    old, new = pools.old.read(np.array([13, 0])), pools.new.read(np.array([0, 19]))
    assert np.array_equal(read, np.stack([old[0], new[0], old[1], new[1]]))


def test_old_images_of_another_size_are_resized(small_corpus, tmp_path):
    # A block of 2 x 2 equal pixels becomes one pixel when the side is halved.
    draw_scans(tmp_path / "large", count=3, side=64, seed=5)
    folder = build_pool(tmp_path / "large", tmp_path / "corpus", size_px=64)
    pools = Pools(open_corpus(small_corpus), open_corpus(folder))
    large = pools.old.read(np.array([1]))[0].astype(float)
    halved = large.reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(pools.read(np.array([21]))[0] - halved).max() <= 0.5
    # The old images of a batch come last, so of several processes the first may have none.
    assert np.array_equal(pools.read(np.array([3, 4])), pools.new.read(np.array([3, 4])))


def test_balance_holds_within_each_pool(pools):
    # The old pool's two sources have 10 and 4 images; evenly drawn, each gives half of it.
    even = Pools(pools.new, pools.old, BalanceConfig(source=0.0))
    source = np.array(pools.old.manifest["source"].to_pylist())
    indices = np.stack([even.batch(step, global_batch=8, num_old=7, seed=0) for step in range(2)])
    assert (source[indices[:, 1:].ravel() - 20] == "b").sum() == 7


def test_partners_are_of_the_same_pool():
    # Two clips (0, 1) and (2) in the first pool, one of three frames in the second.
    both = one_after_the_other(group_by(np.array([0, 0, 1])), group_by(np.array([7, 7, 7])))
    rng = np.random.default_rng(0)
    drawn = np.stack([both.draw(np.arange(6), rng) for _ in range(50)])
    seen = [set(column) for column in drawn.T.tolist()]
    assert seen == [{1}, {0}, {2}, {4, 5}, {3, 5}, {3, 4}]


def test_a_process_that_makes_only_its_rows_makes_the_same_ones(pools, other_corpus, small_config):
    config = replaying(small_config, other_corpus)
    whole = PretrainBatches(pools.new, config, old=pools.old)(2)
    for rows in (slice(0, 4), slice(4, 6), slice(6, 8)):
        part = PretrainBatches(pools.new, config, rows, pools.old)(2)
        assert all(torch.equal(some, every[rows]) for some, every in zip(part, whole, strict=True))


def test_batches_survive_pickling(pools, other_corpus, small_config):
    make = PretrainBatches(pools.new, replaying(small_config, other_corpus), old=pools.old)
    again = pickle.loads(pickle.dumps(make))
    assert all(torch.equal(one, two) for one, two in zip(make(3), again(3), strict=True))


def test_an_epoch_is_one_of_the_new_pool(pools, other_corpus, small_config):
    # 3 epochs of 20 images, 5 a batch: 12 steps; without replay 60 / 8, so 8.
    assert PretrainBatches(pools.new, replaying(small_config, other_corpus), old=pools.old).total_steps == 12
    assert PretrainBatches(pools.new, small_config).total_steps == 8


def test_the_same_pool_twice_is_refused(small_corpus):
    with pytest.raises(CorpusError, match="holds the same images as") as caught:
        open_old(ReplayConfig(corpus=str(small_corpus)), open_corpus(small_corpus))
    assert "--corpus takes the new pool" in caught.value.hint


def test_a_folder_that_is_no_corpus_is_refused_by_the_name_of_the_setting(small_corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"replay\.corpus: .*is no corpus") as caught:
        open_old(ReplayConfig(corpus=str(tmp_path / "gone")), open_corpus(small_corpus))
    assert caught.value.hint == "make one: usfmae corpus build"


def test_a_pool_prepared_otherwise_is_refused(small_corpus, tmp_path):
    draw_scans(tmp_path / "scans", count=3, side=40, seed=3)
    folder = build_pool(tmp_path / "scans", tmp_path / "stretched", fit="stretch")
    with pytest.raises(CorpusError, match="was built with fit=stretch and crop=none") as caught:
        open_old(ReplayConfig(corpus=str(folder)), open_corpus(small_corpus))
    assert caught.value.hint == "build the new one like the old: --set fit=stretch --set crop=none"


def test_the_strictest_term_of_both_pools_holds(pools):
    # Folders state nothing; unknown with allowed is unknown, with forbidden it is forbidden.
    open_terms = {"commercial": True, "share": True, "derivatives": False, "share_alike": True}
    pools.old.record["terms"], kept = open_terms, pools.old.record["terms"]
    try:
        assert joint_terms([pools.old]) == open_terms
        joint = joint_terms([pools.new, pools.old])
    finally:
        pools.old.record["terms"] = kept
    assert joint == {"commercial": None, "share": None, "derivatives": False, "share_alike": True}


def test_what_is_held_out_is_whole_groups_and_never_trained_on(pools):
    # 20 files are 20 groups: a quarter is 5 of them.
    trained, held = hold_out(pools.new, 0.25, seed=0)
    assert (len(trained), len(held)) == (15, 5)
    hashes = [set(part.manifest["content_hash"].to_pylist()) for part in (trained, held)]
    assert hashes[0].isdisjoint(hashes[1])
    assert hashes[0] | hashes[1] == pools.new.content_hashes()
    assert hold_out(pools.new, 0.25, seed=1)[1].content_hashes() != hashes[1]
    seen = Pools(trained, pools.old)
    drawn = np.concatenate([seen.batch(step, global_batch=8, num_old=3, seed=0)[:5] for step in range(3)])
    assert sorted(drawn) == list(range(15))
    assert np.array_equal(seen.read(np.array([4])), pools.new.read(trained.rows[[4]]))


def test_a_group_is_held_out_as_a_whole(pools):
    table = pools.new.manifest.to_pydict() | {"group": [f"patient-{k // 5}" for k in range(20)]}
    grouped = Corpus(pools.new.folder, pools.new.record, pa.table(table))
    trained, held = hold_out(grouped, 0.3, seed=0)  # 6 images: two patients of 5
    assert (len(trained), len(held)) == (10, 10)
    assert set(trained.manifest["group"].to_pylist()).isdisjoint(held.manifest["group"].to_pylist())
    with pytest.raises(CorpusError, match=r"hold_out_ratio=0\.9 leaves none of 4 groups") as caught:
        hold_out(grouped, 0.9, seed=0)
    assert "lower it" in caught.value.hint


def test_some_images_of_a_pool_survive_pickling(pools):
    some = pools.new.only(np.array([7, 3, 11])).only(np.array([2, 0]))
    again = pickle.loads(pickle.dumps(some))
    assert np.array_equal(again.rows, [11, 7])
    assert np.array_equal(again.read(np.arange(2)), pools.new.read(np.array([11, 7])))
    assert again.sha256 == pools.new.sha256
