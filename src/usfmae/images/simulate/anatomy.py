"""A patient's breast: skin, fat, gland, muscle, chest wall, with wavy borders, texture, and bodies in them.

The anatomy is a function of position in millimetres and of the elevation of the image plane, so that several
images of a patient show one anatomy in different planes and poses.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Complex64, Float, UInt8

from usfmae.base.seeds import rng_for
from usfmae.images.simulate.beam import TissueMap
from usfmae.images.simulate.lesion import Body, Kind, draw_confounders, draw_lesion

ECHO_DB = np.array([7.0, -9.0, 0.0, -8.0, -5.0, -16.0], dtype=np.float32)
ATTENUATION = np.array([1.0, 0.55, 0.75, 0.55, 0.9, 2.2], dtype=np.float32)
"""Skin, fat, gland, fat behind it, muscle, chest wall: echo against gland in dB, loss in dB/cm/MHz (rounded
from Szabo 2014, "Diagnostic Ultrasound Imaging", table B.1; the chest wall stands for rib and air)."""

MAX_OFF_MIDDLE_MM = 9.0
"""A sonographer keeps the lesion in the picture."""

TILE_PX, TILE_MM = 224, 64.0
"""Textures repeat after 64 mm, more than any footprint."""


@dataclass(frozen=True)
class Plane:
    """Where the transducer was put for one image."""

    shift_mm: float = 0.0
    """Across, against the middle of the patient's anatomy."""

    elevation_mm: float = 0.0
    tilt_rad: float = 0.0
    squeeze: float = 1.0
    """Depth under the transducer's pressure over depth at rest."""

    contact: tuple[tuple[float, float, float], ...] = ()
    """(across_mm, width_mm, loss_db_per_mhz) of poor contact at the skin: shadows that mean nothing."""

    def to_patient(
        self, down_mm: Float[np.ndarray, "..."], across_mm: Float[np.ndarray, "..."]
    ) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Positions (down, across) under the transducer to positions in the patient."""
        down = (down_mm / self.squeeze + across_mm * np.tan(self.tilt_rad)).astype(np.float32)
        return down, np.asarray(across_mm + np.float32(self.shift_mm), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient."""

    borders_mm: tuple[float, ...]
    """Mean depth of the five borders between the six tissues."""

    waves: tuple[tuple[tuple[float, float, float, float], ...], ...]
    """Per border: (amplitude_mm, wavelength_mm, phase, phase per mm of elevation)."""

    streaks: Complex64[np.ndarray, "tile tile"]
    fibres: Complex64[np.ndarray, "tile tile"]
    lobules: Complex64[np.ndarray, "tile tile"]
    """Textures; a plane at elevation y sees the real part after a turn by y / 5 mm."""

    fattiness: float
    """Threshold of the lobule texture: higher is denser gland."""

    streak_db: float
    """Standard deviation of the gland's texture."""

    absorption: float
    """Attenuation of this patient's tissues over the usual one."""

    bodies: tuple[Body, ...]
    """Lesion first if there is one, then confounders."""

    has_lesion: bool

    @property
    def lesion(self) -> Body | None:
        """The lesion, if there is one."""
        return self.bodies[0] if self.has_lesion else None

    def without_bodies(self) -> "Anatomy":
        """The same tissue with nothing in it; for tests and for pictures."""
        return replace(self, bodies=(), has_lesion=False)

    def tissue(
        self,
        down_mm: Float[np.ndarray, "sample line"],
        across_mm: Float[np.ndarray, "sample line"],
        plane: Plane,
    ) -> TissueMap:
        """Echoes and attenuation at each point under the transducer."""
        down, across = plane.to_patient(down_mm, across_mm)
        borders = [self._border(i, across, plane.elevation_mm) for i in range(len(self.borders_mm))]
        layer = np.zeros(down.shape, dtype=np.uint8)
        for border in borders:
            layer += down > border
        echo, loss = ECHO_DB[layer], (ATTENUATION * np.float32(self.absorption))[layer]
        self._add_texture(echo, loss, layer, *self._textures(down, across, plane))
        for border, level, width in zip(
            borders, (3.0, 4.0, 3.0, 9.0, 12.0), (0.3, 0.25, 0.2, 0.35, 0.5), strict=True
        ):
            echo += level * np.exp(-(((down - border) / np.float32(width)) ** 2))
        for body in self.bodies:
            _add_body(echo, loss, body, down, across, plane)
        entry = np.float32(12) * np.exp(-np.square(down_mm / np.float32(0.6)))
        return TissueMap(echo + entry, loss + _contact_loss(down_mm, across_mm, plane))

    def lesion_mask(
        self,
        down_mm: Float[np.ndarray, "height width"],
        across_mm: Float[np.ndarray, "height width"],
        plane: Plane,
    ) -> Bool[np.ndarray, "height width"]:
        """True inside the outline of the lesion, at points under the transducer."""
        section = self.lesion.section(plane.elevation_mm) if self.lesion else None
        if section is None:
            return np.zeros(down_mm.shape, dtype=bool)
        return np.asarray(section.outside_mm(*plane.to_patient(down_mm, across_mm)) <= 0)

    def _border(
        self, index: int, across: Float[np.ndarray, "sample line"], elevation_mm: float
    ) -> Float[np.ndarray, "sample line"]:
        """Depth of a border, read from a table with steps of 0.05 mm."""
        table_mm = np.arange(-80, 80, 0.05, dtype=np.float32)
        depth = np.full_like(table_mm, self.borders_mm[index])
        for amplitude, wavelength, phase, turn in self.waves[index]:
            depth += amplitude * np.sin(2 * np.pi / wavelength * table_mm + phase + turn * elevation_mm)
        return np.asarray(depth[np.clip((across + 80) * 20, 0, len(table_mm) - 1).astype(np.int32)])

    def _textures(
        self, down: Float[np.ndarray, "sample line"], across: Float[np.ndarray, "sample line"], plane: Plane
    ) -> list[Float[np.ndarray, "sample line"]]:
        scale, turn = np.float32(TILE_PX / TILE_MM), np.exp(1j * plane.elevation_mm / 5)
        column, row = (across * scale) % np.float32(TILE_PX), (down * scale) % np.float32(TILE_PX)
        seen = []
        for tile in (self.streaks, self.fibres, self.lobules):
            wrapped = np.pad((tile * turn).real.astype(np.float32), ((0, 1), (0, 1)), mode="wrap")
            seen.append(np.asarray(cv2.remap(wrapped, column, row, cv2.INTER_LINEAR)))
        return seen

    def _add_texture(
        self,
        echo: Float[np.ndarray, "sample line"],
        loss: Float[np.ndarray, "sample line"],
        layer: UInt8[np.ndarray, "sample line"],
        streaks: Float[np.ndarray, "sample line"],
        fibres: Float[np.ndarray, "sample line"],
        lobules: Float[np.ndarray, "sample line"],
    ) -> None:
        gland, muscle, fat = layer == 2, layer == 4, (layer == 1) | (layer == 3)
        fatty = np.clip((lobules - self.fattiness) * 4 + 0.5, 0, 1)
        echo += gland * (self.streak_db * streaks * (1 - 0.5 * fatty) + (ECHO_DB[1] - ECHO_DB[2]) * fatty)
        loss += gland * (ATTENUATION[1] - ATTENUATION[2]) * fatty
        echo += muscle * (4.5 * fibres)
        ligaments = np.exp(-np.square((lobules + 0.4) / np.float32(0.07)))
        echo += fat * (9 * ligaments + 1.5 * streaks)


