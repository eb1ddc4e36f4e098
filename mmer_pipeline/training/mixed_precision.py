"""The device and the number format of a run."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mmer_pipeline.devices import resolve_device
from mmer_pipeline.errors import UserError


def make_accelerator(device: str, precision: str) -> tuple[Accelerator, str]:
    """Create an accelerator for a device; also returns the precision, with "auto" resolved.

    "auto" is bf16 on a GPU that supports it, otherwise fp32. Matrix products use TF32 only with precision "tf32".

    Raises:
        UserError: there is no such device, or it does not support the precision.
    """
    wanted = resolve_device(device)
    on_gpu = wanted.type == "cuda"
    if on_gpu and wanted.index is not None:
        torch.cuda.set_device(wanted)
    # Support for TF32 came with the same generation of tensor cores.
    has_bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        precision = "bf16" if has_bf16 else "fp32"
    elif precision == "bf16" and on_gpu and not has_bf16:
        raise UserError("This GPU does not support bf16. Train with --precision fp32.")
    elif precision == "tf32" and not has_bf16:
        raise UserError("TF32 needs an NVIDIA GPU that supports it; none was found. Train with --precision fp32.")
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    AcceleratorState._reset_state(reset_partial_state=True)  # folds of one process may differ in device or precision
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    return accelerator, precision
