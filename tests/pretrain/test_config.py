import pytest
from pydantic import ValidationError

from usfmae.base.config import with_settings
from usfmae.base.errors import SettingError
from usfmae.models.mae import MaeConfig
from usfmae.models.vit import ViTConfig
from usfmae.pretrain.config import PretrainConfig, ResolutionConfig

SQUARE = MaeConfig(encoder=ViTConfig(image_px=64, patch_px=16))


def test_the_first_part_of_a_run_is_smaller_by_hand():
    # 30 % of 11 steps are 3.3, so steps 0, 1 and 2 are small.
    steps = ResolutionConfig(start_px=32, start_ratio=0.3)
    sizes = [steps.size_px(step, total_steps=11, final_px=(64, 48)) for step in range(5)]
    assert sizes == [(32, 32)] * 3 + [(64, 48)] * 2
    assert ResolutionConfig().size_px(0, total_steps=11, final_px=(64, 48)) == (64, 48)


def test_a_rectangle_is_the_input_of_the_encoder():
    config = with_settings(PretrainConfig(model=SQUARE), ["model.encoder.image_px=[48, 64]"])
    assert config.input_spec.image_px == (48, 64)
    assert config.input_spec.size_px == (48, 64)
    assert PretrainConfig(model=SQUARE).input_spec.image_px == 64


@pytest.mark.parametrize(
    ("start_px", "said"),
    [
        (40, "resolution.start_px=40 is not a multiple of model.encoder.patch_px=16"),
        (64, "resolution.start_px=64 is not smaller than model.encoder.image_px=64"),
        ((32, 80), r"resolution.start_px=\(32, 80\) is not smaller than model.encoder.image_px=64"),
        (16, "resolution.start_px=16: hide_ratio=0.75 hides 1 of 1 patches"),
    ],
)
def test_a_start_that_cannot_be_is_refused(start_px, said):
    with pytest.raises(ValidationError, match=said):
        PretrainConfig(model=SQUARE, resolution=ResolutionConfig(start_px=start_px))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.hiding.kind=sectors", "model.hiding.kind: Input should be 'random', 'block' or 'sector'"),
        ("model.hiding.kind=block", "hiding.block=2 does not fit into 1 x 4 patches"),
        ("model.decoder.predict_ratio=0", "model.decoder.predict_ratio: Input should be greater than 0"),
        ("model.decoder.layers_seen=2", "layers_seen=2 needs kind=cross"),
        ("model.context=frames", "model.context: Input should be 'none' or 'clip'"),
        (
            "model.agreement.kind=frame",
            "model.agreement.kind: Input should be 'none', 'image', 'clip' or 'patient'",
        ),
        ("optim.betas=[2, 3]", "optim: betas must be two numbers from 0 to below 1"),
        ("watch.every_epochs=1e308", "watch.every_epochs: Input should be less than or equal to 1000000"),
        ("resolution.start_ratio=1", "resolution.start_ratio: Input should be less than 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(setting, said):
    flat = PretrainConfig(model=MaeConfig(encoder=ViTConfig(image_px=(16, 64), patch_px=16)))
    with pytest.raises(SettingError, match=said):
        with_settings(flat, [setting])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "model.context=clip",
            "context=clip shows the decoder a second frame and agreement.kind=image predicts it",
        ),
        ("global_batch=1", "model.agreement.kind=image looks at the spread of a batch; one image has none"),
        (
            "loop.accumulate=2",
            "loop.accumulate=2 cuts the batch of which model.agreement.kind=image takes the",
        ),
        ("model.agreement.dim=1", "model.agreement.dim: Input should be greater than or equal to 2"),
    ],
)
def test_what_does_not_go_with_pairs_is_refused_by_name(setting, said):
    with pytest.raises(SettingError, match=said):
        with_settings(PretrainConfig(model=SQUARE), [setting, "model.agreement.kind=image"])
