import pytest
from pydantic import ValidationError

from usfmae.base.input_spec import IMAGENET_INPUT, InputSpec


def test_a_mean_per_channel_or_one_for_all():
    assert InputSpec(channels=3, mean=(0.1,), std=(1.0,)).channels == 3
    assert IMAGENET_INPUT.mean == (0.485, 0.456, 0.406)
    with pytest.raises(ValidationError, match="mean needs 1 or 3 values"):
        InputSpec(channels=3, mean=(0.1, 0.2), std=(1.0,))


@pytest.mark.parametrize("std", [(), (0.0,), (-1.0,)])
def test_a_deviation_that_cannot_divide_is_refused(std):
    with pytest.raises(ValidationError, match="std must be positive"):
        InputSpec(std=std)


def test_a_size_is_a_side_or_height_and_width_and_survives_json():
    for image_px, size_px in ((64, (64, 64)), ((48, 64), (48, 64))):
        spec = InputSpec(image_px=image_px)
        assert spec.size_px == size_px
        assert InputSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("image_px", [7, 4097, (64, 7)])
def test_a_side_that_cannot_be_is_refused(image_px):
    with pytest.raises(ValidationError, match=r"greater than or equal to 8|less than or equal to 4096"):
        InputSpec(image_px=image_px)
