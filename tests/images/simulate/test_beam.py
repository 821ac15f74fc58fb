"""The physics: speckle statistics, attenuation, beam width, log compression."""

import numpy as np
import pytest

from usfmae.base.seeds import rng_for
from usfmae.images.simulate.beam import TissueMap, attenuation_db, beam_sigma_mm, envelope, log_compress
from usfmae.images.simulate.device import DEVICES, Device
from usfmae.images.simulate.scan import beam_grid

DEVICE = Device(name="test", frequency_mhz=6, imaging_depth_mm=40, noise_db=-200)


def uniform(device: Device, *, echo_db: float = 0.0, attenuation: float | None = None) -> TissueMap:
    shape = beam_grid(device).down_mm.shape
    level = device.tgc_db_per_cm_mhz if attenuation is None else attenuation
    return TissueMap(np.full(shape, echo_db, np.float32), np.full(shape, level, np.float32))


def bands(amplitude: np.ndarray, count: int = 4) -> list[np.ndarray]:
    """Slices of depth; the first and last samples, where kernels are cut, are left out."""
    return np.array_split(amplitude[8:-8, 12:-12], count)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.name)
def test_speckle_is_fully_developed_on_every_device_at_every_depth(device):
    # Rayleigh: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.9131, whatever the beam's width.
    single = device.model_copy(update={"num_looks": 1})
    sweeps = [bands(envelope(uniform(single), single, rng_for(0, "snr", i), noise=False)) for i in range(5)]
    for depth in zip(*sweeps, strict=True):
        values = np.concatenate([band.ravel() for band in depth])
        assert values.mean() / values.std() == pytest.approx(1.91, abs=0.1)


def test_averaging_four_looks_doubles_the_speckle_snr():
    device = DEVICE.model_copy(update={"num_looks": 4})
    values = envelope(uniform(device), device, rng_for(0, "looks"), noise=False)[8:-8, 12:-12]
    assert values.mean() / values.std() == pytest.approx(2 * 1.913, rel=0.05)


def test_gland_has_mean_power_one_at_every_depth():
    sweeps = [bands(envelope(uniform(DEVICE), DEVICE, rng_for(0, "power", i)) ** 2) for i in range(6)]
    for depth in zip(*sweeps, strict=True):
        assert np.mean(np.concatenate(depth)) == pytest.approx(1, rel=0.1)


def test_echo_strength_is_in_decibels_of_amplitude():
    loud = envelope(uniform(DEVICE, echo_db=20.0), DEVICE, rng_for(0, "db"))
    np.testing.assert_allclose(loud, 10 * envelope(uniform(DEVICE), DEVICE, rng_for(0, "db")), rtol=1e-4)


def test_attenuation_by_hand():
    # A hair-thin spectrum: 0.5 dB/cm/MHz * 5 MHz * 3 cm * 2 ways = 15 dB.
    thin = Device(name="thin", frequency_mhz=5, bandwidth_ratio=0.051)
    loss = attenuation_db(np.full(301, 0.5, np.float32), sample_mm=0.1, device=thin)
    assert loss[0] == 0
    assert loss[-1] == pytest.approx(15, rel=0.01)
    # With 60 %: A = 15 / 5 dB per MHz = 0.3454 Np/MHz, s = 0.6 * 5 / 2.3548 = 1.274 MHz,
    # A f - A^2 s^2 / 2 = 1.7269 - 0.0968 = 1.6301 Np = 14.16 dB.
    wide = Device(name="wide", frequency_mhz=5, bandwidth_ratio=0.6)
    assert attenuation_db(np.full(301, 0.5, np.float32), sample_mm=0.1, device=wide)[-1] == pytest.approx(
        14.16, abs=0.02
    )


def test_deep_loss_never_turns_into_gain():
    loss = attenuation_db(
        np.full(2000, 3.0, np.float32), sample_mm=0.1, device=Device(name="x", bandwidth_ratio=1.1)
    )
    assert (np.diff(loss) > 0).all()


