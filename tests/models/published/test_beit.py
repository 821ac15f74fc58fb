import pytest
import torch
from torch import nn

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import IMAGENET_INPUT
from usfmae.models.encoders import build_encoder, encoder_record
from usfmae.models.published.beit import BeitConfig, BeitEncoder, relative_index
from usfmae.models.published_weights import load_published

SMALL = BeitConfig(dim=24, num_layers=2, num_heads=2, image_px=64)
TABLE = "rel_pos_bias.relative_position_bias_table"


def small(config=SMALL):
    torch.manual_seed(0)
    encoder = BeitEncoder(config)
    for name, parameter in encoder.named_parameters():
        if "token" in name or "table" in name or "gamma" in name:
            nn.init.normal_(parameter)
    for block in encoder.blocks:
        nn.init.zeros_(block.attn.qkv.bias[config.dim : 2 * config.dim])  # BEiT's keys have no bias
    return encoder.eval()


def usfm_file(config=SMALL):
    """An encoder, and its state dict as USFM_latest.pth names it."""
    encoder = small(config)
    state = {}
    for name, tensor in encoder.state_dict().items():
        if name.endswith("attn.qkv.bias"):
            block = name.removesuffix("qkv.bias")
            state[block + "q_bias"], _, state[block + "v_bias"] = tensor.chunk(3)
        else:
            state[name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")] = tensor
    side = config.grid[0] ** 2 + 1
    index = {"rel_pos_bias.relative_position_index": torch.zeros(side, side, dtype=torch.int64)}
    return encoder, state | index | {"mask_token": torch.zeros(1, 1, config.dim)}


def test_usfms_file_loads_every_tensor(tmp_path):
    encoder, state = usfm_file()
    torch.save(state, tmp_path / "USFM_latest.pth")
    loaded = load_published(tmp_path / "USFM_latest.pth", "usfm")
    assert loaded.encoder.config == SMALL
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.encoder(images), encoder(images))
    assert loaded.report.dropped == {
        "rel_pos_bias.relative_position_index": "follows from the grid",
        "mask_token": "stands for hidden patches in pretraining",
    }
    assert set(loaded.report.loaded) == set(encoder.state_dict())
    assert loaded.input_spec == IMAGENET_INPUT.model_copy(update={"image_px": 64})


def test_usfms_full_size_has_the_tensors_of_its_file():
    # Of a ViT-B's 150 tensors the file lacks pos_embed, and it has 27 more: 24 layer scales, the table, and
    # the index and mask token that are dropped. Queries and values have a bias each, here one tensor.
    with torch.device("meta"):
        full = BeitEncoder(BeitConfig(dim=768, num_layers=12, num_heads=12, image_px=224))
    shapes = {name: list(tensor.shape) for name, tensor in full.state_dict().items()}
    assert len(shapes) == 150 - 1 + 27 - 2
    assert shapes[TABLE] == [27 * 27 + 3, 12]


def test_distances_by_hand():
    # Places of a 1 x 2 grid: rows 0, 1, 2 for one to the right, none, one to the left, then 3.
    # Asking place 0, answering place 1: 0 - 1 + 1 = 0.
    assert relative_index((1, 2)).tolist() == [[5, 3, 3], [4, 1, 0], [4, 2, 1]]


def test_a_bias_moves_attention_to_where_it_points():
    encoder = small(SMALL.model_copy(update={"num_layers": 1}))
    images = torch.rand(1, 3, 64, 64)
    other = images.clone()
    other[..., 16:, :] = 0  # all but the first row of patches
    with torch.no_grad():
        encoder.rel_pos_bias.relative_position_bias_table.fill_(-100.0)
        encoder.rel_pos_bias.relative_position_bias_table[24] = 100.0  # 3 * 7 + 3: a place itself
        assert torch.allclose(encoder(images)[:, 1:5], encoder(other)[:, 1:5], atol=1e-6)
        encoder.rel_pos_bias.relative_position_bias_table.zero_()
        assert not torch.allclose(encoder(images)[:, 1:5], encoder(other)[:, 1:5], atol=1e-3)


def test_a_missing_a_strange_and_a_misshapen_tensor_are_named(tmp_path):
    _, state = usfm_file()
    del state["blocks.1.attn.v_bias"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(
        WeightsError, match=r"1 of its 34 .* and 1 are left over .*blocks\.1\.attn\.qkv\.bias"
    ):
        load_published(tmp_path / "a.pth", "usfm")
    _, state = usfm_file()
    strange = {"blocks.0.attn.relative_position_bias_table": torch.zeros(52, 2)}
    torch.save(state | strange, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"1 are left over \(first left over: blocks\.0\.attn\.relative"):
        load_published(tmp_path / "b.pth", "usfm")
    _, state = usfm_file()
    state["norm.weight"] = torch.ones(23)
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=r"norm\.weight has shape \[23\], USFM has \[24\]"):
        load_published(tmp_path / "c.pth", "usfm")
    _, state = usfm_file()
    state[TABLE] = torch.ones(50, 2)
    torch.save(state, tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=r"is no USFM \(50 relative places are of no square grid\)"):
        load_published(tmp_path / "d.pth", "usfm")


def test_the_table_is_resampled_to_another_input_and_said_so(tmp_path):
    encoder, state = usfm_file()
    torch.save(state, tmp_path / "usfm.pth")
    loaded = load_published(tmp_path / "usfm.pth", "usfm", image_px=96)
    assert loaded.report.resized == {TABLE: "relative positions 4x4 -> 6x6"}
    old, new = (net.rel_pos_bias.relative_position_bias_table for net in (encoder, loaded.encoder))
    assert new.shape == (11 * 11 + 3, 2)
    assert torch.equal(new[-3:], old[-3:])
    torch.testing.assert_close(new[60], old[24])  # the middle of both: a place itself
    with torch.no_grad():
        assert loaded.encoder(torch.rand(1, 3, 96, 96)).shape == (1, 37, 24)


def test_layers_are_counted_from_the_pixels_up_and_a_record_builds_the_same_shape():
    encoder = small()
    assert [encoder.layer_of(name) for name in (TABLE, "blocks.1.ls2.gamma", "norm.bias")] == [0, 2, None]
    assert build_encoder(encoder_record(encoder)).config == SMALL


def test_stochastic_depth_reaches_the_blocks():
    encoder, images = small(SMALL.model_copy(update={"drop_path": 0.9})).train(), torch.rand(4, 3, 64, 64)
    torch.manual_seed(0)
    first = encoder(images)
    torch.manual_seed(1)
    assert not torch.equal(first, encoder(images))
