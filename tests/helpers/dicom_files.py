"""DICOM files drawn for tests."""

from pathlib import Path

import pytest

pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid


def fake_dicom(
    path: Path, pixels, *, interpretation="MONOCHROME2", syntax=ExplicitVRLittleEndian, **tags
) -> Path:
    """Write `pixels` ([frame,] down, across[, colour]); keyword arguments become attributes."""
    colour = interpretation.startswith(("RGB", "YBR"))
    frames = pixels if pixels.ndim == 3 + colour else pixels[None]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.PatientName, dataset.PatientID = "Muster^Erika", "4711"
    dataset.Modality = "US"
    dataset.Rows, dataset.Columns = frames.shape[1:3]
    dataset.NumberOfFrames = len(frames)
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = interpretation
    if colour:
        dataset.PlanarConfiguration = 0
    bits = frames.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    encoded = tags.pop("encoded", None)
    for name, value in tags.items():
        setattr(dataset, name, value)
    if encoded is not None:
        dataset.PixelData = encapsulate(encoded)
        dataset["PixelData"].VR = "OB"
    else:
        stored = frames.astype(frames.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<"))
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path
