from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from usfmae.models.attention import Attention, attend
from usfmae.models.positions import resize_positions
from usfmae.models.vit import SIZES, Block, VisionTransformer, ViTConfig, start_weights

TIMM_NAMES = Path(__file__).parent.parent / "golden" / "timm_vit_tiny_names.txt"


def small(**changes):
    network = VisionTransformer(ViTConfig(size="ti", image_px=32, patch_px=8, **changes))
    start_weights(network, torch.Generator().manual_seed(0))
    return network


def test_names_and_shapes_are_timms():
    lines = [line.split() for line in TIMM_NAMES.read_text().splitlines()]
    timm = {name: [int(n) for n in shape.split("x")] for name, shape in lines if not name.startswith("head")}
    ours = VisionTransformer(ViTConfig(size="ti", image_px=224, patch_px=16, channels=3)).state_dict()
    assert {name: list(tensor.shape) for name, tensor in ours.items()} == timm


@pytest.mark.parametrize(
    ("size", "millions"), [("ti", 5.5), ("s", 21.7), ("b", 85.8), ("l", 303.3), ("h", 630.8)]
)
def test_parameter_counts_are_the_published_ones(size, millions):
    # Dosovitskiy et al. 2021 and Touvron et al. 2021 without the classifier; H with patches of 14 px.
    patch_px = 14 if size == "h" else 16
    with torch.device("meta"):
        network = VisionTransformer(ViTConfig(size=size, patch_px=patch_px, channels=3))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_encoding_all_patches_by_name_is_encoding_the_image():
    network, images = small().eval(), torch.randn(2, 1, 32, 32)
    everything = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(network(images, visible=everything), network(images))


def test_hidden_pixels_do_not_reach_the_encoder():
    network, images = small().eval(), torch.randn(1, 1, 32, 32)
    visible = torch.tensor([[0, 1, 2, 3]])  # the first row of patches
    changed = images.clone()
    changed[:, :, 8:] += 5
    assert torch.equal(network(images, visible=visible), network(changed, visible=visible))


def test_the_order_of_visible_patches_only_orders_the_tokens():
    network, images = small().eval(), torch.randn(1, 1, 32, 32)
    tokens = network(images, visible=torch.tensor([[3, 9, 12]]))
    turned = network(images, visible=torch.tensor([[12, 3, 9]]))
    torch.testing.assert_close(turned[:, [0, 2, 3, 1]], tokens)


def test_asking_for_the_last_tokens_gives_the_last_rows_of_all():
    block = Block(32, 4, norm_eps=1e-6).eval()
    tokens = torch.randn(2, 10, 32)
    torch.testing.assert_close(block(tokens, num_queries=4), block(tokens)[:, 6:])


def test_attention_by_hand():
    # One head of width 1: scores 0 and ln 3, so weights of 1/4 and 3/4: 0.25 * 4 + 0.75 * 8 = 7.
    q, k, v = (
        torch.tensor([[[[1.0]]]]),
        torch.tensor([[[[0.0], [1.0986123]]]]),
        torch.tensor([[[[4.0], [8.0]]]]),
    )
    assert attend(q, k, v).item() == pytest.approx(7.0)


def test_both_attention_kernels_agree():
    q, k, v = torch.randn(3, 2, 4, 9, 16).unbind(0)
    low = attend(q.bfloat16(), k.bfloat16(), v.bfloat16()).float()
    torch.testing.assert_close(low, attend(q, k, v), atol=0.03, rtol=0.03)


def test_drop_path_skips_whole_images_and_keeps_the_mean():
    block = Block(32, 4, norm_eps=1e-6, drop_path=0.5).train()
    tokens = torch.randn(1, 3, 32).expand(400, -1, -1)
    torch.manual_seed(0)
    branch = block._kept(torch.ones(400, 1, 1))
    assert set(branch.flatten().tolist()) == {0.0, 2.0}
    assert branch.mean().item() == pytest.approx(1.0, abs=0.15)
    assert torch.equal(block.eval()(tokens), block.eval()(tokens))


def test_rectangles_are_welcome():
    network = VisionTransformer(ViTConfig(image_px=(32, 48), patch_px=16))
    assert network(torch.zeros(1, 1, 32, 48)).shape == (1, 7, SIZES["ti"][0])


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"images are \(1, 40, 40\), the network takes \(1, 32, 32\)"):
        small()(torch.zeros(1, 1, 40, 40))


def test_a_shape_that_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="image_px=100 is not a multiple of patch_px=16"):
        ViTConfig(image_px=100)
    with pytest.raises(ValueError, match="num_heads=3 does not divide dim=32"):
        Attention(32, 3)


def test_at_another_size_fixed_positions_are_computed_and_learned_ones_resampled():
    network, images = small().eval(), torch.randn(1, 1, 16, 32)
    own = VisionTransformer(ViTConfig(image_px=(16, 32), patch_px=8))
    own.load_state_dict({**network.state_dict(), "pos_embed": own.pos_embed})
    assert torch.equal(network(images, at_px=(16, 32)), own.eval()(images))
    with torch.no_grad():
        learned = small().eval()
        learned.pos_embed.add_(0.1)
    expected = resize_positions(learned.pos_embed, old=(4, 4), new=(2, 4))
    assert torch.equal(learned.positions_at((16, 32)), expected)
    assert learned.positions_at((32, 32)) is learned.pos_embed
    with pytest.raises(ValueError, match=r"images are \(1, 16, 32\), the network takes \(1, 32, 16\)"):
        network(images, at_px=(32, 16))
