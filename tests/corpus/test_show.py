"""Describing a pool, and showing it."""

import json

import numpy as np
import pytest

from usfmae.corpus.show import corpus_montage, describe_corpus


def test_the_description_counts_by_hand_and_is_json(corpus):
    facts = json.loads(json.dumps(describe_corpus(corpus)))
    assert (facts["num_images"], facts["num_groups"], facts["size_px"]) == (12, 12, 32)
    assert facts["commonest_sizes_px"] == {"48 x 40": 12}
    assert [(s["name"], s["num_files"], s["num_groups"]) for s in facts["sources"]] == [("scans", 12, 12)]
    assert facts["left_out"] == {
        "unreadable": 0, "too_small": 0, "no_b_mode": 0, "may_identify": 0, "repeat": 0, "near_duplicate": 0,
        "held_out": 0, "held_out_near": 0, "excluded": 0, "other_kind": 0,
    }  # fmt: skip


def test_the_montage_shows_images_of_the_pool_without_repeats(corpus):
    sheet = corpus_montage(corpus, per_source=4, tile_px=32)
    assert sheet.shape == (32, 128)
    stored = {image.tobytes() for image in corpus.read(np.arange(12))}
    shown = {np.ascontiguousarray(sheet[:, k : k + 32]).tobytes() for k in range(0, 128, 32)}
    assert len(shown) == 4
    assert shown <= stored


def test_the_montage_averages_when_it_shrinks_and_repeats_itself(corpus):
    small = corpus_montage(corpus, per_source=12, tile_px=16, seed=1)
    full = corpus_montage(corpus, per_source=12, tile_px=32, seed=1)
    assert np.abs(small[:16, :16].mean() - full[:32, :32].mean()) < 1
    assert np.array_equal(small, corpus_montage(corpus, per_source=12, tile_px=16, seed=1))


def test_a_tile_that_does_not_fit_is_a_bad_argument(corpus):
    with pytest.raises(ValueError, match="does not divide 32"):
        corpus_montage(corpus, tile_px=20)
