"""Burned-in marks are found; speckle and flow are left alone."""

import cv2
import numpy as np
import pytest

from usfmae.base.seeds import rng_for
from usfmae.images.fill import grown
from usfmae.images.flow import areas_of_one_hue, certain_flow, flow_pixels
from usfmae.images.frame import Colour, Grey
from usfmae.images.marks import MARK_KINDS, find_marks, static_marks
from usfmae.images.simulate.anatomy import cached_anatomy, draw_plane
from usfmae.images.simulate.burn_in import KINDS, burn_in
from usfmae.images.simulate.device import DEVICES
from usfmae.images.simulate.study import render


def speckle(patient: int) -> Grey:
    """A simulated frame without marks."""
    anatomy = cached_anatomy(patient, None, 0)
    plane = draw_plane(patient, 0, anatomy.lesion, seed=0)
    return render(anatomy, plane, device=DEVICES[patient % len(DEVICES)], rng=rng_for(0, "test", patient))


@pytest.fixture(scope="module")
def frames() -> list[Grey]:
    return [speckle(patient) for patient in range(6)]


def in_colour(grey: Grey) -> Colour:
    return np.repeat(grey[..., None], 3, 2)


def with_flow(grey: Grey, *, ramp: str) -> tuple[Colour, np.ndarray]:
    """A round vessel with faster flow at its centre, as a scanner colours it."""
    rows, columns = np.indices(grey.shape)
    speed = 1 - np.hypot(rows - 90, columns - 110) / 22
    flow, speed = speed > 0, np.clip(speed, 0, 1)
    red = np.stack([130 + 125 * speed, 220 * speed, 20 * speed], -1)
    colours = {
        "red": red,
        "blue": red[..., ::-1],
        "power": np.stack([110 + 140 * speed, 150 * speed, 0 * speed], -1),
    }
    return np.where(flow[..., None], colours[ramp], in_colour(grey)).astype(np.uint8), flow


def covered(mask: np.ndarray, where: np.ndarray) -> float:
    return float(mask[where].mean())


