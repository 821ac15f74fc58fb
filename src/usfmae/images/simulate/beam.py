"""From tissue to echoes: speckle, beam, pulse, attenuation, envelope, log compression.

The echo of a resolution cell is the sum of many scatterers with random phases. From about ten per cell on
the sum is a circular complex Gaussian number and the speckle is "fully developed" (Wagner, Smith, Sandrik
and Lopez 1983, "Statistics of speckle in ultrasound B-scans", IEEE Trans. Sonics Ultrason. 30(3)): the
envelope is Rayleigh distributed with mean over standard deviation sqrt(pi / (4 - pi)) = 1.91. So instead of
tens of thousands of point scatterers, every node of the beam grid (several per cell) draws such a Gaussian
number, which is the limit of infinitely many, and the grid is filtered by the point-spread function in
complex baseband: Gaussian along depth from the bandwidth, Gaussian across from wavelength, f-number and
distance to the focus.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from usfmae.images.simulate.device import FWHM_PER_SIGMA, SPEED_OF_SOUND_MM_PER_US, Device
from usfmae.images.simulate.scan import BeamGrid, beam_grid

NEPER_PER_DB = np.log(10) / 20
MIN_FREQUENCY_RATIO = 0.4
"""The model of a sinking centre frequency holds until here; below it the loss goes on at this frequency."""


@dataclass(frozen=True, eq=False)
class TissueMap:
    """What the beams run through, at the samples of a beam grid."""

    echo_db: Float[np.ndarray, "sample line"]
    """Scattering strength; 0 is gland."""

    attenuation_db_per_cm_mhz: Float[np.ndarray, "sample line"]
    """One-way, amplitude."""


def attenuation_db(
    attenuation_db_per_cm_mhz: Float[np.ndarray, "sample *line"], *, sample_mm: float, device: Device
) -> Float[np.ndarray, "sample *line"]:
    """Two-way loss of the pulse down to each sample, in dB.

    Attenuation grows with frequency, so it takes the upper half of the spectrum first: a Gaussian spectrum
    (centre f, width s) that lost A nepers per MHz stays Gaussian around f - A s^2 and lost A f - A^2 s^2 / 2
    nepers (Szabo 2014, "Diagnostic Ultrasound Imaging", sec. 4.4), less than A f.

    Args:
        attenuation_db_per_cm_mhz: along each line, one-way.
        sample_mm: distance between samples.
        device: gives centre frequency and bandwidth.
    """
    lost = _two_way_neper_per_mhz(attenuation_db_per_cm_mhz, sample_mm)
    frequency, variance = device.frequency_mhz, device.spectrum_sigma_mhz**2
    bent = np.minimum(lost, (1 - MIN_FREQUENCY_RATIO) * frequency / variance)
    neper = bent * frequency - bent**2 * variance / 2 + (lost - bent) * MIN_FREQUENCY_RATIO * frequency
    return np.asarray(neper / NEPER_PER_DB, dtype=np.float32)


def beam_sigma_mm(device: Device, depth_mm: Float[np.ndarray, "sample"]) -> Float[np.ndarray, "sample"]:
    """Standard deviation across of the two-way beam at each depth.

    At the focus the full width at half maximum is wavelength times f-number; away from it the width grows as
    that of a Gaussian beam whose depth of field is 7 wavelengths times f-number squared (Kino 1987, "Acoustic
    Waves", sec. 3.3). The wavelength grows with depth as attenuation lowers the centre frequency.
    """
    usual = np.full_like(depth_mm, device.tgc_db_per_cm_mhz)
    lost = _two_way_neper_per_mhz(usual, float(depth_mm[1] - depth_mm[0]))
    centre = device.frequency_mhz - lost * device.spectrum_sigma_mhz**2
    wavelength = SPEED_OF_SOUND_MM_PER_US / np.maximum(centre, MIN_FREQUENCY_RATIO * device.frequency_mhz)
    half_field = 3.5 * wavelength * device.f_number**2
    narrowest = wavelength * device.f_number / FWHM_PER_SIGMA
    return np.asarray(narrowest * np.hypot(1, (depth_mm - device.focus_mm) / half_field), dtype=np.float32)


def envelope(
    tissue: TissueMap, device: Device, rng: np.random.Generator, *, noise: bool = True
) -> Float[np.ndarray, "sample line"]:
    """Echo amplitude along every beam: positive, linear, after the time gain.

    Gland (0 dB) whose attenuation the time gain meets exactly has a mean square of 1 at every depth.

    Args:
        tissue: at the samples of `beam_grid(device)`.
        device: pulse, beam, time gain, looks.
        rng: draws the scatterers.
        noise: add the receiver's noise.
    """
    grid = beam_grid(device)
    usual = np.full_like(grid.depth_mm, device.tgc_db_per_cm_mhz)
    gain_db = attenuation_db(usual, sample_mm=grid.sample_mm, device=device)[:, None]
    loss_db = attenuation_db(tissue.attenuation_db_per_cm_mhz, sample_mm=grid.sample_mm, device=device)
    strength = _amplitude(tissue.echo_db)
    received = _amplitude(gain_db - loss_db)
    noise_level = _amplitude(gain_db + device.noise_db)
    total = np.zeros_like(strength)
    for _ in range(device.num_looks):
        scatterers = strength[..., None] * _gaussian(rng, strength.shape)
        echo = received[..., None] * _through_beam(scatterers, grid, device)
        if noise:
            echo += noise_level[..., None] * _gaussian(rng, strength.shape)
        total += np.hypot(echo[..., 0], echo[..., 1])
    return np.asarray(total / device.num_looks, dtype=np.float32)


def log_compress(
    amplitude: Float[np.ndarray, "sample line"], device: Device, *, gain_db: float = 0.0
) -> Float[np.ndarray, "sample line"]:
    """Amplitude to grey in [0, 1]; the dynamic range lies around the mean echo of gland, which is mid-grey.

    Args:
        amplitude: from `envelope`.
        device: dynamic range, gain, grey curve.
        gain_db: on top of the device's own gain.
    """
    echo_db = 20 * np.log10(np.maximum(amplitude, 1e-6)) + device.gain_db + gain_db
    grey = np.clip(echo_db / device.dynamic_range_db + 0.5, 0, 1)
    return np.asarray(grey**device.gamma, dtype=np.float32)


def to_pixels(grey: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Grey in [0, 1] to 8 bits."""
    return np.asarray(np.rint(grey * 255), dtype=np.uint8)


def _two_way_neper_per_mhz(
    db_per_cm_mhz: Float[np.ndarray, "sample *line"], sample_mm: float
) -> Float[np.ndarray, "sample *line"]:
    """Loss summed there and back down to each sample (trapezoids, nothing lost at the face)."""
    step = (db_per_cm_mhz[1:] + db_per_cm_mhz[:-1]) * np.float32(NEPER_PER_DB * sample_mm / 10)
    return np.concatenate([np.zeros_like(db_per_cm_mhz[:1]), np.cumsum(step, axis=0, dtype=np.float32)])


def _through_beam(
    scatterers: Float[np.ndarray, "sample line 2"], grid: BeamGrid, device: Device
) -> Float[np.ndarray, "sample line 2"]:
    """Filter with the point-spread function of every depth; unit noise keeps unit power at every depth."""
    sigma = device.pulse_sigma_mm / grid.sample_mm
    pulse = _gauss(np.arange(-4, 5, dtype=np.float32), sigma)
    along = cv2.filter2D(scatterers, -1, pulse[:, None], borderType=cv2.BORDER_REFLECT_101)
    sigmas = beam_sigma_mm(device, grid.depth_mm) / grid.line_mm
    reach = int(min(np.ceil(2.6 * sigmas.max()), scatterers.shape[1] // 2))
    weights = _gauss(np.arange(-reach, reach + 1, dtype=np.float32)[None, :], sigmas[:, None])
    padded = np.pad(along, ((0, 0), (reach, reach), (0, 0)), mode="reflect")
    lines, out = scatterers.shape[1], np.zeros(scatterers.shape, dtype=np.float32)
    for offset in range(2 * reach + 1):
        out += weights[:, offset, None, None] * padded[:, offset : offset + lines]
    return out


def _gauss(
    offset: Float[np.ndarray, "... tap"], sigma: float | Float[np.ndarray, "... 1"]
) -> Float[np.ndarray, "... tap"]:
    """Gaussian taps whose squares sum to 1."""
    taps = np.exp(-0.5 * (offset / sigma) ** 2)
    return np.asarray(taps / np.sqrt((taps**2).sum(axis=-1, keepdims=True)), dtype=np.float32)


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Float[np.ndarray, "sample line 2"]:
    """Circular complex Gaussian numbers of mean power 1, as (real, imaginary) pairs."""
    return rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32(np.sqrt(0.5))


def _amplitude(level_db: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.asarray(np.exp(level_db * np.float32(NEPER_PER_DB)), dtype=np.float32)
