import numpy as np
import pytest
import torch
from small_finetune import small_settings

from usfmae.base.input_spec import InputSpec
from usfmae.engine.metrics_log import read_metrics
from usfmae.engine.optim import OptimConfig
from usfmae.engine.views import AugmentConfig
from usfmae.evaluate.overlap import overlap
from usfmae.evaluate.segment_config import SegmentConfig
from usfmae.evaluate.segment_task import SegmentTaskConfig, load_segment_task
from usfmae.evaluate.segment_training import (
    SegmentBatches,
    SegmentStep,
    soft_dice_loss,
    square_probabilities,
    stored_probabilities,
    train_segmenter,
)
from usfmae.models.segmenter import Segmenter, ViTFeatures
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights


@pytest.fixture(scope="module")
def drawn(fake_bus_bra):
    return load_segment_task("bus-bra", fake_bus_bra, config=SegmentTaskConfig(size_px=64, folds=(2,)))


def small_network(image_px):
    vit = VisionTransformer(ViTConfig(size="ti", image_px=image_px, patch_px=8))
    start_weights(vit, torch.Generator().manual_seed(0))
    return Segmenter(ViTFeatures(vit), 2, channels=1, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def network():
    module = small_network(32)
    torch.nn.init.normal_(module.labels.weight, generator=torch.Generator().manual_seed(2))
    return module


class Fixed(torch.nn.Module):
    """Says the same logits whatever it sees."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images):
        return self.logits.expand(len(images), -1, *images.shape[2:])


def test_soft_dice_by_hand():
    # Four pixels, one of the structure; p = .5 everywhere: 2 * .5 + 1 over (2 + 1) + 1 is a half.
    truth = torch.tensor([[[1, 0], [0, 0]]])
    assert soft_dice_loss(torch.zeros(1, 2, 2, 2), truth).item() == pytest.approx(0.5)


def test_soft_dice_of_two_structures_by_hand():
    # p = 1/3 everywhere. The first has one of four pixels: (2/3 + 1) / (4/3 + 1 + 1) = 1/2; the second is
    # nowhere: 1 / (4/3 + 1) = 3/7.
    truth = torch.tensor([[[1, 0], [0, 0]]])
    loss = soft_dice_loss(torch.zeros(1, 3, 2, 2), truth)
    assert loss.item() == pytest.approx(1 - (1 / 2 + 3 / 7) / 2)


def test_a_perfect_map_costs_no_dice_and_neither_does_a_structure_that_is_rightly_nowhere():
    truth = torch.tensor([[[1, 0], [1, 0]]])
    logits = torch.full((1, 3, 2, 2), -50.0)
    logits.scatter_(1, truth[:, None], 50.0)
    assert soft_dice_loss(logits, truth).item() == pytest.approx(0.0, abs=1e-6)


def test_the_loss_adds_cross_entropy_and_dice_by_hand():
    # Logits 0 and 0: every pixel costs ln 2; Dice is .5 as above, with weight 3.
    step = SegmentStep(InputSpec(image_px=8), 3.0)
    truth = torch.zeros(2, 8, 8, dtype=torch.uint8)
    truth[:, 0, :] = 1  # 8 of 64 px: (2 * 4 + 1) / (32 + 8 + 1)
    loss = step(Fixed(torch.zeros(1, 2, 1, 1)), (torch.zeros(2, 8, 8, dtype=torch.uint8), truth))
    assert loss.item() == pytest.approx(np.log(2) + 3 * (1 - 9 / 41), rel=1e-5)


def test_the_loss_of_a_batch_is_the_mean_over_its_images(network, drawn):
    # Otherwise a batch cut into parts (loop.accumulate) would learn something else.
    step = SegmentStep(InputSpec(image_px=64), 1.0)
    images, maps = torch.from_numpy(drawn.images[:4]), torch.from_numpy(drawn.label_maps[:4])
    whole = step(network.eval(), (images, maps))
    parts = [step(network, (images[i : i + 1], maps[i : i + 1])) for i in range(4)]
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-4)


def test_batches_depend_on_the_step_alone_and_keep_map_and_image_together(drawn):
    bright = np.where(drawn.label_maps > 0, 255, 0).astype(np.uint8)  # images that are their own maps
    config = AugmentConfig(scale=(0.3, 1.0), flip_down=0.5, rotate_deg=(-30, 30))
    batches = SegmentBatches(bright, drawn.label_maps, (48, 48), 8, config, seed=3)
    stream = batches.from_step(0)
    for step in range(4):
        images, maps = next(stream)
        assert torch.equal(images, batches(step)[0])
        assert torch.equal(maps, batches(step)[1])
        assert ((images > 127) != (maps == 1)).float().mean() < 0.01
    assert not torch.equal(batches(0)[0], batches(5)[0])


def test_probabilities_sum_to_one_at_the_size_of_each_stored_picture(network, drawn):
    indices = drawn.splits[0].test[:3]
    said = list(stored_probabilities(network, drawn, indices, input_spec=InputSpec(image_px=32)))
    for index, probabilities in zip(indices.tolist(), said, strict=True):
        assert probabilities.shape == (2, *drawn.stored[index].size)
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


class Bright(torch.nn.Module):
    """Takes what is bright for the structure."""

    def __init__(self):
        super().__init__()
        self.least = torch.nn.Parameter(torch.tensor((185 / 255 - 0.19) / 0.21))

    def forward(self, images):
        return torch.cat([0 * images, 100 * (images - self.least)], dim=1)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("crop", ["none", "sector"])
def test_what_is_seen_in_the_square_is_found_on_the_stored_picture(fake_screens, fit, crop):
    config = SegmentTaskConfig(size_px=160, folds=(2,), fit=fit, crop=crop)
    task = load_segment_task("bus-bra", fake_screens, config=config)
    indices = task.splits[0].test
    for px in (160, 128):
        said = stored_probabilities(Bright(), task, indices, input_spec=InputSpec(image_px=px))
        for index, probabilities in zip(indices.tolist(), said, strict=True):
            found = overlap(task.truth(index) == 1, probabilities.argmax(axis=0) == 1)
            assert found.dice > 0.95
            assert found.hd95 <= 2
            assert probabilities.sum(axis=0).min() > 0.999


def test_a_mirrored_test_is_the_mean_of_both_sides(network, drawn):
    images = drawn.images[:3]
    spec = InputSpec(image_px=32)

    def said(images, **options):
        return np.stack(list(square_probabilities(network, images, input_spec=spec, size_px=64, **options)))

    plain, turned = said(images), said(np.ascontiguousarray(images[:, :, ::-1]))[..., ::-1]
    np.testing.assert_allclose(said(images, mirror=True), (plain + turned) / 2, atol=1e-5)


def test_looking_leaves_the_network_as_it_was(network, drawn):
    network.train()
    list(square_probabilities(network, drawn.images[:2], input_spec=InputSpec(image_px=32), size_px=64))
    assert network.training


def test_a_short_run_warms_up_for_a_tenth_of_its_steps(drawn, tmp_path):
    # 22 images in batches of 8, 10 epochs: the warm-up of 3 epochs, 8 steps, is cut to 1 epoch, 3 steps.
    config = SegmentConfig(
        **small_settings(drawn, epochs=10.0, watch_epochs=10.0, optim=OptimConfig(warmup_epochs=3.0))
    )
    train_segmenter(
        small_network(16),
        drawn,
        drawn.splits[0],
        input_spec=InputSpec(image_px=16),
        config=config,
        out=tmp_path,
    )
    rates = [line["lr"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "train"]
    assert rates.index(max(rates)) == 2
