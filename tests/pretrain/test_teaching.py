"""Learning from a teacher: what a run says of it, that it resumes to the bit, and what is refused."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from usfmae.base.config import with_settings
from usfmae.base.errors import FolderError, SettingError, WeightsError
from usfmae.base.files import file_sha256
from usfmae.base.input_spec import InputSpec
from usfmae.corpus.shards import open_corpus
from usfmae.engine.checkpoint import find_checkpoints
from usfmae.engine.devices import to_input
from usfmae.engine.loss_parts import total_of
from usfmae.engine.metrics_log import read_metrics
from usfmae.models import vit
from usfmae.models.cnn_weights import LITE_INPUT, imagenet_file
from usfmae.models.mae import MaeOutput, MaskedAutoencoder
from usfmae.models.teacher import standardised
from usfmae.models.vit import VisionTransformer, ViTConfig, start_weights
from usfmae.models.weights import save_encoder
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.run_folder import load_run_config
from usfmae.pretrain.step import PretrainBatches, PretrainStep
from usfmae.pretrain.teaching import FrozenTeacher, open_teaching

LITE = [
    "model.teacher.kind=efficientnet-lite0",
    "model.teacher.stride_px=8",
    "model.teacher.pooled_weight=0.5",
]
SELF = ["model.teacher.kind=self", "model.teacher.layers_averaged=2", "model.teacher.decay=0.9"]


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    """What is tested here does not depend on size."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(vit.SIZES, "ti", (48, 3, 3))
        yield


@pytest.fixture(scope="module")
def teacher_weights(tmp_path_factory):
    """A file of a small ViT with patches of another size than the student's."""
    path = tmp_path_factory.mktemp("teachers") / "vit.safetensors"
    return drawn_vit(path, seed=5)


def drawn_vit(path, *, seed: int):
    network = VisionTransformer(ViTConfig(image_px=24, patch_px=6, channels=3))
    start_weights(network, torch.Generator().manual_seed(seed))
    save_encoder(path, network, input_spec=InputSpec(image_px=24, channels=3, mean=(0.5,), std=(0.25,)))
    return path


def of_file(path) -> list[str]:
    return ["model.teacher.kind=file", f"model.teacher.weights={path}", "model.teacher.pooled_weight=1"]


@pytest.fixture(scope="module")
def kinds(teacher_weights):
    return {"lite": LITE, "file": of_file(teacher_weights), "self": [*SELF, "model.teacher.pooled_weight=1"]}


@pytest.fixture(scope="module")
def short(small_config):
    """3 steps and a checkpoint after 2, when the average is no longer the network itself."""
    words = ["epochs=1.2", "loop.checkpoint_steps=2", "watch.num_pictures=0", "watch.utilisation=false"]
    return with_settings(small_config, words)


def same_weights(one, two) -> bool:
    return (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()


def cut(run, out, step: int = 2):
    """A copy of a finished run as it was after a step."""
    shutil.copytree(run, out)
    (out / "weights.safetensors").unlink()
    for checkpoint in find_checkpoints(out):
        if checkpoint.step > step:
            shutil.rmtree(checkpoint.path)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "status": "stopped"}))
    return out