@pytest.mark.parametrize("words", ["MAMA ESQ", "SMITH^JANE", "D 8.44cm"])
@pytest.mark.parametrize("scale", [0.35, 0.5, 0.8])
def test_white_text_on_speckle_is_covered(frames, words, scale):
    for pixels in frames[:3]:
        sheet = np.zeros_like(pixels)
        cv2.putText(sheet, words, (30, 110), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
        found = find_marks(np.maximum(pixels, sheet))
        assert covered(found.all, sheet > 130) >= 0.9
        assert covered(found.text, sheet > 130) >= 0.5


@pytest.mark.parametrize("ink", [(255, 255, 0), (0, 255, 0), (255, 255, 255), (0, 255, 255)])
def test_coloured_lines_and_calipers_are_covered(frames, ink):
    hit = np.zeros(2)
    for pixels in frames[:3]:
        sheet = np.zeros(pixels.shape, np.uint8)
        for place in ((60, 60), (140, 120)):
            cv2.drawMarker(sheet, place, 255, cv2.MARKER_CROSS, 9, 1)
        for share in np.linspace(0.1, 0.9, 16):
            cv2.circle(sheet, (round(60 + 80 * share), round(60 + 60 * share)), 0, 255, -1)
        marked = in_colour(pixels)
        marked[sheet > 0] = ink
        hit += ((find_marks(marked).all & (sheet > 0)).sum(), (sheet > 0).sum())
    assert hit[0] / hit[1] >= 0.8


def test_many_planted_marks_are_covered(frames):
    hit = np.zeros(2)
    for index, pixels in enumerate(frames):
        burned = burn_in(pixels, rng=np.random.default_rng(index), kinds=KINDS, jpeg_quality=85)
        ink = burned.label_map > 0
        hit += ((find_marks(burned.pixels).all & ink).sum(), ink.sum())
    assert hit[0] / hit[1] >= 0.85


def test_clean_speckle_is_left_alone(frames):
    shares = [find_marks(pixels).all.mean() for pixels in frames]
    assert max(shares[:4]) < 0.002
    assert max(shares) < 0.02  # curved arrays: the bright simulated rim of the sector looks like a line


@pytest.mark.parametrize("ramp", ["red", "blue", "power"])
def test_flow_is_signal(frames, ramp):
    for pixels in frames[:3]:
        doppler, flow = with_flow(pixels, ramp=ramp)
        assert covered(flow_pixels(doppler), flow) > 0.9
        assert covered(find_marks(doppler).all, flow) < 0.02


def test_outside_the_sector_colour_is_no_flow(frames):
    doppler, _flow = with_flow(frames[0], ramp="red")
    nowhere = np.zeros(frames[0].shape, bool)
    inside, outside = find_marks(doppler), find_marks(doppler, sector=nowhere)
    assert outside.all.sum() >= inside.all.sum()


def test_a_flat_coloured_badge_is_no_flow(frames):
    badge = in_colour(frames[0])
    cv2.circle(badge, (60, 60), 12, (255, 160, 0), -1)
    assert not flow_pixels(badge).any()


def test_thin_coloured_lines_are_no_flow(frames):
    drawn = in_colour(frames[0])
    cv2.line(drawn, (20, 20), (150, 100), (255, 0, 0), 2)
    assert not flow_pixels(drawn).any()


def test_grey_and_the_same_grey_in_three_channels_have_the_same_marks(frames):
    burned = burn_in(frames[1], rng=np.random.default_rng(4), kinds=KINDS)
    one, three = find_marks(burned.pixels), find_marks(in_colour(burned.pixels))
    np.testing.assert_array_equal(one.all, three.all)
    assert one.boxes == three.boxes


def test_kinds_do_not_overlap_and_boxes_hold_them(frames):
    burned = burn_in(frames[2], rng=np.random.default_rng(9), kinds=KINDS)
    marks = find_marks(burned.pixels)
    masks = [getattr(marks, kind) for kind in MARK_KINDS]
    assert np.sum(masks, axis=0).max() == 1
    for kind, mask in zip(MARK_KINDS, masks, strict=True):
        in_boxes = np.zeros(mask.shape, bool)
        for box in marks.boxes:
            if box.kind == kind:
                there = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
                assert mask[there].any()
                in_boxes[there] = True
        assert in_boxes[mask].all()


def test_the_kinds_of_the_detector_are_those_it_was_fitted_on():
    assert MARK_KINDS == KINDS


def test_a_large_frame_is_searched_shrunk_and_marked_in_full(frames):
    large = cv2.resize(frames[0], None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    sheet = np.zeros_like(large)
    cv2.putText(sheet, "SMITH^JANE", (120, 440), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 255, 5, cv2.LINE_AA)
    found = find_marks(np.maximum(large, sheet))
    assert found.all.shape == large.shape
    assert covered(found.all, sheet > 130) >= 0.85


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (37, 61), (64, 64, 3)])
def test_odd_sizes_and_black_frames_have_no_marks(shape):
    marks = find_marks(np.zeros(shape, np.uint8))
    assert marks.all.shape == shape[:2]
    assert not marks.all.any()
    assert marks.boxes == ()


def test_masks_of_another_size_are_refused(frames):
    wrong = np.zeros((3, 4), bool)
    with pytest.raises(ValueError, match=r"sector must be .* not \(3, 4\)"):
        find_marks(frames[0], sector=wrong)
    with pytest.raises(ValueError, match=r"static must be .* not \(3, 4\)"):
        find_marks(frames[0], static=wrong)


def moving(num: int, *, label: bool) -> list[Grey]:
    """New noise in every frame, and a bright word that stays if `label`."""
    rng, clip = np.random.default_rng(0), []
    for _ in range(num):
        pixels = rng.integers(0, 160, (80, 100), dtype=np.uint8)
        if label:
            cv2.putText(pixels, "JANE", (20, 45), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 230, 2)
        clip.append(pixels)
    return clip


