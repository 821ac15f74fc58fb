"""What of a convolutional network sees only visible places: by hand, and as the whole maps would have it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from usfmae.models.cnn.efficientnet_lite import STAGE_DIMS, SamePadded
from usfmae.models.encoders import CnnConfig, build_cnn, start_cnn
from usfmae.models.visible_norm import norm_rows
from usfmae.models.visible_places import VisiblePlaces, seeing_only


@pytest.fixture(scope="module")
def encoder():
    made = build_cnn(CnnConfig(name="efficientnet-lite0", channels=1))
    start_cnn(made, torch.Generator().manual_seed(1))
    return made.train()


@pytest.fixture
def places():
    """Two images of 2 x 2 patches; of the first the left, of the second the lower ones are visible."""
    return VisiblePlaces(torch.tensor([[0, 2], [2, 3]]), (2, 2))


def test_rows_by_hand(places):
    # Places of the first image are 0 to 3, of the second 4 to 7; twice as fine, 0 to 15 and 16 to 31.
    assert places.rows(1).tolist() == [0, 2, 6, 7]
    first, second = places.rows(2).tolist()[:8], places.rows(2).tolist()[8:]
    assert first == [0, 1, 4, 5, 8, 9, 12, 13]
    assert second == [24, 25, 28, 29, 26, 27, 30, 31]
    assert places.mask(1).tolist() == [[[True, False], [True, False]], [[False, False], [True, True]]]


def test_rows_of_a_rectangle_go_back_to_their_places():
    places = VisiblePlaces(torch.tensor([[1, 5], [0, 3]]), (2, 3))
    maps = torch.arange(2 * 4 * 6 * 2.0).reshape(2, 2, 4, 6)
    back = places.to_maps(places.to_rows(maps))
    assert torch.equal(back, maps * places.mask(2)[:, None])
    filled = places.to_maps(places.to_rows(maps), torch.tensor([-1.0, -2.0]))
    token = torch.tensor([-1.0, -2.0])[None, :, None, None]
    assert torch.equal(filled, torch.where(places.mask(2)[:, None], maps, token))


def test_gradients_of_rows_are_those_of_numbers(places):
    maps = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    token = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, t: places.to_maps(places.to_rows(m) ** 2, t), (maps, token))


def test_a_norm_takes_the_moments_of_visible_places_by_hand():
    # 1, 3, 5, 7: mean 4, variance 5 (unbiased 20/3). The norm learns those of its first batch, then the mean
    # of those of two, until its own momentum is slower.
    norm = nn.BatchNorm2d(1, eps=1e-9, momentum=0.4)
    out = norm_rows(norm, torch.tensor([[1.0], [3.0], [5.0], [7.0]]))
    assert out.flatten().tolist() == pytest.approx([-3 / 5**0.5, -1 / 5**0.5, 1 / 5**0.5, 3 / 5**0.5])
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((4.0, 20 / 3))
    norm_rows(norm, torch.tensor([[0.0], [4.0]]))  # mean 2, unbiased variance 8
    assert (norm.running_mean.item(), norm.running_var.item()) == pytest.approx((3.0, 22 / 3))
    norm_rows(norm, torch.tensor([[7.0], [9.0]]))  # 1/3 is slower than 0.4
    assert norm.running_mean.item() == pytest.approx(3.0 + 0.4 * 5.0)
    assert norm.num_batches_tracked.item() == 3
    seen = norm_rows(norm.eval(), torch.tensor([[5.0], [5.0 + norm.running_var.item() ** 0.5]]))
    assert seen.flatten().tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert norm.num_batches_tracked.item() == 3


def naive(encoder, images, mask):
    """SparK as it is written: whole maps, zero where hidden after each convolution and each norm."""

    def shown(x):
        return x * mask.repeat_interleave(x.shape[2] // mask.shape[2], 2).repeat_interleave(
            x.shape[3] // mask.shape[3], 3
        )

    def normed(norm, x):
        mean = shown(x).sum((0, 2, 3)) / shown(torch.ones_like(x)).sum((0, 2, 3))
        mean = mean[None, :, None, None]
        var = (shown(x - mean) ** 2).sum((0, 2, 3)) / shown(torch.ones_like(x)).sum((0, 2, 3))
        y = (x - mean) / (var[None, :, None, None] + norm.eps).sqrt()
        return shown(y * norm.weight[None, :, None, None] + norm.bias[None, :, None, None])

    x = F.relu6(normed(encoder._bn0, shown(encoder._conv_stem(shown(images)))))
    stages = []
    for index, block in enumerate(encoder._blocks):
        y = x
        if block.expands:
            y = F.relu6(normed(block._bn0, shown(block._expand_conv(y))))
        y = F.relu6(normed(block._bn1, shown(block._depthwise_conv(y))))
        y = normed(block._bn2, shown(block._project_conv(y)))
        x = x + y if block.adds else y
        if index in (2, 4, 10):
            stages.append(x)
    return [*stages, F.relu6(normed(encoder._bn1, shown(encoder._conv_head(x))))]


def test_visible_rows_are_those_of_whole_maps_with_hidden_places_at_zero(encoder, places):
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    mask = places.mask(1)[:, None].double()
    exact = encoder.double()
    with torch.no_grad():
        wanted = naive(exact, images.double(), mask)
        with seeing_only(exact, places):
            found = list(exact.stages(images.double() * places.mask(32)[:, None]))
    encoder.float()
    assert [rows.shape[1] for rows in found] == list(STAGE_DIMS)
    for rows, maps in zip(found, wanted, strict=True):
        assert torch.allclose(places.to_maps(rows), maps, atol=1e-9)
    assert sum(bool(maps.abs().max() > 0.1) for maps in wanted) == 4


def test_afterwards_the_network_is_what_it_was_to_the_bit(encoder, places):
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    encoder.eval()
    with torch.no_grad():
        before = encoder(images)
        with seeing_only(encoder, places):
            assert next(iter(encoder.stages(images))).ndim == 2
        assert torch.equal(encoder(images), before)
        with pytest.raises(ZeroDivisionError), seeing_only(encoder, places):
            raise ZeroDivisionError
        assert torch.equal(encoder(images), before)
        # And this is what it was before it knew of places.
        x = F.relu6(
            encoder._bn0(
                encoder._conv_stem(torch.empty_like(images, memory_format=torch.channels_last).copy_(images))
            )
        )
        for block in encoder._blocks:
            x = block(x)
        assert torch.equal(
            F.relu6(encoder._bn1(encoder._conv_head(x))),
            encoder.last_map(torch.empty_like(images, memory_format=torch.channels_last).copy_(images)),
        )
    assert not any("forward" in vars(layer) for layer in encoder.modules())


def test_a_forward_that_was_there_comes_back(places):
    conv = SamePadded(1, 2, 1)
    conv.forward = lambda x: x + 1
    with seeing_only(conv, places):
        assert conv(torch.zeros(4, 1)).shape == (4, 2)
    assert conv(torch.zeros(4, 1)).tolist() == [[1.0]] * 4
