"""Shapes of bodies and what they do to the picture."""

import numpy as np
import pytest

from usfmae.base.seeds import rng_for
from usfmae.images.simulate.lesion import Body, draw_lesion


def body(**changes: object) -> Body:
    values = {"down_mm": 20.0, "across_mm": 3.0, "half_down_mm": 4.0, "half_across_mm": 8.0,
              "contrast_db": -12.0, "attenuation_change": 0.0}  # fmt: skip
    return Body(**(values | changes))


def area_mm2(shape: Body) -> float:
    down, across = np.meshgrid(np.arange(0, 40, 0.05), np.arange(-20, 25, 0.05), indexing="ij")
    return float((shape.outside_mm(down, across) <= 0).sum() * 0.05**2)


def test_an_ellipse_has_the_area_pi_a_b():
    assert area_mm2(body()) == pytest.approx(np.pi * 4 * 8, rel=0.01)
    assert area_mm2(body(tilt_rad=0.7)) == pytest.approx(np.pi * 4 * 8, rel=0.01)


def test_the_outline_is_zero_the_centre_negative():
    outside = body().outside_mm(np.array([20.0, 24.0, 16.0, 20.0]), np.array([3.0, 3.0, 3.0, 11.0]))
    np.testing.assert_allclose(outside, [-4, 0, 0, 0], atol=1e-5)


def test_a_plane_off_the_middle_cuts_a_smaller_section():
    # At 0.6 of the half axis a ball's section has sqrt(1 - 0.36) = 0.8 of its radius.
    section = body(half_elevation_mm=10.0).section(6.0)
    assert section is not None
    assert section.half_across_mm == pytest.approx(6.4)
    assert body(half_elevation_mm=10.0).section(10.0) is None


def test_nothing_changes_beyond_reach():
    shape = draw_lesion("malignant", rng_for(0, "x"), down_mm=20.0, across_mm=3.0)
    across = 3 + np.array([-1.0, 1.0]) * shape.reach_mm
    assert (shape.outside_mm(np.full(2, 20.0), across) > shape.edge_mm / 2).all()


def roughness(shape: Body) -> float:
    """Perimeter squared over 4 pi area: 1 for a circle."""
    turn = np.linspace(0, 2 * np.pi, 721)
    ring_mm, smallest = 10.0, min(shape.half_down_mm, shape.half_across_mm)
    outside = shape.outside_mm(
        shape.down_mm + ring_mm * np.sin(turn), shape.across_mm + ring_mm * np.cos(turn)
    )
    edge = ring_mm / (outside / smallest + 1)  # along a ray the distance grows in proportion
    points = edge * np.exp(1j * turn)
    area = 0.5 * np.abs(np.sum((points[:-1].conj() * points[1:]).imag))
    return float(np.abs(np.diff(points)).sum() ** 2 / (4 * np.pi * area))


def test_malignant_outlines_are_rougher_than_benign_ones():
    rough = {
        kind: [roughness(draw_lesion(kind, rng_for(i, kind), down_mm=20.0, across_mm=0.0)) for i in range(20)]
        for kind in ("benign", "malignant")
    }
    assert np.median(rough["benign"]) < 1.2
    assert np.median(rough["malignant"]) > 1.4


def test_benign_lesions_enhance_and_malignant_ones_shadow():
    for i in range(50):
        assert draw_lesion("benign", rng_for(i, "b"), down_mm=20.0, across_mm=0.0).attenuation_change < 0
        assert draw_lesion("malignant", rng_for(i, "m"), down_mm=20.0, across_mm=0.0).attenuation_change > 0


def test_no_single_number_tells_the_kinds_apart():
    drawn = {
        kind: [draw_lesion(kind, rng_for(i, kind), down_mm=20.0, across_mm=0.0) for i in range(100)]
        for kind in ("benign", "malignant")
    }
    for name in ("contrast_db", "half_across_mm", "edge_mm", "rim_db"):
        benign, malignant = (sorted(getattr(one, name) for one in drawn[kind]) for kind in drawn)
        assert benign[20] < malignant[80], name
        assert malignant[20] < benign[80], name
