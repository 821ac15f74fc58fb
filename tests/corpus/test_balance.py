"""How often images are drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.corpus.balance import BalanceConfig, image_weights, nested_chances

NAMES = st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from("abc"), st.sampled_from("pq")), min_size=1)


def test_two_sources_by_hand():
    # 1 and 4 images; power 1/2 gives the sources 1 : 2, so 1/3 and 2/3, the latter for four images.
    chances = nested_chances([["a", "b", "b", "b", "b"]], [0.5])
    assert chances == pytest.approx([1 / 3, 1 / 6, 1 / 6, 1 / 6, 1 / 6])


def test_a_clip_of_a_set_that_is_balanced_by_clip_by_hand():
    # Sources as they come (3 of 4 and 1 of 4); within source a, clips p (2 frames) and q (1) count alike.
    chances = nested_chances([["a", "a", "a", "b"], ["p", "p", "q", "p"]], [1.0, 0.0])
    assert chances == pytest.approx([3 / 16, 3 / 16, 3 / 8, 1 / 4])


@given(NAMES)
def test_powers_of_one_draw_every_image_alike(names):
    levels = [list(level) for level in zip(*names, strict=True)]
    assert nested_chances(levels, [1.0, 1.0, 1.0]) == pytest.approx(np.full(len(names), 1 / len(names)))


@given(NAMES, st.tuples(*[st.floats(0, 1)] * 3))
def test_chances_add_up_to_one_and_powers_of_zero_make_members_alike(names, powers):
    levels = [list(level) for level in zip(*names, strict=True)]
    assert nested_chances(levels, powers).sum() == pytest.approx(1)
    flat = nested_chances(levels, [0.0, *powers[1:]])
    members = sorted(set(levels[0]))
    share = [flat[[name == member for name in levels[0]]].sum() for member in members]
    assert share == pytest.approx([1 / len(members)] * len(members))


def test_the_same_clip_name_in_two_sources_is_two_clips():
    chances = nested_chances([["a", "b", "b"], ["clip", "clip", "clip"]], [0.0, 0.0])
    assert chances == pytest.approx([1 / 2, 1 / 4, 1 / 4])


def test_a_corpus_is_drawn_as_it_is_unless_asked(corpus):
    assert image_weights(corpus, BalanceConfig()) is None
    chances = image_weights(corpus, BalanceConfig(source=0.0))
    assert chances == pytest.approx(np.full(len(corpus), 1 / len(corpus)))  # one source only
