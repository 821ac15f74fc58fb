import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usfmae.datasets.template import NameField, Template

FIELDS = {
    "case": NameField(digits=3),
    "label": NameField(words={"Benign": "benign", "BenignToo": "benign", "Malignant": "malignant"}),
    "clip": NameField(pattern="[a-z]+[0-9]", fake="b{number}"),
}


def test_a_name_is_read_into_its_fields():
    template = Template("{label}/images/{case}.png", FIELDS)
    assert template.read("Benign/images/007.png") == {"label": "Benign", "case": "007"}
    assert template.read("BenignToo/images/1234.png") == {"label": "BenignToo", "case": "1234"}
    for other in ("Normal/images/007.png", "Benign/images/07.png", "Benign/images/007.png.bak", "007.png"):
        assert template.read(other) is None


def test_a_dot_is_a_dot_and_a_bracket_a_bracket():
    template = Template("a.b (x)/{case}+.png", FIELDS)
    assert template.read("a.b (x)/001+.png") == {"case": "001"}
    assert template.read("aXb (x)/001+.png") is None


def test_a_field_that_stands_twice_must_agree():
    template = Template("{clip}/image/{clip}_{case}.png", FIELDS)
    assert template.read("a1/image/a1_001.png") == {"clip": "a1", "case": "001"}
    assert template.read("a1/image/b2_001.png") is None
    assert template.names == ("clip", "case")


@given(
    case=st.integers(0, 99999),
    label=st.sampled_from(["Benign", "Malignant"]),
    clip=st.from_regex(r"[a-z]{1,9}[0-9]", fullmatch=True),
)
def test_reading_undoes_writing(case, label, clip):
    template = Template("{label}/{clip}_{case}.tif", FIELDS)
    fields = {"label": label, "clip": clip, "case": FIELDS["case"].number(case)}
    assert template.read(template.write(fields)) == fields


def test_words_have_a_meaning_and_other_fields_stand_for_themselves():
    assert FIELDS["label"].meaning("BenignToo") == "benign"
    assert FIELDS["case"].meaning("007") == "007"
    assert FIELDS["case"].number(7) == "007"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "exactly|give one of"),
        ({"digits": 2, "pattern": "x"}, "give one of digits, words and pattern"),
        ({"pattern": "[a-z]+", "fake": "{number}"}, "does not look like the pattern"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        NameField(**values)
