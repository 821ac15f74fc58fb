from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usfmae.base.errors import SettingError
from usfmae.datasets.card import all_cards
from usfmae.datasets.catalogue import catalogue_page, readme_table
from usfmae.datasets.registry import get_card
from usfmae.datasets.terms import LICENCES, NOTHING_STATED, Terms, strictest, terms_of, terms_of_licence

ROOT = Path(__file__).parents[2]
ANSWERS = st.sampled_from([True, False, None])
TERMS = st.builds(Terms, commercial=ANSWERS, share=ANSWERS, derivatives=ANSWERS, share_alike=st.booleans())


@pytest.mark.parametrize(
    ("name", "commercial", "share", "derivatives", "alike"),
    [
        ("bus-bra", True, True, True, False),  # CC BY
        ("covid-blues", False, True, False, False),  # CC BY-NC-ND
        ("camus", False, True, True, True),  # CC BY-NC-SA
        ("kidneyus", False, True, True, True),  # "CC BY-NC-SA", no SPDX name
        ("echonet-dynamic", False, False, False, False),
        ("busi", None, None, None, False),  # nothing stated
    ],
)
def test_terms_are_read_from_the_licence(name, commercial, share, derivatives, alike):
    terms = terms_of(get_card(name))
    assert (terms.commercial, terms.share, terms.derivatives) == (commercial, share, derivatives)
    assert terms.share_alike == alike


@pytest.mark.parametrize(
    ("spdx", "commercial", "derivatives", "alike"),
    [
        ("CC0-1.0", True, True, False),
        ("CC-BY-SA-4.0", True, True, True),
        ("CC-BY-NC-SA-4.0", False, True, True),
        ("CC-BY-NC-ND-4.0", False, False, False),
        ("GPL-3.0-only", True, True, True),
        ("Apache-2.0", True, True, False),
    ],
)
def test_a_licence_that_an_owner_names_has_its_terms(spdx, commercial, derivatives, alike):
    terms = terms_of_licence(spdx)
    assert (terms.commercial, terms.share, terms.derivatives) == (commercial, True, derivatives)
    assert terms.share_alike == alike


def test_named_licences_agree_with_the_cards_of_known_sets():
    compared = [card for card in all_cards().values() if card.licence.spdx in LICENCES]
    assert len(compared) > 20
    for card in compared:
        assert terms_of_licence(card.licence.spdx) == terms_of(card), card.id


def test_a_licence_that_is_not_known_is_named_with_what_may_be_meant():
    with pytest.raises(SettingError, match=r"licence cc-by-4: is not known") as caught:
        terms_of_licence("cc-by-4")
    assert "CC-BY-4.0" in caught.value.hint
    with pytest.raises(SettingError) as caught:
        terms_of_licence("mine")
    assert "CC0-1.0, " in caught.value.hint


def test_the_strictest_term_wins_and_unknown_is_no_permission():
    breast, lung, unknown = (terms_of(get_card(name)) for name in ("bus-bra", "covid-blues", "busi"))
    assert strictest([breast, breast]) == breast
    assert strictest([breast, lung]).commercial is False
    assert strictest([breast, unknown]).commercial is None
    assert strictest([breast, lung, unknown]).commercial is False
    assert strictest([]) == NOTHING_STATED


@given(st.lists(TERMS, min_size=1, max_size=5), st.randoms())
def test_the_order_does_not_matter_and_more_sources_never_allow_more(several, random):
    whole = strictest(several)
    shuffled = list(several)
    random.shuffle(shuffled)
    assert strictest(shuffled) == whole
    assert strictest([strictest(several[:1]), *several[1:]]) == whole
    for part in several:
        assert whole.commercial is not True or part.commercial is True
        assert part.commercial is not False or whole.commercial is False


def test_the_page_is_drawn_from_the_cards():
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert page == catalogue_page(all_cards().values()), "stale: run `make docs`"


def test_the_table_of_the_readme_is_drawn_from_the_cards():
    assert readme_table(all_cards().values()) in (ROOT / "README.md").read_text(), "stale: see readme_table"
