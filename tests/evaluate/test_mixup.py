import numpy as np
import pytest
import torch
from scipy import stats

from usfmae.base.input_spec import InputSpec
from usfmae.base.seeds import rng_for
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.fold_training import FinetuneBatches, FinetuneStep
from usfmae.evaluate.mixup import Pairs, draw_pairs, mix, with_partners

SPEC = InputSpec(image_px=8)


class Net(torch.nn.Module):
    """A network that is not linear in its image."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.LazyLinear(16), torch.nn.GELU(), torch.nn.Linear(16, 3)
        )

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    views = torch.from_numpy(rng.integers(0, 256, (6, 8, 8), dtype=np.uint8))
    return views, torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture
def net(batch):
    made = Net()
    STEP(made, batch)
    return made


STEP = FinetuneStep(SPEC, torch.tensor([0.5, 1.0, 1.5]), 0.1)
"""Classes weigh differently and labels are smoothed."""


def pairs(share, partner=(1, 2, 0, 4, 5, 3)):
    return Pairs(np.array(partner), np.full(6, share, np.float32))


def test_an_image_that_keeps_all_of_itself_is_not_mixed(net, batch):
    assert torch.equal(STEP(net, with_partners(batch, pairs(1.0))), STEP(net, batch))


def test_an_image_that_keeps_nothing_is_its_partner(net, batch):
    views, labels = batch
    partner = torch.tensor([1, 2, 0, 4, 5, 3])
    assert torch.equal(
        STEP(net, with_partners(batch, pairs(0.0))), STEP(net, (views[partner], labels[partner]))
    )


def test_an_image_that_is_its_own_partner_stays_as_it_is(net, batch):
    own = pairs(0.3, partner=range(6))
    torch.testing.assert_close(STEP(net, with_partners(batch, own)), STEP(net, batch))


def test_the_loss_of_mixed_labels_is_the_weighted_sum_of_losses(net, batch):
    views, labels, partners, others, share = with_partners(batch, pairs(0.3))
    loss = STEP(net, (views, labels, partners, others, share))
    # The same mixed images with one label each: shares of 1 would unmix them, so labels are given twice.
    of_own = STEP(net, (views, labels, partners, labels, share))
    of_others = STEP(net, (views, others, partners, others, share))
    torch.testing.assert_close(loss, 0.3 * of_own + 0.7 * of_others)


def test_the_loss_is_that_of_mixed_pixels_and_mixed_one_hot_labels(net, batch):
    # By hand: smoothed targets t = 0.9 hot + 0.1 / 3, loss = -sum t log p, weighed by the label's class.
    views, labels, partners, others, share = with_partners(batch, pairs(0.25))
    pixels = (0.25 * views + 0.75 * partners.float()) / 255
    images = (pixels[:, None] - SPEC.mean[0]) / SPEC.std[0]
    logs = net(images).log_softmax(dim=1)
    weight = torch.tensor([0.5, 1.0, 1.5])
    expected = torch.zeros(6)
    for part, of in ((0.25, labels), (0.75, others)):
        target = 0.9 * torch.nn.functional.one_hot(of, 3) + 0.1 / 3
        expected -= part * weight[of] * (target * logs).sum(dim=1)
    torch.testing.assert_close(
        STEP(net, (views, labels, partners, others, share)), expected.mean(), rtol=1e-5, atol=1e-6
    )


def test_rows_have_shares_of_their_own():
    first, second = torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2)
    mixed = mix(first, second, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed[:, 0, 1, 1].tolist() == [0.0, 0.25, 1.0]


def test_partners_are_a_permutation_and_shares_follow_beta():
    drawn = draw_pairs(4000, alpha=0.4, rng=rng_for(0, "test"))
    assert sorted(drawn.partner) == list(range(4000))
    assert stats.kstest(drawn.share, stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    with pytest.raises(ValueError, match="positive alpha, not 0"):
        draw_pairs(4, alpha=0.0, rng=rng_for(0, "test"))


def test_a_mixed_batch_is_the_plain_one_with_partners_and_depends_on_the_step_alone():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    labels = np.arange(20) % 3
    plain = FinetuneBatches(images, labels, 8, 6, AugmentConfig(), seed=3)
    mixed = FinetuneBatches(images, labels, 8, 6, AugmentConfig(), seed=3, mixup=0.4)
    np.random.seed(1)  # noqa: NPY002  (global state has no part in it)
    for step in (0, 5):
        views, own, partners, others, share = mixed(step)
        assert torch.equal(views, plain(step)[0])
        assert torch.equal(own, plain(step)[1])
        rows = [int(np.flatnonzero([torch.equal(one, view) for view in views])[0]) for one in partners]
        assert sorted(rows) == list(range(6))
        assert torch.equal(others, own[rows])
        assert all(
            torch.equal(a, b) for a, b in zip(mixed(step), (views, own, partners, others, share), strict=True)
        )
    assert not torch.equal(mixed(0)[4], mixed(5)[4])


def test_parts_of_a_mixed_batch_add_up_to_the_whole(net, batch):
    # So loop.accumulate changes nothing.
    whole = with_partners(batch, pairs(0.3))
    parts = zip(*(tensor.tensor_split(2) for tensor in whole), strict=True)
    torch.testing.assert_close(sum(STEP(net, part) for part in parts) / 2, STEP(net, whole))
