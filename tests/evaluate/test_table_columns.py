import numpy as np
import pytest

from usfmae.base.errors import DatasetError
from usfmae.evaluate.table_columns import Columns, fit_table, refuse_the_label

TRAIN = [
    {"age": "20", "device": "B", "side": "left"},
    {"age": "40", "device": "A", "side": "right"},
    {"age": "", "device": "A", "side": "left"},
    {"age": "90", "device": "NaN", "side": "left"},
]
COLUMNS = Columns(numeric=("age",), categorical=("device", "side"))


def patients(words, labels, copies=1):
    """One patient per word, with `copies` rows."""
    rows = [{"x": word} for word in words for _ in range(copies)]
    groups = [f"p{number}" for number in range(len(words)) for _ in range(copies)]
    return rows, np.repeat(np.array(labels, dtype=np.int64), copies), groups


def test_encoding_by_hand():
    # Ages 20, 40, 90: mean 50, deviation sqrt((900 + 100 + 1600) / 3) = 29.44, median 40.
    encoder = fit_table(TRAIN, COLUMNS)
    assert encoder.names == (
        "age", "age missing", "device=missing", "device=A", "device=B", "side=left", "side=right"
    )  # fmt: skip
    rows = encoder.encode([*TRAIN[2:], {"device": "C", "age": "50"}])
    deviation = np.sqrt(2600 / 3)
    expected = [
        [-10 / deviation, 1, 0, 1, 0, 1, 0],
        [40 / deviation, 0, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_allclose(rows, expected)


def test_none_is_a_finding_and_unknown_is_not():
    rows = [{"calcification": word} for word in ("none", "micro", "unknown", "None", "NULL", "?", "N/A", "-")]
    encoder = fit_table(rows, Columns(categorical=("calcification",)))
    assert encoder.names == (
        "calcification=missing", "calcification=None", "calcification=micro", "calcification=none"
    )  # fmt: skip
    assert encoder.encode(rows)[:, 0].tolist() == [0, 0, 1, 0, 1, 1, 1, 1]


def test_what_is_encoded_depends_on_training_rows_alone():
    encoder = fit_table(TRAIN, COLUMNS)
    alone = encoder.encode(TRAIN[:1])
    among = encoder.encode([TRAIN[0], {"age": "1000", "device": "Z", "side": "top"}])
    np.testing.assert_array_equal(alone[0], among[0])


def test_a_column_that_is_whole_in_training_gets_no_indicator_and_the_median_later():
    encoder = fit_table(TRAIN[:2], Columns(numeric=("age",)))
    assert encoder.names == ("age",)
    assert encoder.encode([{"age": "n/a"}, {}, {"age": " 30 "}]).tolist() == [[0], [0], [0]]


def test_a_constant_column_is_0_and_no_columns_are_no_numbers():
    encoder = fit_table([{"age": "7"}, {"age": "7"}], Columns(numeric=("age",)))
    assert encoder.encode([{"age": "7"}]).tolist() == [[0.0]]
    assert fit_table(TRAIN, Columns()).encode(TRAIN).shape == (4, 0)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (TRAIN, Columns(numeric=("weight",)), "no row has a column weight"),
        (TRAIN, Columns(numeric=("device",)), r"column device: 3 of 4 rows hold no number \(first: 'B'\)"),
        ([{"x": "inf"}, {"x": "1"}], Columns(numeric=("x",)), "1 of 2 rows hold no number"),
        ([{"x": ""}, {"x": "-"}], Columns(numeric=("x",)), "holds no number in 2 training rows"),
    ],
)
def test_bad_columns_are_named(rows, columns, message):
    with pytest.raises(DatasetError, match=message):
        fit_table(rows, columns)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_the_label_under_another_name_is_refused(kind):
    rows, labels, groups = patients(["7", "9"] * 30, [0, 1] * 30)
    columns = Columns(**{kind: ("x",)})
    with pytest.raises(
        DatasetError, match=r"column x alone gives the class of 100\.0 %.*60 patients"
    ) as found:
        refuse_the_label(rows, labels, groups, columns)
    assert "allow=('x',)" in found.value.hint
    refuse_the_label(rows, labels, groups, Columns(**{kind: ("x",)}, allow=("x",)))


def test_many_words_for_each_class_are_the_label_too():
    # Ten histologies, five of each class; one patient in 60 has a word of its own, which is not judged.
    words = [f"type {number % 10}" for number in range(59)] + ["rare"]
    labels = [number % 10 % 2 for number in range(59)] + [1]
    rows, labels, groups = patients(words, labels)
    with pytest.raises(DatasetError, match="59 patients"):
        refuse_the_label(rows, labels, groups, Columns(categorical=("x",)))


def test_a_measurement_that_parts_the_classes_is_the_label_and_one_that_overlaps_is_not():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 40)
    apart = [f"{label * 10 + rng.random():.4f}" for label in labels]
    rows, labels, groups = patients(apart, labels)
    with pytest.raises(DatasetError, match="it is the label under another name"):
        refuse_the_label(rows, labels, groups, Columns(numeric=("x",)))
    near = [f"{label + rng.normal():.4f}" for label in labels]
    refuse_the_label(*patients(near, labels), Columns(numeric=("x",)))


def test_identifiers_predict_nothing_though_each_has_one_class():
    words = [f"case-{number}" for number in range(60)]
    refuse_the_label(*patients(words, [0, 1] * 30, copies=3), Columns(categorical=("x",)))


def test_a_useful_column_is_no_label_even_where_one_class_is_rare():
    # 99.5 % of 400 rows are class 0: always saying so is right as often, but never for class 1.
    rows, labels, groups = patients(["a"] * 400, [0] * 398 + [1] * 2)
    refuse_the_label(rows, labels, groups, Columns(categorical=("x",)))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    words = [str(label if rng.random() < 0.95 else 1 - label) for label in labels]
    refuse_the_label(*patients(words, labels), Columns(categorical=("x",)))


def test_few_patients_convict_no_column():
    refuse_the_label(*patients(["7", "9"] * 14, [0, 1] * 14, copies=5), Columns(categorical=("x",)))


@pytest.mark.parametrize("name", ["Histology", "pathology report", "Diagnosis_code", "LABEL"])
def test_names_of_the_truth_are_refused_however_few_patients_there_are(name):
    columns = Columns(categorical=(name,))
    with pytest.raises(DatasetError, match=f"column {name} is named like the label"):
        refuse_the_label([{name: "a"}, {name: "b"}], np.array([0, 1]), ["p", "q"], columns)


def test_a_physicians_reading_is_allowed_and_said():
    columns = Columns(categorical=("BIRADS", "Side"))
    assert columns.notes() == (
        "BIRADS is a physician's own judgement of the picture: the result is that of both together",
    )
    assert "may be the label" in Columns(categorical=("code",), allow=("code",)).notes()[0]
    refuse_the_label(
        [{"BIRADS": "4", "Side": "l"}, {"BIRADS": "2", "Side": "r"}], np.array([1, 0]), ["p", "q"], columns
    )
