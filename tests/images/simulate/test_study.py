"""Whole pictures: what must be seen, and what must not depend on what."""

from dataclasses import replace

import numpy as np
import pytest

from usfmae.base.seeds import rng_for
from usfmae.images.simulate.anatomy import Anatomy, Plane, draw_anatomy
from usfmae.images.simulate.device import DEVICES, Device
from usfmae.images.simulate.lesion import Body
from usfmae.images.simulate.scan import beam_grid, image_grid
from usfmae.images.simulate.study import lesion_mask, render, simulate_envelope, simulate_study

DEVICE = Device(name="test", frequency_mhz=7, dynamic_range_db=70, noise_db=-120)
MIDDLE = Plane()


def with_lesion(**changes: object) -> Anatomy:
    """A thick, plain gland with one lesion at 18 mm depth."""
    values = {"down_mm": 18.0, "across_mm": 0.0, "half_down_mm": 5.0, "half_across_mm": 7.0,
              "contrast_db": -12.0, "attenuation_change": 0.0}  # fmt: skip
    return replace(
        draw_anatomy(3, None, seed=0), borders_mm=(1.0, 3.0, 70.0, 75.0, 80.0), streak_db=0.0, fattiness=9.0,
        absorption=0.9, bodies=(Body(**(values | changes)),), has_lesion=True,
    )  # fmt: skip


def mean_db(anatomy: Anatomy, where: np.ndarray, seeds: int = 3) -> float:
    power = [
        simulate_envelope(anatomy, MIDDLE, device=DEVICE, rng=rng_for(i, "t"))[where] ** 2
        for i in range(seeds)
    ]
    return float(10 * np.log10(np.mean(power)))


@pytest.mark.parametrize("contrast_db", [-20.0, -12.0, -6.0, 6.0])
def test_the_contrast_of_a_lesion_is_as_set(contrast_db):
    grid = beam_grid(DEVICE)
    inner = np.hypot((grid.down_mm - 18) / 5, grid.across_mm / 7) < 0.7
    anatomy = with_lesion(contrast_db=contrast_db)
    assert mean_db(anatomy, inner) - mean_db(anatomy.without_bodies(), inner) == pytest.approx(
        contrast_db, abs=0.5
    )


def below_against_sides_db(attenuation_change: float) -> float:
    grid = beam_grid(DEVICE)
    deep = (grid.down_mm > 26) & (grid.down_mm < 32)
    anatomy = with_lesion(attenuation_change=attenuation_change)
    behind, beside = deep & (np.abs(grid.across_mm) < 4), deep & (np.abs(grid.across_mm) > 9)
    return mean_db(anatomy, behind) - mean_db(anatomy, beside)


def test_behind_a_benign_lesion_it_is_brighter_than_beside_by_the_attenuation_saved():
    # 10 mm with 0.4 dB/cm/MHz less, there and back at about 6.3 MHz (the centre sinks): about 5 dB.
    assert below_against_sides_db(-0.4) == pytest.approx(4.8, abs=1.2)


def test_behind_a_malignant_lesion_it_is_darker_than_beside():
    assert below_against_sides_db(0.4) == pytest.approx(-4.6, abs=1.2)
    assert abs(below_against_sides_db(0.0)) < 0.7


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_the_mask_lies_on_the_lesion(device):
    anatomy = with_lesion(contrast_db=-30.0, down_mm=14.0, across_mm=3.0)
    plane = Plane(shift_mm=2.0, tilt_rad=0.05, squeeze=0.95)
    mask = lesion_mask(anatomy, plane, device=device)
    drawn = render(anatomy, plane, device=device, rng=rng_for(0, "m")).astype(float)
    plain = render(anatomy.without_bodies(), plane, device=device, rng=rng_for(0, "m")).astype(float)
    darker = plain - drawn > 15
    overlap = (darker & mask).sum() / (darker | mask).sum()
    assert overlap > 0.75
    rows, columns = np.indices(mask.shape)
    for place in (rows, columns):
        assert place[mask].mean() == pytest.approx(place[darker].mean(), abs=2)


def test_the_mask_has_the_size_of_the_lesion_in_square_millimetres():
    for device in DEVICES:
        mask = lesion_mask(with_lesion(down_mm=14.0), MIDDLE, device=device)
        assert mask.sum() * image_grid(device).pixel_mm ** 2 == pytest.approx(np.pi * 5 * 7, rel=0.02)


