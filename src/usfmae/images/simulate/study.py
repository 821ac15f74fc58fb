"""One simulated B-mode image: a patient's anatomy in one plane, seen by one device."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from usfmae.base.seeds import rng_for
from usfmae.images.frame import Frame, FrameSource
from usfmae.images.simulate.anatomy import Anatomy, Plane, cached_anatomy, draw_plane
from usfmae.images.simulate.beam import envelope, log_compress, to_pixels
from usfmae.images.simulate.device import Device
from usfmae.images.simulate.lesion import Kind
from usfmae.images.simulate.marks import draw_marks
from usfmae.images.simulate.scan import beam_grid, image_grid, scan_convert


@dataclass(frozen=True, eq=False)
class SimulatedImage:
    """An image with everything that is known about it."""

    frame: Frame
    """Grey pixels with their spacing."""

    lesion_mask: Bool[np.ndarray, "height width"]
    """True on the lesion; all False if there is none."""

    label: Kind | None
    patient: int
    device: Device


def simulate_study(
    patient: int, *, device: Device, lesion: Kind | None, seed: int, plane: int = 0
) -> SimulatedImage:
    """Draw one image of a patient.

    The same arguments give the same pixels on every machine with the same libraries. Images of one patient
    (`plane` 0, 1, ...) show one anatomy in different planes and poses; scatterers, overall gain (standard
    deviation 4 dB) and marks are new in each.

    Args:
        patient: number of the patient; seeds the anatomy.
        device: see `DEVICES`.
        lesion: what the patient has; None for nothing.
        seed: of the whole set.
        plane: number of the image within the patient.
    """
    anatomy = cached_anatomy(patient, lesion, seed)
    pose = draw_plane(patient, plane, anatomy.lesion, seed=seed)
    rng = rng_for(seed, "scatterers", patient, plane, device.name)
    pixels = render(anatomy, pose, device=device, rng=rng, gain_db=float(rng.normal(0, 4)))
    mask = lesion_mask(anatomy, pose, device=device)
    if rng.random() < device.annotated_ratio:
        pixels = draw_marks(pixels, mask, device=device, rng=rng)
    spacing = image_grid(device).pixel_mm
    source = FrameSource(path=f"simulated/patient-{patient:04d}/plane-{plane}", frame_index=0, num_frames=1)
    frame = Frame(pixels=pixels, spacing_mm=(spacing, spacing), source=source)
    return SimulatedImage(frame=frame, lesion_mask=mask, label=lesion, patient=patient, device=device)


def render(
    anatomy: Anatomy, plane: Plane, *, device: Device, rng: np.random.Generator, gain_db: float = 0.0
) -> UInt8[np.ndarray, "height width"]:
    """The picture on the screen, without marks.

    Args:
        anatomy: of the patient.
        plane: pose of the transducer.
        device: how it looks and shows.
        rng: draws scatterers and noise.
        gain_db: the sonographer's turn of the gain knob.
    """
    amplitude = simulate_envelope(anatomy, plane, device=device, rng=rng)
    return to_pixels(scan_convert(log_compress(amplitude, device, gain_db=gain_db), device))


def simulate_envelope(
    anatomy: Anatomy, plane: Plane, *, device: Device, rng: np.random.Generator
) -> Float[np.ndarray, "sample line"]:
    """The linear envelope on the device's beams; see `beam.envelope`."""
    grid = beam_grid(device)
    return envelope(anatomy.tissue(grid.down_mm, grid.across_mm, plane), device, rng)


def lesion_mask(anatomy: Anatomy, plane: Plane, *, device: Device) -> Bool[np.ndarray, "height width"]:
    """Which pixels of the picture show the lesion."""
    grid = image_grid(device)
    return np.asarray(anatomy.lesion_mask(grid.down_mm, grid.across_mm, plane) & grid.inside)
