"""Where a step runs and in which number type, and the way images get there."""

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from usfmae.base.errors import SettingError
from usfmae.base.input_spec import InputSpec
from usfmae.base.launch import launched

DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["auto", "bf16", "fp32"]
AugmentPlace = Literal["auto", "cpu", "device"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def pick_device(name: DeviceName) -> torch.device:
    """The device asked for; "auto" is CUDA where there is one, and each process of a launch has its own.

    Raises:
        SettingError: CUDA was asked for and is not there, or there are fewer GPUs than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingError("device cuda: this machine has none", hint="use --device cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    launch = launched()
    if launch.world == 1:
        return torch.device("cuda")
    if launch.local_rank >= torch.cuda.device_count():
        raise SettingError(
            f"process {launch.local_rank} of this machine has no GPU: there are {torch.cuda.device_count()}",
            hint=f"torchrun --nproc-per-node {torch.cuda.device_count()}, or --device cpu",
        )
    torch.cuda.set_device(launch.local_rank)
    return torch.device("cuda", launch.local_rank)


def pick_precision(name: PrecisionName, device: torch.device) -> Literal["bf16", "fp32"]:
    """Resolve "auto": bf16 where the hardware multiplies it natively, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def pick_augment_place(name: AugmentPlace, device: torch.device) -> Literal["cpu", "device"]:
    """Resolve "auto": views are made on a GPU where there is one, else with OpenCV, faster on a CPU."""
    if name != "auto":
        return name
    return "cpu" if device.type == "cpu" else "device"


def autocast(precision: Literal["bf16", "fp32"], device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products run in `precision`."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def to_input(
    images: UInt8[Tensor, "b h w"], spec: InputSpec, device: torch.device
) -> Float[Tensor, "b c h w"]:
    """Grey bytes to a standardised network input.

    One byte a pixel travels to the device; scaling, standardising and repeating grey over the channels
    happen there.
    """
    grey = images.to(device, non_blocking=True)[:, None].float() / 255
    mean, std = _per_channel_on(device, spec.mean), _per_channel_on(device, spec.std)
    return ((grey - mean) / std).expand(-1, spec.channels, -1, -1)


@lru_cache(maxsize=16)
def _per_channel_on(device: torch.device, values: tuple[float, ...]) -> Float[Tensor, "1 c 1 1"]:
    """Sent once: a copy from ordinary memory in each step would make the host wait for the device."""
    return torch.tensor(values, device=device).reshape(1, -1, 1, 1)


def set_up_cpu(num_threads: int | None = None) -> None:
    """Use `num_threads` and let the C allocator keep freed memory.

    glibc gives big blocks back to the system after each step and fetches them again in the next; raising
    its trim and mmap thresholds saves those page faults. Called once by whoever starts a run.
    """
    share = max(1, len(os.sched_getaffinity(0)) // launched().local_world)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) and launched().world == 1:  # torchrun sets it to 1 unasked
        share = min(share, int(asked))
    torch.set_num_threads(num_threads or share)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
