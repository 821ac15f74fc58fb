from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.errors import CorpusError
from usfmae.corpus.shards import Corpus
from usfmae.pretrain.context import check_partners, find_partners, group_by


def pool(*rows: tuple[str, str, str]) -> Corpus:
    names = ("source", "group", "path")
    return Corpus(Path(), {}, pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)}))


def seen_with(partners, index: int) -> set[int]:
    indices = np.full(200, index)
    return set(partners.draw(indices, np.random.default_rng(0)).tolist())


def test_partners_by_hand():
    # Patient p has a clip of three frames (0, 2, 3) and two stills (1, 4); the stills accompany each other.
    # Another patient in the same file of arrays (5) and the same name in another source (6) are alone.
    partners = find_partners(
        pool(
            ("a", "p", "clip"), ("a", "p", "still 1"), ("a", "p", "clip"), ("a", "p", "clip"),
            ("a", "p", "still 2"), ("a", "q", "clip"), ("b", "p", "clip"),
        )
    )  # fmt: skip
    expected = [{2, 3}, {4}, {0, 3}, {0, 2}, {1}, {5}, {6}]
    assert [seen_with(partners, index) for index in range(7)] == expected


def test_partners_of_patients_by_hand():
    # The frames and stills of patient p of source a all go together; another patient in the same file (5) and
    # the same name in another source (6) are alone.
    partners = find_partners(
        pool(
            ("a", "p", "clip"), ("a", "p", "still 1"), ("a", "p", "clip"), ("a", "p", "clip"),
            ("a", "p", "still 2"), ("a", "q", "clip"), ("b", "p", "clip"),
        ),
        "patient",
    )  # fmt: skip
    expected = [{1, 2, 3, 4}, {0, 2, 3, 4}, {0, 1, 3, 4}, {0, 1, 2, 4}, {0, 1, 2, 3}, {5}, {6}]
    assert [seen_with(partners, index) for index in range(7)] == expected


@pytest.mark.parametrize("together", ["clip", "patient"])
def test_a_pool_without_partners_is_refused_and_how_many_there_are_is_said(together, caplog):
    caplog.set_level("INFO")
    alone = pool(("a", "p", "1"), ("a", "q", "2"), ("b", "p", "1"))
    with pytest.raises(CorpusError, match=f"none of 3 images has another of its {together}, ") as caught:
        check_partners(alone, together)
    assert "keep_per_cluster=null" in caught.value.hint
    assert "model.agreement.kind=image" in caught.value.hint
    check_partners(pool(("a", "p", "1"), ("a", "q", "2"), ("a", "p", "1")), together)
    assert f"2 of 3 images have another of their {together}" in caplog.text


@given(members=st.lists(st.integers(0, 5), min_size=1, max_size=40), seed=st.integers(0, 99))
def test_a_partner_is_of_the_same_clip_and_never_oneself_unless_alone(members, seed):
    members, indices = np.array(members), np.arange(len(members))
    partners = group_by(members).draw(indices, np.random.default_rng(seed))
    assert np.array_equal(members[partners], members)
    alone = np.bincount(members)[members] == 1
    assert np.array_equal(partners == indices, alone)


def test_all_partners_are_equally_likely():
    partners = group_by(np.array([7, 7, 3, 7, 7])).draw(np.full(4000, 3), np.random.default_rng(0))
    counts = np.bincount(partners, minlength=5)
    assert counts[[2, 3]].tolist() == [0, 0]
    assert np.abs(counts[[0, 1, 4]] / 4000 - 1 / 3).max() < 0.03


def test_draws_depend_on_the_generator_alone():
    partners, indices = group_by(np.arange(40) // 4), np.arange(40)
    one, same, other = (partners.draw(indices, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