def test_the_same_seed_gives_the_same_picture():
    first, second = (simulate_study(4, device=DEVICES[0], lesion="benign", seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.frame.pixels, second.frame.pixels)
    np.testing.assert_array_equal(first.lesion_mask, second.lesion_mask)


@pytest.mark.parametrize(
    "changes", [{"patient": 5}, {"seed": 2}, {"plane": 1}, {"lesion": "malignant"}, {"device": DEVICES[1]}]
)
def test_any_other_argument_gives_another_picture(changes):
    usual = {"patient": 4, "device": DEVICES[0], "lesion": "benign", "seed": 1, "plane": 0}
    first, second = simulate_study(**usual), simulate_study(**(usual | changes))
    assert (
        first.frame.pixels.shape != second.frame.pixels.shape
        or (first.frame.pixels != second.frame.pixels).any()
    )


def test_images_of_a_patient_share_their_anatomy_and_those_of_two_patients_do_not():
    first, again, other = (
        draw_anatomy(0, "benign", seed=0),
        draw_anatomy(0, "benign", seed=0),
        draw_anatomy(1, "benign", seed=0),
    )
    assert first.borders_mm == again.borders_mm
    assert first.bodies == again.bodies
    np.testing.assert_array_equal(first.streaks, again.streaks)
    assert first.borders_mm != other.borders_mm
    assert first.bodies != other.bodies


def test_the_kind_of_lesion_changes_nothing_else_in_the_anatomy():
    kinds = [draw_anatomy(7, kind, seed=0) for kind in ("benign", "malignant", None)]
    assert (
        len({anatomy.borders_mm for anatomy in kinds}) == len({anatomy.fattiness for anatomy in kinds}) == 1
    )
    assert kinds[2].lesion is None
    assert set(kinds[0].bodies[1:]) <= set(kinds[2].bodies)


def test_every_lesion_drawn_is_in_the_picture():
    for patient in range(18):
        for plane in range(2):
            device = DEVICES[(patient + plane) % len(DEVICES)]
            kind = ("benign", "malignant")[patient % 2]
            study = simulate_study(patient, device=device, lesion=kind, seed=5, plane=plane)
            assert study.lesion_mask.sum() * study.frame.spacing_mm[0] ** 2 > 8  # mm^2
            assert study.label == kind


def test_a_patient_without_lesion_has_an_empty_mask():
    study = simulate_study(0, device=DEVICES[4], lesion=None, seed=0)
    assert not study.lesion_mask.any()
    assert study.label is None


def test_pictures_use_the_grey_scale_and_say_their_spacing():
    for device in DEVICES:
        frame = simulate_study(2, device=device, lesion="benign", seed=0).frame
        shown = frame.pixels[image_grid(device).inside]
        assert max(frame.pixels.shape) == 256
        assert 35 < shown.mean() < 190
        assert shown.std() > 20
        assert frame.spacing_mm == (image_grid(device).pixel_mm,) * 2


def test_marks_do_not_depend_on_the_kind_of_lesion():
    marked = {"benign": 0, "malignant": 0}
    device = DEVICES[0].model_copy(update={"annotated_ratio": 1.0})
    plain = DEVICES[0].model_copy(update={"annotated_ratio": 0.0})
    for kind in marked:
        for patient in range(8):
            with_marks = simulate_study(patient, device=device, lesion=kind, seed=0).frame.pixels
            without = simulate_study(patient, device=plain, lesion=kind, seed=0).frame.pixels
            marked[kind] += int((with_marks != without).any())
    assert marked["benign"] == marked["malignant"] > 4


def test_a_plane_moves_tilts_and_squeezes_by_hand():
    # 9 mm squeezed by 0.9 are 10 mm at rest; 4 mm across at a slope of 0.5 add 2 mm; the shift adds 3 mm.
    plane = Plane(shift_mm=3.0, tilt_rad=float(np.arctan(0.5)), squeeze=0.9)
    down, across = plane.to_patient(np.array([[9.0]]), np.array([[4.0]]))
    assert down.item() == pytest.approx(12)
    assert across.item() == pytest.approx(7)
