import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from usfmae.base.errors import DatasetError
from usfmae.evaluate import fusion
from usfmae.evaluate.fusion import fit_fusion
from usfmae.evaluate.linear_probe import C_GRID
from usfmae.evaluate.statistics import BootstrapConfig, paired_difference
from usfmae.evaluate.table_columns import Columns

AGE = Columns(numeric=("age",))


def study(number=120, *, by_age=2.0, by_picture=1.5, seed=0):
    """Two pictures of each patient; the class depends on the first feature and on age. Every seventh age is
    missing; the device says nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, number)
    age = 50 + 10 * (by_age * labels + rng.normal(size=number))
    features = np.repeat(rng.normal(size=(number, 8)), 2, axis=0) + rng.normal(size=(2 * number, 8)) / 3
    features[:, 0] += by_picture * np.repeat(labels, 2)
    rows = [
        {"age": "" if one % 7 == 0 else f"{age[one]:.1f}", "device": "AB"[one % 2]}
        for one in range(number)
        for _ in range(2)
    ]
    groups = [f"p{one}" for one in range(number) for _ in range(2)]
    return features.astype(np.float32), rows, np.repeat(labels, 2), groups


def fitted(data, columns=None, **how):
    return fit_fusion(*data, num_classes=2, columns=columns, **how)


def auroc(model, data):
    return roc_auc_score(data[2], model.probabilities(data[0], data[1])[:, 1])


@pytest.mark.parametrize("image_as", ["features", "log-odds"])
def test_a_column_that_tells_something_helps_and_one_that_does_not_adds_nothing(image_as):
    train, test = study(), study(seed=1)
    alone, with_age = fitted(train), fitted(train, AGE, image_as=image_as)
    with_device = fitted(train, Columns(categorical=("device",)), image_as=image_as)
    assert auroc(with_age, test) > auroc(alone, test) + 0.05
    assert abs(auroc(with_device, test) - auroc(alone, test)) < 0.02
    answers = [model.probabilities(test[0], test[1]) for model in (alone, with_age, with_device)]
    patients = np.unique(test[3], return_inverse=True)[1]
    gain = paired_difference(test[2], answers[0], answers[1], patients, config=BootstrapConfig())["auroc"]
    none = paired_difference(test[2], answers[0], answers[2], patients, config=BootstrapConfig())["auroc"]
    assert gain.low > 0
    assert none.low <= 0 <= none.high


def test_the_table_alone_needs_no_features():
    train, test = study(), study(seed=1)
    nothing = [(data[0][:, :0], *data[1:]) for data in (train, test)]
    for image_as in ("features", "log-odds"):
        model = fitted(nothing[0], AGE, image_as=image_as)
        assert model.image_only is None
        assert 0.8 < auroc(model, nothing[1]) < auroc(fitted(train, AGE), test)


def test_log_odds_of_pictures_that_say_nothing_are_not_believed():
    # 60 features of noise and 80 patients: learnt by heart, they look certain on the pictures learnt from.
    # The second regression sees answers out of fold, so it leaves the decision to age.
    def noisy(seed):
        _, rows, labels, groups = study(80, seed=seed)
        noise = np.random.default_rng(seed + 100).normal(size=(80, 60)).repeat(2, axis=0)
        return noise, rows, labels, groups

    train, test = noisy(0), noisy(1)
    table = fitted((train[0][:, :0], *train[1:]), AGE)
    together = fitted(train, AGE, image_as="log-odds")
    assert auroc(together, test) > auroc(table, (test[0][:, :0], *test[1:])) - 0.03
    picture, age = together.model[-1].coef_[0][:2]
    assert abs(picture) < 0.3 * age


def test_no_patient_is_on_both_sides_of_a_part_and_each_row_is_asked_once():
    _, _, labels, groups = study()
    names = np.array(groups)
    parts = fusion._parts(labels, groups, 0)
    assert len(parts) == 5
    assert sorted(np.concatenate([asked for _, asked in parts])) == list(range(len(labels)))
    assert all(not set(names[learnt]) & set(names[asked]) for learnt, asked in parts)


def test_the_penalty_is_the_one_that_patients_left_out_like_best():
    noise = np.random.default_rng(0).normal(size=(240, 60)).astype(np.float32)
    useless = fitted((noise, *study()[1:]))
    useful = fitted(study(by_picture=6.0))
    for model in (useless, useful):
        assert list(model.log_loss) == list(C_GRID)
        assert model.log_loss[model.c] == min(model.log_loss.values())
    assert useless.c < useful.c


def test_the_choice_of_a_balanced_regression_counts_each_class_alike():
    # 54 patients of one class, 6 of the other: counting rows, the first decides nearly alone.
    features, rows, labels, groups = study()
    kept = [one for one in range(240) if labels[one] == 0 or one < 24]
    few = features[kept], [rows[one] for one in kept], labels[kept], [groups[one] for one in kept]
    parts = fusion._parts(few[2], few[3], 0)
    model = fitted(few, balanced=True)
    for c, loss in model.log_loss.items():
        found = fusion._out_of_fold(few[0].astype(np.float64), few[2], parts, c, 2, True)
        told = -np.log(found[np.arange(len(kept)), few[2]])
        assert loss == pytest.approx((told[few[2] == 0].mean() + told[few[2] == 1].mean()) / 2)
    assert fitted(few).log_loss != model.log_loss


def test_equal_seeds_give_equal_models_and_rows_may_come_in_any_order():
    train, test = study(), study(seed=1)
    answers = [fitted(train, AGE, seed=3).probabilities(test[0], test[1]) for _ in range(2)]
    np.testing.assert_array_equal(*answers)
    turned = fitted(train, AGE, seed=3).probabilities(test[0][::-1], test[1][::-1])
    np.testing.assert_allclose(turned[::-1], answers[0])


def test_three_classes_and_one_that_training_lacks():
    features, rows, labels, groups = study()
    labels = np.where(features[:, 1] > 0.5, 3, labels)
    for image_as in ("features", "log-odds"):
        model = fit_fusion(features, rows, labels, groups, num_classes=4, columns=AGE, image_as=image_as)
        answers = model.probabilities(features, rows)
        np.testing.assert_allclose(answers.sum(axis=1), 1)
        assert answers[:, 2].max() == 0
        assert (answers.argmax(axis=1) == labels).mean() > 0.8


def test_the_label_among_the_columns_is_refused():
    features, rows, labels, groups = study()
    told = [row | {"code": "xy"[label]} for row, label in zip(rows, labels, strict=True)]
    with pytest.raises(DatasetError, match="column code alone gives the class"):
        fit_fusion(features, told, labels, groups, num_classes=2, columns=Columns(categorical=("code",)))


def test_bad_arguments_are_refused():
    features, rows, labels, groups = study()
    with pytest.raises(ValueError, match="different lengths"):
        fit_fusion(features, rows[:3], labels, groups, num_classes=2)
    with pytest.raises(ValueError, match=r"two classes of two patients each, not \[120\]"):
        fit_fusion(features, rows, np.zeros_like(labels), groups, num_classes=2)