def draw_anatomy(patient: int, lesion: Kind | None, *, seed: int) -> Anatomy:
    """The anatomy of a patient: equal for equal arguments, and but for the lesion the same for every kind.

    Args:
        patient: number of the patient.
        lesion: its kind, or None.
        seed: of the whole set.
    """
    rng = rng_for(seed, "anatomy", patient)
    thickness = np.array(
        [
            rng.uniform(1.0, 2.2),
            rng.uniform(2.5, 10),
            rng.uniform(13, 27),
            rng.uniform(0.8, 4),
            rng.uniform(7, 15),
        ]
    )
    borders = np.cumsum(thickness)
    waves = tuple(
        tuple(
            (
                rng.uniform(0.1, 0.5) * size * high,
                rng.uniform(*span),
                rng.uniform(0, 6.28),
                rng.uniform(-0.3, 0.3),
            )
            for span, high in (((25, 60), 1.0), ((14, 27), 0.7), ((8, 15), 0.3), ((4, 9), 0.12))
        )
        for size in (0.3, 2.4, 2.6, 2.0, 1.2)
    )
    textures = [
        _texture(rng, down_mm=0.35, across_mm=rng.uniform(1.2, 3.0)),
        _texture(rng, down_mm=0.22, across_mm=6.0),
        _texture(rng, down_mm=1.6, across_mm=rng.uniform(3.0, 5.0)),
    ]
    top, bottom = borders[1], borders[2]
    bodies = draw_confounders(rng, top_mm=top + 1, bottom_mm=bottom, half_width_mm=18.0)
    fattiness, streak_db, absorption = rng.uniform(0.0, 1.6), rng.uniform(2.5, 6.0), rng.uniform(0.75, 1.25)
    if lesion is not None:
        own = rng_for(seed, "lesion", patient)
        down = own.uniform(top + 2.5, max(top + 4, min(bottom - 3, 24)))
        drawn = draw_lesion(lesion, own, down_mm=down, across_mm=own.uniform(-6, 6))
        bodies = (drawn, *(body for body in bodies if not _overlap(body, drawn)))
    return Anatomy(
        borders_mm=tuple(float(border) for border in borders),
        waves=waves,
        streaks=textures[0],
        fibres=textures[1],
        lobules=textures[2],
        fattiness=fattiness,
        streak_db=streak_db,
        absorption=absorption,
        bodies=bodies,
        has_lesion=lesion is not None,
    )


