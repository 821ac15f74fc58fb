"""What a teacher says of views, and which teachers are refused."""

import shutil

import pytest
import torch
from teachers import LITE, SELF, of_file

from usfmae.base.config import with_settings
from usfmae.base.errors import SettingError, WeightsError
from usfmae.corpus.shards import open_corpus
from usfmae.engine.devices import to_input
from usfmae.engine.loss_parts import total_of
from usfmae.models.cnn_weights import LITE_INPUT, imagenet_file
from usfmae.models.encoders import CnnConfig, build_cnn
from usfmae.models.mae import MaeOutput, MaskedAutoencoder
from usfmae.models.teacher import standardised
from usfmae.models.vit import start_weights
from usfmae.pretrain.run import pretrain
from usfmae.pretrain.step import PretrainBatches, PretrainStep
from usfmae.pretrain.teaching import FrozenTeacher, open_teaching


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
        PretrainStep(teaching.config.input_spec, teaching.config, teacher=teaching.frozen)(module, batch)
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
        seen.append({name: float(part.detach()) for name, part in loss.parts.items()})
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


@pytest.mark.parametrize(
    ("is_published", "learnt_on", "licence"), [(True, "ImageNet", "Apache-2.0"), (False, None, "not known")]
)
def test_a_convolutional_teacher_in_a_file_is_imagenets_only_if_its_bytes_are(
    short, tmp_path, is_published, learnt_on, licence
):
    file = tmp_path / "teacher.pth"
    if is_published:
        shutil.copy(imagenet_file("efficientnet-lite0"), file)
    else:
        torch.save(build_cnn(CnnConfig(name="efficientnet-lite0", channels=3)).state_dict(), file)
    words = [*of_file(file), "model.teacher.encoder=efficientnet-lite0", "model.teacher.stride_px=8"]
    config = with_settings(short, words)
    facts = open_teaching(config).facts
    assert facts["trained_on"] == learnt_on
    assert facts["licence"].startswith(licence)
    sold = config.model_copy(update={"demand": ("commercial",)})
    if is_published:
        assert open_teaching(sold).facts == facts
    else:
        with pytest.raises(SettingError, match=r"its teacher efficientnet-lite0 does not allow \(not known"):
            open_teaching(sold)


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