def test_without_time_gain_the_picture_darkens_with_depth_by_the_attenuation():
    device = DEVICE.model_copy(update={"tgc_db_per_cm_mhz": 0.0})
    power = np.mean(
        [envelope(uniform(device, attenuation=0.5), device, rng_for(0, "dark", i)) ** 2 for i in range(6)],
        axis=(0, 2),
    )
    level_db = 10 * np.log10([band.mean() for band in np.array_split(power, 8)])
    assert (np.diff(level_db) < 0).all()
    grid = beam_grid(device)
    loss = attenuation_db(np.full_like(grid.depth_mm, 0.5), sample_mm=grid.sample_mm, device=device)
    expected = [10 * np.log10(np.mean(10 ** (-band / 10))) for band in np.array_split(loss, 8)]
    np.testing.assert_allclose(level_db, expected, atol=0.8)


def test_higher_frequencies_lose_more():
    deepest = [
        attenuation_db(
            np.full(400, 0.7, np.float32), sample_mm=0.1, device=Device(name="f", frequency_mhz=f)
        )[-1]
        for f in (3.0, 6.0, 12.0)
    ]
    assert deepest[0] < deepest[1] < deepest[2]


def test_the_beam_is_narrowest_at_the_focus_and_one_wavelength_times_f_number_wide_there():
    device = DEVICE.model_copy(update={"tgc_db_per_cm_mhz": 0.0})  # no shift of the centre frequency
    depth = np.linspace(0, 40, 401, dtype=np.float32)
    sigma = beam_sigma_mm(device, depth)
    assert depth[sigma.argmin()] == pytest.approx(20)
    assert sigma.min() * 2.3548 == pytest.approx(1.54 / 6 * 3)
    assert (np.diff(sigma[200:]) > 0).all()


def lateral_correlation_lines(amplitude: np.ndarray) -> float:
    """Lag at which the autocorrelation across lines falls to one half."""
    power = amplitude**2 - (amplitude**2).mean()
    lags = [np.mean(power[:, : power.shape[1] - lag] * power[:, lag:]) for lag in range(30)]
    ratio = np.array(lags) / lags[0]
    after = int(np.argmax(ratio < 0.5))
    return after - (0.5 - ratio[after]) / (ratio[after - 1] - ratio[after])


def test_speckle_widens_away_from_the_focus_as_the_beam_does():
    device = DEVICE.model_copy(update={"focus_mm": 10.0, "tgc_db_per_cm_mhz": 0.0})
    grid = beam_grid(device)
    flat = uniform(device, attenuation=0.0)
    sweeps = np.concatenate([envelope(flat, device, rng_for(0, "width", i)) for i in range(4)], axis=1)
    sigma = beam_sigma_mm(device, grid.depth_mm)
    widths = []
    for depth_mm in (10, 20, 30):
        near = np.abs(grid.depth_mm - depth_mm) < 2
        widths.append(lateral_correlation_lines(sweeps[near]) * grid.line_mm[0])
        # Intensity correlation is the squared autocorrelation of the kernel, exp(-lag^2 / (2 sigma^2)):
        # one half at sigma * sqrt(2 ln 2) = 1.177 sigma.
        assert widths[-1] == pytest.approx(1.177 * sigma[near].mean(), rel=0.12)
    assert widths[0] < widths[1] < widths[2]


def test_log_compression_by_hand():
    device = Device(name="x", dynamic_range_db=60)
    # 0 dB is mid-grey; +-30 dB are the ends; 15 dB is three quarters.
    grey = log_compress(np.float32([[1.0, 10**1.5, 10**-1.5, 10**0.75, 0.0, 1e9]]), device)
    np.testing.assert_allclose(grey, [[0.5, 1, 0, 0.75, 0, 1]], atol=1e-6)
    assert log_compress(np.float32([[1.0]]), device, gain_db=6.0)[0, 0] == pytest.approx(0.6)


def test_receiver_noise_shows_in_the_deep_where_the_time_gain_is_high():
    device = DEVICE.model_copy(update={"noise_db": -30.0})
    amplitude = envelope(uniform(device, echo_db=-60.0), device, rng_for(0, "noise"))
    assert amplitude[-50:].mean() > 10 * amplitude[:50].mean()