def draw_plane(patient: int, plane: int, lesion: Body | None, *, seed: int) -> Plane:
    """The pose of one image of a patient; the lesion, if there is one, is cut well off its rim.

    Args:
        patient: number of the patient.
        plane: number of the image.
        lesion: what the sonographer is looking at.
        seed: of the whole set.
    """
    rng = rng_for(seed, "plane", patient, plane)
    reach = 3.0 if lesion is None else 0.6 * lesion.half_elevation_mm
    contact = tuple(
        (rng.uniform(-20, 20), rng.uniform(0.6, 3.0), rng.uniform(0.1, 0.9))
        for _ in range(rng.integers(0, 4))
    )
    shift = rng.normal(0, 5)
    if lesion is not None:
        shift = np.clip(shift, lesion.across_mm - MAX_OFF_MIDDLE_MM, lesion.across_mm + MAX_OFF_MIDDLE_MM)
    return Plane(
        shift_mm=float(shift),
        elevation_mm=rng.uniform(-reach, reach),
        tilt_rad=rng.normal(0, 0.06),
        squeeze=rng.uniform(0.88, 1.08),
        contact=contact,
    )


@lru_cache(maxsize=4)
def cached_anatomy(patient: int, lesion: Kind | None, seed: int) -> Anatomy:
    """`draw_anatomy`, remembered while the images of a patient are made."""
    return draw_anatomy(patient, lesion, seed=seed)


def _overlap(one: Body, other: Body) -> bool:
    apart = np.hypot(one.down_mm - other.down_mm, one.across_mm - other.across_mm)
    return bool(apart < 0.8 * (one.half_across_mm + other.half_across_mm))


def _texture(
    rng: np.random.Generator, *, down_mm: float, across_mm: float
) -> Complex64[np.ndarray, "tile tile"]:
    """A periodic random field, smooth over the given lengths; real and imaginary part independent."""
    frequency = np.fft.fftfreq(TILE_PX, TILE_MM / TILE_PX).astype(np.float32)
    down, across = (
        np.exp(-2 * (np.pi * frequency * down_mm) ** 2),
        np.exp(-2 * (np.pi * frequency * across_mm) ** 2),
    )
    noise = rng.standard_normal((TILE_PX, TILE_PX, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = np.fft.ifft2(noise * down[:, None] * across[None, :])
    return np.asarray(field / field.real.std(), dtype=np.complex64)


def _add_body(
    echo: Float[np.ndarray, "sample line"],
    loss: Float[np.ndarray, "sample line"],
    body: Body,
    down: Float[np.ndarray, "sample line"],
    across: Float[np.ndarray, "sample line"],
    plane: Plane,
) -> None:
    section = body.section(plane.elevation_mm)
    if section is None:
        return
    reach = section.reach_mm
    near_down, near_across = (
        np.abs(down - section.down_mm) < reach,
        np.abs(across - section.across_mm) < reach,
    )
    near = near_down & near_across
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not rows.size:
        return
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    outside = section.outside_mm(down[window], across[window])
    inside = section.inside_ratio(outside)
    echo[window] += inside * np.float32(body.contrast_db)
    loss[window] = np.maximum(loss[window] + inside * np.float32(body.attenuation_change), 0.02)
    if body.rim_db:
        width = np.float32(0.25 + body.edge_mm / 2)
        echo[window] += np.float32(body.rim_db) * np.exp(-np.square((outside - width) / width))


def _contact_loss(
    down_mm: Float[np.ndarray, "sample line"], across_mm: Float[np.ndarray, "sample line"], plane: Plane
) -> Float[np.ndarray, "sample line"] | float:
    """Poor contact as extra attenuation in the first millimetre."""
    if not plane.contact:
        return 0.0
    across, loss = across_mm[0], np.zeros_like(across_mm[0])
    for centre, width, strength in plane.contact:
        loss += strength * np.exp(-(((across - centre) / width) ** 2))
    return np.asarray((down_mm < 1) * (loss * 10 / 2), dtype=np.float32)
