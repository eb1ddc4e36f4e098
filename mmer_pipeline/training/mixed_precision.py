"""The device and the number format of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from mmer_pipeline import files, paths
from mmer_pipeline.devices import is_main_process, resolve_device
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings

_WITHOUT_BF16 = ["DEFAULT", "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"]


def make_accelerator(device: str, precision: str) -> tuple[Accelerator, str]:
    """Create an accelerator for a device; also returns the precision, with "auto" resolved.

    "auto" is bf16 on a device that computes in it (`has_bf16`), otherwise fp32. Matrix products use TF32 only with
    precision "tf32".

    Raises:
        UserError: there is no such device, or it does not support the precision.
    """
    wanted = resolve_device(device)
    on_gpu = wanted.type == "cuda"
    if on_gpu and wanted.index is not None:
        torch.cuda.set_device(wanted)
    supported = has_bf16(wanted)
    if precision == "auto":
        precision = "bf16" if supported else "fp32"
    elif precision == "bf16" and on_gpu and not supported:
        raise UserError("This GPU does not support bf16. Train with --precision fp32.")
    elif precision == "tf32" and not (on_gpu and supported):  # it came with the same generation of tensor cores
        raise UserError("TF32 needs an NVIDIA GPU that supports it; none was found. Train with --precision fp32.")
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    AcceleratorState._reset_state(reset_partial_state=True)  # folds of one process may differ in device or precision
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    return accelerator, precision


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bf16, and does not emulate it.

    A CPU does with the instructions avx512_bf16 or AMX, if oneDNN may use them (its variable ONEDNN_MAX_CPU_ISA). This
    is not measured: the same command on the same machine must give the same results, however busy that is.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16:
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def precision_of_run(run: Path, settings: Settings, device: str, *, restart: bool) -> Iterator[str]:
    """Yield the precision in which a fold of a run is to be trained, or started again.

    "auto" is that of the folds that were begun, of this run or of those with other seeds: they belong to one
    experiment, wherever they are trained. Without any it remains "auto", and a fold of them that starts at the same
    time waits until the caller leaves the block, once the record is written.

    Raises:
        UserError: they were begun in bf16, which this device does not compute in.
    """
    if settings.precision != "auto":
        yield settings.precision
        return
    with files.locked(paths.starting_lock(run), wait=True) if is_main_process() else nullcontext():
        begun = _begun_precision(run, except_fold=settings.fold if restart else None)
        if begun is None:
            yield "auto"
    if begun is None:
        return
    if begun == "bf16" and not has_bf16(resolve_device(device)):
        raise UserError(
            f"{run} was begun in bf16, which this device would have to emulate, slowly. Train on a device that "
            "computes in bf16, train here in spite of that with --precision bf16, or train all folds again with "
            "--precision fp32 --restart."
        )
    yield begun


def _begun_precision(run: Path, *, except_fold: int | None) -> str | None:
    """The precision of the folds that were begun, the run's own first, without that fold of it."""
    for directory in paths.runs_of_all_seeds(run):
        for path in sorted(directory.glob("fold-*/settings.json")):
            if except_fold is not None and path == paths.fold(run, except_fold).settings:
                continue
            with suppress(UserError):  # a damaged record is reported where it is needed
                return RunRecord.read(path, "mmer-pipe train").settings.precision
    return None
