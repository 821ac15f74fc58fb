import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from usfmae.evaluate.attention_pool import AttentionPoolConfig, GatedAttentionPool, fit_attention_pool
from usfmae.evaluate.linear_probe import fit_fixed_probe
from usfmae.evaluate.patient_fusion import bags_of, mean_features

QUICK = AttentionPoolConfig(epochs=2, hidden_dim=8)


def needles(number, seed):
    """Bags of 3 to 12 pictures; in positive ones a single picture has a large entry 0, and other pictures
    have noise in entry 1 that hides it from the mean."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 13, number)
    labels = rng.integers(0, 2, number)
    groups = [f"p{one}" for one in np.repeat(np.arange(number), sizes)]
    features = rng.normal(size=(sizes.sum(), 6)).astype(np.float32)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    features[first, 0] = np.where(labels, 5, features[first, 0])
    return features, bags_of(groups, np.repeat(labels, sizes))


def test_the_weights_are_equation_9_by_hand():
    # One hidden unit with V = (1), U = (0), w = 2: scores tanh(x) * 1/2 * 2 = tanh(x).
    pool = GatedAttentionPool(1, 2, hidden_dim=1)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.zero_()
        pool.content.weight.fill_(1)
        pool.weigh.weight.fill_(2)
        pool.classifier.weight.copy_(torch.tensor([[1.0], [0.0]]))
    features = torch.tensor([[[0.0], [1.0], [9.0]]])
    logits, weights = pool(features, torch.tensor([[True, True, False]]))
    e = np.exp(np.tanh(1.0))
    np.testing.assert_allclose(weights[0].detach(), [1 / (1 + e), e / (1 + e), 0], rtol=1e-6)
    np.testing.assert_allclose(logits[0].detach(), [e / (1 + e), 0], rtol=1e-6)


def test_it_finds_the_one_picture_that_decides_where_the_mean_does_not():
    train, bags = needles(150, 0)
    test, unseen = needles(150, 1)
    pool = fit_attention_pool(train, bags, num_classes=2)
    ours = roc_auc_score(unseen.labels, pool.probabilities(test, unseen)[:, 1])
    probe = fit_fixed_probe(mean_features(train, bags), bags.labels, num_classes=2)
    mean = roc_auc_score(unseen.labels, probe.probabilities(mean_features(test, unseen))[:, 1])
    assert ours > 0.95
    assert ours > mean + 0.03
    large = [one for one, label in zip(pool.weights(test, unseen), unseen.labels, strict=True) if label]
    assert np.mean([row.argmax() == 0 for row in large]) > 0.9


def test_weights_sum_to_one_and_a_single_picture_has_all():
    features, bags = needles(20, 0)
    alone = bags_of(["a", "b", "c"], np.array([0, 1, 0]))
    pool = fit_attention_pool(features, bags, num_classes=3, config=QUICK)
    assert [row.tolist() for row in pool.weights(features[:3], alone)] == [[1.0]] * 3
    np.testing.assert_allclose([row.sum() for row in pool.weights(features, bags)], 1, rtol=1e-5)
    probabilities = pool.probabilities(features, bags)
    assert probabilities.shape == (20, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_neither_other_bags_nor_the_order_of_pictures_change_an_answer():
    features, bags = needles(20, 0)
    pool = fit_attention_pool(features, bags, num_classes=2, config=QUICK)
    whole = pool.probabilities(features, bags)
    alone = np.concatenate([pool.probabilities(features, bags.chosen([one])) for one in range(20)])
    np.testing.assert_allclose(alone, whole, atol=1e-6)
    members = bags.members[0]
    turned = features.copy()
    turned[members] = features[members[::-1]]
    np.testing.assert_allclose(pool.probabilities(turned, bags)[0], whole[0], atol=1e-6)


def test_equal_seeds_train_equal_networks_and_only_the_bags_are_seen():
    features, bags = needles(20, 0)
    train = bags.chosen(range(12))
    other = features.copy()
    other[np.concatenate(bags.members[12:])] = 1e6
    torch.manual_seed(5)
    once = fit_attention_pool(features, train, num_classes=2, config=QUICK).probabilities(features, train)
    torch.manual_seed(6)
    again = fit_attention_pool(other, train, num_classes=2, config=QUICK).probabilities(features, train)
    np.testing.assert_array_equal(once, again)
    seed = QUICK.model_copy(update={"seed": 1})
    assert not np.array_equal(
        once, fit_attention_pool(features, train, num_classes=2, config=seed).probabilities(features, train)
    )


def test_one_bag_is_refused():
    features, bags = needles(3, 0)
    with pytest.raises(ValueError, match="at least two bags, not 1"):
        fit_attention_pool(features, bags.chosen([0]), num_classes=2)
