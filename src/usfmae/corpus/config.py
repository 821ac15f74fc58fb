"""Every knob of a corpus build."""

from typing import Literal

from pydantic import Field

from usfmae.base.config import Config
from usfmae.base.input_spec import Crop, Fit
from usfmae.images.clean import CleanConfig


class BuildConfig(Config):
    """How files become a pool of prepared images."""

    size_px: int = Field(default=256, ge=32, le=1024)
    """Side of the stored square grey images."""

    fit: Fit = "pad"
    """How pictures are made square: aspect ratio kept on black, or stretched as the paper does. A network
    that is pretrained on this pool is shown every later picture the same way."""

    crop: Crop = "none"
    """Whether only the box around the echo data is stored; later pictures are then cropped the same way."""

    split_views: bool = True
    """With `crop`: two sectors side by side become two images."""

    only_b_mode: bool = False
    """Leave out what is no B-mode: blank frames, pages, screens of text, Doppler spectra."""

    clean: CleanConfig = CleanConfig(mode="none")
    """Whether burned-in marks are filled."""

    private: Literal["dicom", "all", "none"] = "dicom"
    """From whose pixels names are kept out: everything outside the echo becomes black, text inside is filled,
    and a frame that keeps any is left out. "dicom", the default, takes files of scanners and archives;
    "all" also stills and clips, which may have been exported from there."""

    files_per_part: int = Field(default=256, ge=1)
    """Files that are read, stored and resumed together; one shard each."""

    max_frames_per_clip: int | None = Field(default=16, ge=1)
    """Frames kept of a multi-frame file; None for all."""

    clip_choice: Literal["change", "even"] = "change"
    """Which ones: spread by how much of the picture changes from one to the next, or by time."""

    looked_at_per_clip: int | None = Field(default=512, ge=1)
    """Frames, spread evenly, that "change" chooses from; None for all, however long the clip is."""

    min_side_px: int = Field(default=32, ge=1)
    """Smaller frames are left out."""

    max_unreadable_ratio: float = Field(default=0.1, ge=0, le=1)
    """The build stops when a larger share of the files cannot be read."""

    drop_repeats: bool = True
    """Keep only the first of images whose prepared pixels are equal."""

    keep_per_cluster: int | None = Field(default=1, ge=1)
    """Keep so many of images that look the same (near-duplicates, frames of a clip among them), the largest
    first, then the first; None keeps all."""

    hold_out_near: bool = True
    """Leave out what looks like a held-out image, not only what has its pixels."""

    exclude: tuple[str, ...] = ("mask_*", "*_mask.*", "*_mask_[0-9].*", "Masks/*", "masks/*", "annotations/*")
    """Patterns of label maps, matched against the file name and against `folder/name`; left out of
    `--images` folders. A `--dataset` knows its own images and needs none."""
