import numpy as np
import pytest
import torch

from usfmae.evaluate.attentive_probe import AttentiveProbe, AttentiveProbeSettings, fit_attentive_probe

QUICK = AttentiveProbeSettings(num_heads=2, epochs=30, batch=16, drop_ratio=0.0, lr=3e-3)


def one_telling_token(num, *, seed):
    """Images of 6 tokens; one of them, anywhere, says the class by its sign, the others are noise."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(0, 1, (num, 6, 8)).astype(np.float32)
    labels = rng.integers(0, 2, num)
    place = rng.integers(0, 6, num)
    tokens[np.arange(num), place, 0] = 6  # how the telling token is recognised
    tokens[np.arange(num), place, 1] = np.where(labels == 1, 4, -4)
    return tokens, labels


def test_it_finds_the_token_that_tells_wherever_it_is():
    probe = fit_attentive_probe(*one_telling_token(300, seed=0), num_classes=2, settings=QUICK)
    tokens, labels = one_telling_token(200, seed=1)
    assert (probe.probabilities(tokens).argmax(axis=1) == labels).mean() > 0.95


def test_the_order_of_tokens_does_not_matter():
    tokens, labels = one_telling_token(40, seed=2)
    probe = fit_attentive_probe(tokens, labels, num_classes=2, settings=QUICK)
    np.testing.assert_allclose(
        probe.probabilities(tokens), probe.probabilities(tokens[:, ::-1].copy()), atol=1e-6
    )


def test_equal_arguments_give_equal_probes_and_leave_the_random_state_alone():
    tokens, labels = one_telling_token(40, seed=3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    settings = QUICK.model_copy(update={"drop_ratio": 0.3, "epochs": 3})
    first, again, other = (
        fit_attentive_probe(tokens, labels, num_classes=3, settings=settings, seed=seed).probabilities(tokens)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (40, 3)
    np.testing.assert_allclose(first.sum(axis=1), 1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_query_of_zeros_is_the_mean_of_the_values():
    probe = AttentiveProbe(4, 2, inner_dim=6, num_heads=2, drop_ratio=0.0).eval()
    tokens = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = probe.classifier(probe.value(tokens).mean(dim=1))
        torch.testing.assert_close(probe(tokens), expected)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        AttentiveProbe(16, 2, inner_dim=8, num_heads=3, drop_ratio=0.0)
