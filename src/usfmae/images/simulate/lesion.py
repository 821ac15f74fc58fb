"""Bodies in the tissue: lesions of two kinds, and the harmless look-alikes that make the task hard."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

Kind = Literal["benign", "malignant"]
NUM_ANGLES = 720


@dataclass(frozen=True)
class Body:
    """A closed shape with its own echoes and attenuation, in the patient's millimetres."""

    down_mm: float
    across_mm: float
    """Centre."""

    half_down_mm: float
    half_across_mm: float
    """Semi-axes of the ellipse it starts from."""

    contrast_db: float
    """Echo against what was there before."""

    attenuation_change: float
    """Against what was there before, in dB/cm/MHz one-way: below 0 brightens what lies behind, above 0
    shadows it."""

    edge_mm: float = 0.2
    """Width of the transition at the outline."""

    rim_db: float = 0.0
    """Extra echo along the outline."""

    tilt_rad: float = 0.0
    waves: tuple[tuple[int, float, float], ...] = ()
    """(periods, amplitude, phase) of the outline: its radius is 1 + sum amplitude cos(periods angle +
    phase)."""

    spikes: tuple[tuple[float, float, float], ...] = ()
    """(angle, length, width in rad) of spicules on the outline; length as a fraction of the radius."""

    elevation_mm: float = 0.0
    half_elevation_mm: float = 1e9
    """Centre and semi-axis across the image plane."""

    def section(self, elevation_mm: float) -> "Body | None":
        """What a plane at `elevation_mm` cuts out of an ellipsoid; None if it misses."""
        height = (elevation_mm - self.elevation_mm) / self.half_elevation_mm
        if abs(height) >= 1:
            return None
        shrink = float(np.sqrt(1 - height**2))
        return replace(
            self, half_down_mm=self.half_down_mm * shrink, half_across_mm=self.half_across_mm * shrink
        )

    @property
    def reach_mm(self) -> float:
        """Beyond this distance from the centre, down or across, the body changes nothing."""
        longest = max(self.half_down_mm, self.half_across_mm)
        return longest * float(self._outline().max()) + 1 + 3 * self.edge_mm

    def outside_mm(
        self, down_mm: Float[np.ndarray, "..."], across_mm: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """How far each point lies outside the outline, roughly in mm; negative inside, 0 on it."""
        down, across = down_mm - self.down_mm, across_mm - self.across_mm
        cos, sin = np.cos(self.tilt_rad), np.sin(self.tilt_rad)
        v = (cos * down - sin * across) / self.half_down_mm
        u = (sin * down + cos * across) / self.half_across_mm
        radius = np.hypot(u, v)
        if self.waves or self.spikes:
            turn = np.arctan2(v, u) * (NUM_ANGLES / (2 * np.pi))
            radius = radius / self._outline()[np.rint(turn).astype(np.int32) % NUM_ANGLES]
        return np.asarray((radius - 1) * min(self.half_down_mm, self.half_across_mm), dtype=np.float32)

    def inside_ratio(self, outside_mm: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """0 outside, 1 inside, with a ramp of `edge_mm` centred on the outline."""
        return np.asarray(np.clip(0.5 - outside_mm / max(self.edge_mm, 1e-3), 0, 1), dtype=np.float32)

    def _outline(self) -> Float[np.ndarray, "angle"]:
        angle = np.arange(NUM_ANGLES) * (2 * np.pi / NUM_ANGLES)
        radius = np.ones(NUM_ANGLES)
        for periods, amplitude, phase in self.waves:
            radius += amplitude * np.cos(periods * angle + phase)
        for centre, length, width in self.spikes:
            away = np.abs((angle - centre + np.pi) % (2 * np.pi) - np.pi)
            radius += length * np.exp(-away / width)
        return np.maximum(radius, 0.2).astype(np.float32)


def draw_lesion(kind: Kind, rng: np.random.Generator, *, down_mm: float, across_mm: float) -> Body:
    """Draw a lesion; the two kinds overlap in every single number, as they do in people.

    Benign: smooth ellipse, wider than tall, sharp, nearly echo-free, enhancement behind. Malignant: lobed and
    spiculated, often taller than wide, blurred, hypoechoic with a bright halo, shadow behind (the descriptors
    of the ACR BI-RADS atlas, 5th edition, 2013).

    Args:
        kind: "benign" or "malignant".
        rng: of the patient.
        down_mm: depth of the centre.
        across_mm: its place across.
    """
    across = rng.uniform(4.0, 11.0)
    phases = rng.uniform(0, 2 * np.pi, 12)
    if kind == "benign":
        cyst = rng.random() < 0.55
        return Body(
            down_mm=down_mm,
            across_mm=across_mm,
            half_across_mm=across,
            half_down_mm=across * rng.uniform(0.5, 0.95),
            contrast_db=-rng.uniform(14, 30) if cyst else -rng.uniform(6, 14),
            attenuation_change=-rng.uniform(0.2, 0.6) if cyst else -rng.uniform(0.0, 0.3),
            edge_mm=rng.uniform(0.15, 0.6),
            rim_db=rng.uniform(0, 6),
            tilt_rad=rng.normal(0, 0.2),
            waves=((2, rng.uniform(0, 0.08), phases[0]), (3, rng.uniform(0, 0.1), phases[1])),
            half_elevation_mm=across * rng.uniform(0.7, 1.1),
        )
    num_spikes, raggedness = int(rng.integers(4, 13)), rng.uniform(0.4, 1.0)
    return Body(
        down_mm=down_mm,
        across_mm=across_mm,
        half_across_mm=across * 0.9,
        half_down_mm=across * 0.9 * rng.uniform(0.65, 1.25),
        contrast_db=-rng.uniform(8, 20),
        attenuation_change=rng.uniform(0.05, 0.7),
        edge_mm=rng.uniform(0.3, 1.2),
        rim_db=rng.uniform(0, 7),
        tilt_rad=rng.normal(0, 0.3),
        waves=tuple((n, raggedness * rng.uniform(0.03, 0.3) / n**0.7, phases[n]) for n in range(2, 9)),
        spikes=tuple(
            (rng.uniform(0, 2 * np.pi), raggedness * rng.uniform(0.1, 0.6), rng.uniform(0.05, 0.12))
            for _ in range(num_spikes)
        ),
        half_elevation_mm=across * rng.uniform(0.7, 1.1),
    )


def draw_confounders(
    rng: np.random.Generator, *, top_mm: float, bottom_mm: float, half_width_mm: float
) -> tuple[Body, ...]:
    """Draw what both kinds of patients have: fat lobules, small cysts or vessels, calcifications.

    Args:
        rng: of the patient; the kind of lesion must not enter.
        top_mm: upper end of the gland.
        bottom_mm: its lower end.
        half_width_mm: how far to the sides.
    """
    bodies = []
    for _ in range(rng.integers(0, 4)):
        across = rng.uniform(2.0, 5.5)
        bodies.append(
            Body(
                down_mm=rng.uniform(top_mm, bottom_mm),
                across_mm=rng.uniform(-half_width_mm, half_width_mm),
                half_across_mm=across,
                half_down_mm=across * rng.uniform(0.35, 0.8),
                contrast_db=-rng.uniform(5, 11),
                attenuation_change=rng.uniform(-0.25, 0.2),
                edge_mm=rng.uniform(0.3, 1.0),
                rim_db=rng.uniform(0, 5),
                tilt_rad=rng.normal(0, 0.25),
                waves=(
                    (2, rng.uniform(0, 0.12), rng.uniform(0, 6)),
                    (3, rng.uniform(0, 0.15), rng.uniform(0, 6)),
                ),
                elevation_mm=rng.normal(0, 2),
                half_elevation_mm=rng.uniform(4, 9),
            )
        )
    for _ in range(rng.integers(0, 2)):
        size = rng.uniform(0.7, 1.7)
        bodies.append(
            Body(
                down_mm=rng.uniform(top_mm - 4, bottom_mm),
                across_mm=rng.uniform(-half_width_mm, half_width_mm),
                half_across_mm=size * rng.uniform(1, 1.8),
                half_down_mm=size,
                contrast_db=-rng.uniform(15, 28),
                attenuation_change=-rng.uniform(0.2, 0.6),
                rim_db=rng.uniform(0, 5),
                elevation_mm=rng.normal(0, 2),
                half_elevation_mm=rng.uniform(2, 20),
            )
        )
    for _ in range(rng.integers(0, 3)):
        size = rng.uniform(0.15, 0.45)
        bodies.append(
            Body(
                down_mm=rng.uniform(top_mm, bottom_mm),
                across_mm=rng.uniform(-half_width_mm, half_width_mm),
                half_across_mm=size * rng.uniform(1, 3),
                half_down_mm=size,
                contrast_db=rng.uniform(10, 20),
                attenuation_change=rng.uniform(0, 8),
                half_elevation_mm=3.0,
                elevation_mm=rng.normal(0, 1),
            )
        )
    return tuple(bodies)
