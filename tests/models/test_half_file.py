import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_shelf import SIDE, tiny_vit
from torch.nn.functional import cosine_similarity

from usfmae.base.errors import WeightsError
from usfmae.base.input_spec import InputSpec
from usfmae.evaluate.features import encode_images
from usfmae.models.half_file import write_half
from usfmae.models.positions import resize_positions, sincos_positions
from usfmae.models.weights import load_encoder, read_state, save_encoder

SPEC = InputSpec(image_px=SIDE)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_encoder(path, tiny_vit(), input_spec=SPEC, notes={"run": "a"})
    return path


def test_half_the_bytes_and_the_same_network(whole, tmp_path):
    half = tmp_path / "half.safetensors"
    write_half(whole, half, notes={"licence": "mine"})
    assert 0.49 < half.stat().st_size / whole.stat().st_size < 0.51
    stays = {name: t.ndim < 2 or name == "pos_embed" for name, t in load_file(half).items()}
    assert {name: t.dtype == torch.float32 for name, t in load_file(half).items()} == stays
    assert {t.dtype for t in load_file(half).values()} == {torch.float16, torch.float32}
    loaded = load_encoder(half)
    assert loaded.input_spec == SPEC
    assert {t.dtype for t in loaded.encoder.state_dict().values()} == {torch.float32}
    with safe_open(half, framework="pt") as file:
        (about,) = file.metadata().values()
    assert json.loads(about)["notes"] == {"run": "a", "licence": "mine"}


def test_every_number_is_the_nearest_that_half_precision_has(whole, tmp_path):
    write_half(whole, tmp_path / "half.safetensors")
    before, _ = read_state(whole)
    after, _ = read_state(tmp_path / "half.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        nearest = tensor if tensor.ndim < 2 or name == "pos_embed" else tensor.half().float()
        assert torch.equal(after[name], nearest), name


def test_embeddings_of_pictures_hardly_move(whole, tmp_path):
    write_half(whole, tmp_path / "half.safetensors")
    pictures = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE), dtype=np.uint8)
    pictures[8:] = np.cumsum(pictures[8:] // 60, axis=2).clip(0, 255)  # smooth ones besides noise
    full, half = (
        torch.from_numpy(encode_images(load_encoder(path).encoder, pictures, input_spec=SPEC))
        for path in (whole, tmp_path / "half.safetensors")
    )
    assert not torch.equal(full, half)
    assert float(cosine_similarity(full, half).min()) > 0.9999


def test_written_twice_the_bytes_are_equal(whole, tmp_path):
    for name in "ab":
        write_half(whole, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_positions_of_a_half_file_can_be_resampled(whole, tmp_path):
    half = tmp_path / "half.safetensors"
    write_half(whole, half)
    assert load_encoder(half, image_px=48).input_spec.image_px == 48
    one, other = (load_encoder(path, image_px=48).encoder.pos_embed for path in (whole, half))
    assert torch.equal(one, other)


@pytest.mark.parametrize("learned", [False, True])
def test_at_another_size_a_half_file_has_the_positions_of_its_run(tmp_path, learned):
    vit = tiny_vit()
    if learned:
        with torch.no_grad():
            vit.pos_embed.add_(0.1)
    whole, half = tmp_path / "weights.safetensors", tmp_path / "half.safetensors"
    save_encoder(whole, vit, input_spec=SPEC)
    write_half(whole, half)
    one, other = (load_encoder(path).encoder.positions_at((48, 16)) for path in (whole, half))
    assert torch.equal(one, other)
    # Two patches across and six down, at 8 px: computed if they are fixed, resampled from 4 x 4 if learned.
    computed, resampled = (
        sincos_positions((6, 2), vit.embed_dim),
        resize_positions(vit.pos_embed, old=(4, 4), new=(6, 2)),
    )
    assert torch.equal(other, resampled if learned else computed)
    assert not torch.allclose(other, computed if learned else resampled, atol=0.05)


def test_a_network_of_half_a_file_sees_pictures_of_another_size_as_its_run_does(whole, tmp_path):
    half = tmp_path / "half.safetensors"
    write_half(whole, half)
    images = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (load_encoder(path).encoder(images, at_px=(48, 48))[:, 0] for path in (whole, half))
    assert float(cosine_similarity(one, other).min()) > 0.9999


@pytest.mark.parametrize(
    ("value", "said"), [(70_000.0, "70000"), (float("nan"), "nan"), (float("inf"), "inf")]
)
def test_what_half_precision_cannot_hold_is_refused_by_name(tmp_path, value, said):
    vit = tiny_vit()
    with torch.no_grad():
        vit.blocks[1].mlp.fc1.weight[0, 0] = value
    save_encoder(tmp_path / "w.safetensors", vit, input_spec=SPEC)
    with pytest.raises(WeightsError, match=rf"blocks.1.mlp.fc1.weight holds {said}, which half"):
        write_half(tmp_path / "w.safetensors", tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()


def test_the_largest_number_of_half_precision_is_kept(tmp_path):
    metadata = {"usfmae encoder 1": "{}"}
    save_file({"a": torch.tensor([[65_504.0, -65_504.0]])}, tmp_path / "w.safetensors", metadata=metadata)
    write_half(tmp_path / "w.safetensors", tmp_path / "half.safetensors")
    assert read_state(tmp_path / "half.safetensors")[0]["a"].tolist() == [[65_504.0, -65_504.0]]


def test_counters_stay_whole_numbers_and_small_variances_stay_what_they_are(tmp_path):
    tensors = {"num_batches_tracked": torch.tensor(70_001), "running_var": torch.tensor([1e-9, 2.0])}
    save_file(tensors, tmp_path / "w.safetensors", metadata={"usfmae cnn 1": '{"notes": {}}'})
    write_half(tmp_path / "w.safetensors", tmp_path / "half.safetensors")
    after, metadata = read_state(tmp_path / "half.safetensors")
    assert list(metadata) == ["usfmae cnn 1"]
    assert all(torch.equal(after[name], tensor) for name, tensor in tensors.items())


def test_a_file_that_does_not_say_its_network_is_refused(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="does not say which network it holds"):
        write_half(tmp_path / "w.safetensors", tmp_path / "half.safetensors")