def test_what_stays_bright_while_all_around_changes_is_a_mark():
    plain, labelled = moving(8, label=False), moving(8, label=True)
    word = (np.minimum.reduce(labelled) == 230) & (np.maximum.reduce(labelled) == 230)
    found = static_marks(labelled)
    assert found[word].all()
    assert not found[~grown(word, 1)].any()  # its anti-aliased rim is nearly still as well
    assert not static_marks(plain).any()


def test_in_a_frozen_clip_nothing_is_static():
    assert not static_marks([moving(1, label=True)[0]] * 5).any()


def test_dark_pixels_that_stay_are_no_marks():
    clip = [np.where(np.indices(f.shape)[1] == 50, 20, f).astype(np.uint8) for f in moving(8, label=False)]
    assert not static_marks(clip).any()


def test_static_pixels_join_the_marks(frames):
    static = np.zeros(frames[0].shape, bool)
    static[100:104, 50:60] = True
    with_it, without = find_marks(frames[0], static=static), find_marks(frames[0])
    np.testing.assert_array_equal(with_it.all, without.all | static)


def test_one_frame_is_no_evidence():
    with pytest.raises(ValueError, match="at least two frames"):
        static_marks(moving(1, label=True))


def test_a_flashing_strip_is_not_enough_of_a_change():
    # 20 of 100 columns flash, 51 grey levels on average; four fifths of the frame never move.
    still = np.full((80, 100), 120, np.uint8)
    flash = still.copy()
    flash[:, ::5] = 255
    assert not static_marks([still, flash, still]).any()


@pytest.mark.parametrize("ink", [(255, 60, 60), (80, 160, 255), (255, 160, 0)], ids=["red", "blue", "orange"])
def test_text_in_a_colour_of_flow_is_a_mark_beside_flow_that_is_not(frames, ink):
    pixels, flow = with_flow(frames[0], ramp="red" if ink[2] else "blue")
    sheet = np.zeros(pixels.shape[:2], np.uint8)
    cv2.putText(sheet, "R-OV 12mm", (30, 170), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    alpha = sheet[..., None] / 255
    shown = (pixels * (1 - alpha) + alpha * np.array(ink)).astype(np.uint8)
    assert (flow & flow_pixels(shown)).sum() > 100, "without flow the rule is not asked"
    found = find_marks(shown)
    assert covered(found.all, sheet > 130) >= 0.9
    assert covered(found.all, flow) < 0.02
    assert not (found.flow & found.all).any()


def test_an_area_mixed_of_one_ink_and_grey_has_one_hue_and_a_ramp_of_two_colours_has_not():
    pixels = np.full((20, 40, 3), 90, np.uint8)
    mixed = np.linspace(0.4, 1, 12)[:, None, None] * (np.array([255, 40, 40]) - 90.0) + 90
    ramp = np.linspace([255, 0, 0], [255, 200, 0], 12)[:, None]
    pixels[4:16, 4:12] = mixed.round()
    pixels[4:16, 24:32] = ramp.round()
    found = areas_of_one_hue(pixels)
    assert found[4:16, 4:12].all()
    assert found.sum() == 12 * 8
    assert not areas_of_one_hue(np.full((20, 40, 3), 90, np.uint8)).any()


def test_a_mosaic_of_small_pieces_is_flow_and_yellow_ink_is_not(frames):
    """Aliasing and maps of variance: no piece is thick, yellow and green lie among red and blue."""
    pixels, flow = with_flow(frames[0], ramp="red")
    rows, columns = np.indices(flow.shape)
    mosaic = np.array([(230, 60, 20), (60, 220, 60), (40, 60, 230), (230, 220, 40)], np.uint8)
    pixels[flow] = mosaic[(rows // 2 + 3 * (columns // 2))[flow] % 4]
    assert covered(find_marks(pixels).all, flow) < 0.02
    assert covered(find_marks(pixels).flow, flow) > 0.95
    inked = in_colour(frames[0])
    cv2.putText(inked, "D 12mm", (60, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 220, 0), 1)
    assert not certain_flow(inked, flow_pixels(inked)).any()
    assert covered(find_marks(inked).all, (inked[..., 0] > 250) & (inked[..., 2] < 5)) > 0.9
