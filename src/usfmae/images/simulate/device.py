"""Simulated scanners: what the transducer sends, where its beams go and how the screen shows it."""

from typing import Literal

from pydantic import Field, model_validator

from usfmae.base.config import Config

SPEED_OF_SOUND_MM_PER_US = 1.54
"""Soft tissue; what every scanner assumes."""

FWHM_PER_SIGMA = 2.3548
"""Full width at half maximum of a Gaussian with a standard deviation of 1."""


class Device(Config):
    """One transducer with its screen settings."""

    name: str
    geometry: Literal["linear", "convex"] = "linear"

    frequency_mhz: float = Field(default=7.5, gt=0.5, le=30)
    """Centre of the pulse's spectrum at the skin."""

    bandwidth_ratio: float = Field(default=0.5, gt=0.05, lt=1.2)
    """Width of the two-way spectrum at -6 dB over its centre."""

    f_number: float = Field(default=3.0, ge=1, le=10)
    """Focal depth over aperture: the width of the beam at the focus in wavelengths."""

    focus_mm: float = Field(default=20.0, gt=0)
    imaging_depth_mm: float = Field(default=40.0, gt=5, le=300)
    footprint_mm: float = Field(default=40.0, gt=5, le=150)
    """Length of the transducer's face, along the arc if it is convex."""

    radius_mm: float | None = None
    """Radius of a convex face; None for a linear one."""

    num_lines: int = Field(default=192, ge=16, le=1024)
    num_looks: int = Field(default=1, ge=1, le=9)
    """Independent looks averaged by spatial compounding; speckle SNR grows with its square root."""

    tgc_db_per_cm_mhz: float = Field(default=0.7, ge=0, le=3)
    """Attenuation that the time gain compensates; 0 switches it off."""

    gain_db: float = 0.0
    dynamic_range_db: float = Field(default=60.0, gt=10, le=120)
    noise_db: float = -70.0
    """Receiver noise against the echo of gland at the skin, before the time gain lifts both."""

    gamma: float = Field(default=1.0, gt=0.2, lt=4)
    """Grey curve of the screen; above 1 darkens the middle."""

    longest_px: int = Field(default=256, ge=32, le=2048)
    """Longest side of the image, margins included."""

    margin_px: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Black border: top, right, bottom, left."""

    annotated_ratio: float = Field(default=0.0, ge=0, le=1)
    """Fraction of the images with burned-in text, scale and calipers."""

    @model_validator(mode="after")
    def _radius_belongs_to_convex(self) -> "Device":
        if (self.geometry == "convex") != (self.radius_mm is not None):
            raise ValueError("radius_mm is for convex devices and they need it")
        if min(self.margin_px) < 0 or max(self.margin_px) > self.longest_px // 4:
            raise ValueError("each margin must lie between 0 and a quarter of longest_px")
        return self

    @property
    def spectrum_sigma_mhz(self) -> float:
        """Standard deviation of the Gaussian amplitude spectrum; -6 dB is half the amplitude."""
        return self.bandwidth_ratio * self.frequency_mhz / FWHM_PER_SIGMA

    @property
    def pulse_sigma_mm(self) -> float:
        """Standard deviation along depth of the two-way pulse: a Gaussian of 1 / (2 pi sigma_f), at c/2."""
        return SPEED_OF_SOUND_MM_PER_US / (4 * 3.141592653589793 * self.spectrum_sigma_mhz)


DEVICES: tuple[Device, ...] = (
    Device(
        name="linear-7",
        frequency_mhz=7,
        bandwidth_ratio=0.4,
        focus_mm=18,
        imaging_depth_mm=42,
        footprint_mm=38,
        dynamic_range_db=48,
        noise_db=-62,
        gain_db=2,
        annotated_ratio=0.6,
    ),
    Device(
        name="linear-12",
        frequency_mhz=11,
        bandwidth_ratio=0.55,
        f_number=3.5,
        focus_mm=16,
        imaging_depth_mm=36,
        num_lines=224,
        num_looks=2,
        dynamic_range_db=64,
        noise_db=-78,
        gain_db=-3,
        gamma=1.15,
        annotated_ratio=0.3,
    ),
    Device(
        name="linear-9-portable",
        frequency_mhz=9,
        f_number=4,
        focus_mm=14,
        footprint_mm=34,
        num_lines=160,
        dynamic_range_db=54,
        noise_db=-60,
        gain_db=-4,
        margin_px=(8, 12, 10, 16),
        annotated_ratio=0.4,
    ),
    Device(
        name="linear-5-deep",
        frequency_mhz=5.5,
        focus_mm=24,
        imaging_depth_mm=48,
        footprint_mm=46,
        num_looks=2,
        dynamic_range_db=58,
        noise_db=-72,
        margin_px=(4, 4, 18, 4),
        annotated_ratio=0.5,
    ),
    Device(
        name="convex-5",
        geometry="convex",
        radius_mm=42,
        frequency_mhz=5,
        bandwidth_ratio=0.55,
        focus_mm=28,
        imaging_depth_mm=54,
        footprint_mm=46,
        dynamic_range_db=58,
        noise_db=-72,
        gain_db=1,
        margin_px=(6, 6, 6, 6),
        annotated_ratio=0.4,
    ),
    Device(
        name="microconvex-7",
        geometry="convex",
        radius_mm=14,
        frequency_mhz=6.5,
        bandwidth_ratio=0.6,
        focus_mm=18,
        imaging_depth_mm=43,
        footprint_mm=24,
        num_lines=176,
        num_looks=2,
        dynamic_range_db=62,
        noise_db=-72,
        gain_db=-1,
        gamma=1.1,
        margin_px=(10, 4, 6, 4),
        annotated_ratio=0.2,
    ),
)
"""Scanners of different make; frequencies, widths and ranges are those of common small-parts transducers."""