@pytest.fixture(scope="module")
def runs(kinds, short, small_corpus, tmp_path_factory):
    """A finished run with each kind of teacher."""
    root = tmp_path_factory.mktemp("runs")
    for name, words in kinds.items():
        pretrain(with_settings(short, words), small_corpus, root / name)
    return root


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_a_run_with_a_teacher_that_was_stopped_ends_on_the_same_bits(
    name, runs, kinds, short, small_corpus, tmp_path
):
    out = cut(runs / name, tmp_path / "cut")
    assert [checkpoint.step for checkpoint in find_checkpoints(out)] == [2]
    pretrain(with_settings(short, kinds[name]), small_corpus, out, resume=True)
    assert same_weights(out, runs / name)


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_the_parts_of_the_loss_are_logged_and_their_weighted_sum_is_the_loss(name, runs, kinds):
    lines = [line for line in read_metrics(runs / name / "metrics.jsonl") if line["kind"] == "train"]
    pooled_weight = 0.5 if name == "lite" else 1.0
    assert len(lines) == 3
    for line in lines:
        whole = line["loss_pixels"] + line["loss_features"] + pooled_weight * line["loss_pooled"]
        assert line["loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("name", ["lite", "file", "self"])
def test_a_teacher_is_in_no_checkpoint_and_no_weights_file(name, runs):
    encoder = load_file(runs / name / "weights.safetensors")
    plain = VisionTransformer(ViTConfig(image_px=32, patch_px=8)).state_dict()
    assert encoder.keys() == plain.keys()
    network = load_file(find_checkpoints(runs / name)[-1].path / "model.safetensors")
    extra = {key for key in network if not key.startswith("encoder.")} - {
        f"decoder.{key}" for key in MaskedAutoencoder(plain_model(runs / name)).decoder.state_dict()
    }
    assert extra == {
        f"decoder.heads.{part}.{what}" for part in ("places", "pooled") for what in ("weight", "bias")
    }


def test_a_checkpoint_keeps_the_average_that_teaches(runs):
    newest = find_checkpoints(runs / "self")[-1].path
    name = "encoder.blocks.0.mlp.fc1.weight"
    average = load_file(newest / "optimizer.safetensors")[f"teacher/{name}"]
    weights = [load_file(one.path / "model.safetensors")[name] for one in find_checkpoints(runs / "self")]
    # After 2 and 3 steps; in the third 4/13 stay, which is less than the decay of 0.9 ** (8 / 256).
    assert not torch.equal(average, weights[1])
    before = load_file(find_checkpoints(runs / "self")[0].path / "optimizer.safetensors")[f"teacher/{name}"]
    torch.testing.assert_close(average, before * 4 / 13 + weights[1] * 9 / 13, atol=1e-6, rtol=1e-5)


def plain_model(run):
    return with_settings(
        load_run_config(run), ["model.teacher.kind=none", "model.teacher.weights=null"]
    ).model


def test_the_record_and_the_weights_name_the_teacher(runs, teacher_weights):
    lite = json.loads((runs / "lite/run.json").read_text())
    sha256 = file_sha256(imagenet_file("efficientnet-lite0"))
    assert lite["teacher"] == {
        "kind": "efficientnet-lite0", "encoder": "efficientnet-lite0", "trained_on": "ImageNet",
        "file": str(imagenet_file("efficientnet-lite0")), "sha256": sha256, "licence": "Apache-2.0",
    }  # fmt: skip
    assert lite["made_by"]["inputs"]["teacher"] == sha256
    assert lite["made_by"]["settings"]["model"]["teacher"]["dim"] == 40
    assert lite["made_by"]["settings"]["model"]["teacher"]["pooled_dim"] == 1280
    file = json.loads((runs / "file/run.json").read_text())
    assert file["made_by"]["inputs"]["teacher"] == file["teacher"]["sha256"] == file_sha256(teacher_weights)
    assert file["teacher"]["licence"] is None
    own = json.loads((runs / "self/run.json").read_text())
    assert own["teacher"] == {"kind": "self", "layers_averaged": 2, "decay": 0.9}
    assert "teacher" not in own["made_by"]["inputs"]
    with safe_open(runs / "lite/weights.safetensors", framework="pt") as weights:
        (about,) = weights.metadata().values()
    noted = json.loads(json.loads(about)["notes"]["teacher"])
    assert noted["trained_on"] == "ImageNet"
    assert (noted["sha256"], noted["licence"], "file" in noted) == (sha256, "Apache-2.0", False)


def test_a_run_goes_on_with_the_same_teacher_elsewhere_and_not_with_another(
    runs, short, small_corpus, teacher_weights, tmp_path
):
    out = cut(runs / "file", tmp_path / "cut")
    other = drawn_vit(tmp_path / "other.safetensors", seed=6)
    with pytest.raises(FolderError, match=r"other settings or inputs \(the teacher\)"):
        pretrain(with_settings(short, of_file(other)), small_corpus, out, resume=True)
    moved = shutil.copy(teacher_weights, tmp_path / "moved.safetensors")
    pretrain(with_settings(short, of_file(moved)), small_corpus, out, resume=True)
    assert same_weights(out, runs / "file")


def test_without_a_teacher_weights_of_its_parts_change_nothing(short, small_corpus, tmp_path):
    for name, words in (("plain", []), ("same", ["model.teacher.weight=7", "model.teacher.pixel_weight=0"])):
        pretrain(with_settings(short, words), small_corpus, tmp_path / name)
    assert same_weights(tmp_path / "plain", tmp_path / "same")
    lines = read_metrics(tmp_path / "plain/metrics.jsonl")
    assert not [name for line in lines for name in line if name.startswith("loss_")]
    record = json.loads((tmp_path / "plain/run.json").read_text())
    assert record["teacher"] is None


def test_with_a_teacher_everything_else_starts_as_it_does_without(short, kinds):
    plain, taught = (MaskedAutoencoder(with_settings(short, words).model) for words in ([], kinds["self"]))
    for network in (plain, taught):
        start_weights(network, torch.Generator().manual_seed(0))
    more = taught.state_dict()
    assert all(torch.equal(tensor, more[name]) for name, tensor in plain.state_dict().items())
    assert {name for name in more if "heads" in name} == more.keys() - plain.state_dict().keys() != set()


def test_the_teacher_of_itself_is_the_student_and_then_its_average(short):
    config = with_settings(short, [*SELF, "model.teacher.decay=0.5", "global_batch=256"])
    network = MaskedAutoencoder(config.model)
    start_weights(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    teacher, (average,) = open_teaching(config).begin(network.encoder, optimizer, config.input_spec)
    views = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    def by_hand(encoder):
        with torch.no_grad():
            layers = encoder.layers(to_input(views, config.input_spec, torch.device("cpu")), seen=3)
        return standardised((standardised(layers[1]) + standardised(layers[2]))[:, 1:] / 2)

    torch.testing.assert_close(teacher(views).places, by_hand(network.encoder))
    before = [p.detach().clone() for p in network.encoder.parameters()]
    for step in (1, 2):
        network.zero_grad()
        network.encoder(torch.ones(1, 1, 32, 32)).square().sum().backward()
        optimizer.step()
        average(step)
        if step == 1:  # the average begins here
            first = [p.detach().clone() for p in network.encoder.parameters()]
    # Of the second step 3/12 stay, which is less than the decay of 0.5.
    averages = [0.25 * a + 0.75 * p for a, p in zip(first, network.encoder.parameters(), strict=True)]
    now = teacher(views).places
    assert not torch.allclose(now, by_hand(network.encoder), atol=1e-3)
    with torch.no_grad():
        for parameter, value in zip(network.encoder.parameters(), averages, strict=True):
            parameter.copy_(value)
    torch.testing.assert_close(now, by_hand(network.encoder), atol=1e-5, rtol=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(before, first, strict=True))


def test_a_teacher_sees_whole_grey_views_in_its_own_standardisation(kinds, short, small_corpus):
    teaching = open_teaching(with_settings(short, kinds["file"]))
    teacher = teaching.frozen
    assert isinstance(teacher, FrozenTeacher)
    views = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = ((views[:, None].float() / 255 - 0.5) / 0.25).expand(-1, 3, -1, -1)
    smaller = torch.nn.functional.interpolate(images, size=(24, 24), mode="bilinear", antialias=True)
    with torch.no_grad():
        tokens = teacher.encoder(smaller)
    targets = teacher(views)
    mean, variance = tokens.mean(dim=2, keepdim=True), tokens.var(dim=2, keepdim=True, correction=0)
    wanted = (tokens - mean) / (variance + 1e-6).sqrt()
    torch.testing.assert_close(targets.places, wanted[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(targets.pooled, wanted[:, 0], atol=1e-4, rtol=1e-4)


def test_black_patches_count_for_features_where_they_count_for_pixels(kinds, short, clips):
    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, images, hiding, targets):
            self.hiding, self.targets = hiding, targets
            return MaeOutput(self.weight, torch.zeros(1, 1, 1))

    for words, counts in ((["model.loss_in=sector"], True), ([], False)):
        teaching = open_teaching(with_settings(short, [*kinds["file"], *words]))
        module, batch = Keeps(), PretrainBatches(open_corpus(clips), teaching.config)(0)
        PretrainStep(teaching.config.input_spec, teaching.config, teaching.frozen)(module, batch)
        if not counts:
            assert module.targets.scored is None
            continue
        hidden = module.targets.scored.gather(1, module.hiding.hidden)
        assert torch.equal(hidden, module.hiding.scored)
        assert 0 < module.targets.scored.mean() < 1


def test_no_gradient_reaches_a_teacher(kinds, short, small_corpus):
    for name in ("lite", "file"):
        teaching = open_teaching(with_settings(short, kinds[name]))
        config, teacher = teaching.config, teaching.frozen
        network = MaskedAutoencoder(config.model)
        batch = PretrainBatches(open_corpus(small_corpus), config)(0)
        state = {key: value.clone() for key, value in teacher.encoder.state_dict().items()}
        total_of(PretrainStep(config.input_spec, config, teacher=teacher)(network, batch)).backward()
        assert all(p.grad is None and not p.requires_grad for p in teacher.encoder.parameters())
        assert all(torch.equal(value, state[key]) for key, value in teacher.encoder.state_dict().items())
        trained = [p for p in network.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained)


def test_the_error_of_features_falls_on_the_same_images(kinds, short, small_corpus):
    teaching = open_teaching(with_settings(short, kinds["file"]))
    config, teacher = teaching.config, teaching.frozen
    network = MaskedAutoencoder(config.model)
    start_weights(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    batch = PretrainBatches(open_corpus(small_corpus), config)(0)
    seen = []
    for _ in range(40):
        loss = PretrainStep(config.input_spec, config, teacher=teacher)(network, batch)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append({name: float(part) for name, part in loss.parts.items()})
    assert seen[-1]["features"] < 0.5 * seen[0]["features"]
    assert seen[-1]["pooled"] < 0.5 * seen[0]["pooled"]


def test_a_convolutional_teacher_is_laid_over_a_rectangle(short):
    words = ["model.encoder.image_px=[16, 32]", "model.encoder.patch_px=4", "model.teacher.pooled_weight=1"]
    teaching = open_teaching(with_settings(short, [*LITE, *words]))
    views = torch.randint(0, 256, (1, 16, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = to_input(views, LITE_INPUT, torch.device("cpu"))
    with torch.no_grad():
        levels = dict(teaching.frozen.encoder.levels(images))
    assert {stride: tuple(level.shape[1:]) for stride, level in levels.items()} == {
        2: (16, 8, 16), 4: (24, 4, 8), 8: (40, 2, 4), 16: (112, 1, 2), 32: (1280, 1, 1),
    }  # fmt: skip
    targets = teaching.frozen(views)
    assert targets.places.shape == (1, 32, 40)
    # The patch in the corner lies outside the centres of the map's places, so it gets that of the corner.
    torch.testing.assert_close(targets.places[0, 0], standardised(levels[8][0, :, 0, 0]))
    torch.testing.assert_close(targets.pooled[0], standardised(levels[32][0, :, 0, 0]))


VARIED = [
    ["model.decoder.kind=cross", "model.decoder.predict_ratio=0.5", "model.decoder.layers_seen=2"],
    [
        "model.context=clip",
        "model.hiding.kind=sector",
        "model.decoder.predict_ratio=0.5",
        "loop.accumulate=2",
    ],
    ["model.context=clip", "model.decoder.kind=cross", "resolution.start_px=16", "ema.decay=0.9"],
    ["model.teacher.weight=0", "model.teacher.pixel_weight=0", "model.teacher.pooled_from=mean"],
    ["model.agreement.kind=image", "model.agreement.dim=8"],
]


@pytest.mark.parametrize(("kind", "words"), [*zip(("file", "file", "self", "self", "self"), VARIED, strict=True)])
def test_a_teacher_goes_with_the_other_variants_and_resumes(kind, words, kinds, clips, short, tmp_path):
    config = with_settings(short, [*kinds[kind], *words])
    pretrain(config, clips, tmp_path / "whole")
    out = cut(tmp_path / "whole", tmp_path / "cut")
    pretrain(config, clips, out, resume=True)
    assert same_weights(out, tmp_path / "whole")


def test_a_run_taught_goes_on_from_another_with_its_heads(runs, kinds, short, small_corpus, tmp_path):
    config = with_settings(short, [*kinds["self"], "epochs=0.4"])
    record = pretrain(config, small_corpus, tmp_path / "on", weights=runs / "self")
    assert record["weights"]["loaded"]["fresh"] == []
    record = pretrain(config, small_corpus, tmp_path / "other", weights=runs / "lite")
    assert "another teacher.kind" in record["weights"]["decoder"]["why"]
    assert "decoder.heads.places.weight" in record["weights"]["loaded"]["fresh"]


def test_pools_that_a_teacher_saw_are_seen(runs, short, clips, tmp_path):
    words = ["model.teacher.kind=file", f"model.teacher.weights={runs / 'self'}", "epochs=0.4"]
    record = pretrain(with_settings(short, words), clips, tmp_path / "run")
    seen = {pool["sha256"] for pool in record["pools_seen"]}
    assert seen == {
        record["corpus"]["sha256"],
        json.loads((runs / "self/run.json").read_text())["corpus"]["sha256"],
    }


REFUSED = [
    (["model.teacher.kind=file"], "kind=file and weights=FILE need each other"),
    (["model.teacher.weights=a.pth"], "kind=file and weights=FILE need each other"),
    (["model.teacher.encoder=dinov2"], "encoder=dinov2 needs kind=file"),
    (["model.teacher.kind=self", "model.teacher.weight=0"], "weight and pooled_weight are both 0"),
    (["model.teacher.kind=self"], r"layers_averaged=6: the encoder has 3 layers"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_settings_that_cannot_be_are_refused(words, said, short):
    first, *rest = words
    with pytest.raises(SettingError, match=said):
        with_settings(short, [first, *rest])


OPENED = [
    (
        ["model.teacher.kind=file", "model.teacher.weights=nowhere.pth"],
        WeightsError,
        r"nowhere\.pth: there is no such",
    ),
    (
        ["model.teacher.kind=efficientnet-lite0", "model.teacher.stride_px=32"],
        SettingError,
        "cannot be laid over",
    ),
    (
        [*LITE, "model.encoder.image_px=24", "model.teacher.stride_px=16"],
        SettingError,
        "images of 24 x 24 px",
    ),
    ([*LITE, "model.teacher.stride_px=16", "resolution.start_px=16"], SettingError, "images of 16 x 16 px"),
    ([*LITE, "model.teacher.dim=112"], SettingError, r"dim=112: .* gives 40"),
]


@pytest.mark.parametrize(("words", "kind", "said"), OPENED)
def test_a_teacher_that_does_not_fit_is_refused_before_training(
    words, kind, said, short, small_corpus, tmp_path
):
    with pytest.raises(kind, match=said) as caught:
        pretrain(with_settings(short, words), small_corpus, tmp_path / "run")
    assert caught.value.hint
    assert not (tmp_path / "run").exists()
