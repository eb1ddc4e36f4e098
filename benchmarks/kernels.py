"""Kernels of a training step: fused attention, host–device synchronisation, and the faster CTC."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import Bench, Figure, timed
from benchmarks.shapes import CHARACTERS_PER_SECOND, SIZES
from benchmarks.training import LETTERS, OurStep, make_setup
from mmer_pipeline.training.inference import predict

# The kernels that scaled_dot_product_attention dispatches to.
FUSED = (
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
)
UNFUSED = "aten::_scaled_dot_product_attention_math"
SYNCHRONISATIONS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def figures(bench: Bench) -> Iterator[Figure]:
    """Profile a training step and scoring."""
    on_gpu = bench.device.type == "cuda"
    for name in bench.sizes:
        with TemporaryDirectory(dir=bench.directory) as directory:
            setup = make_setup(SIZES[name], 8, Path(directory))
            step = OurStep(setup, bench.device, "bf16" if on_gpu else "fp32")
            (positions,) = setup.steps(bucket_batches=1)
            made = step.optimiser
            work: dict[str, Callable[[], object]] = {
                "training": partial(step, positions),
                "scoring": partial(predict, made.model, made.examples, positions, made.accelerator),
            }
            for what, run in work.items():
                run()
                calls = profiled(run, bench)
                fused = sum(calls[kernel] for kernel in FUSED)
                yield Figure(
                    f"attention in fused kernels, {what}",
                    name,
                    100 * fused / max(1, fused + calls[UNFUSED]),
                    "%",
                    note=", ".join(f"{calls[k]} × {k.split('::')[1]}" for k in (*FUSED, UNFUSED) if calls[k]),
                )
                if on_gpu and what == "training":
                    found = {kernel: calls[kernel] for kernel in SYNCHRONISATIONS if calls[kernel]}
                    yield Figure(
                        "host–device synchronisations within a training step",
                        name,
                        sum(found.values()),
                        "",
                        note=f"{found}; the native CTC kernel waits for the lengths that it copies" if found else "",
                    )
    yield from ctc(bench)


def profiled(do: Callable[[], object], bench: Bench) -> Counter[str]:
    """Number of calls of each operation and runtime function."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (bench.device.type == "cuda")
    with profile(activities=activities) as profiler:
        do()
    return Counter({event.key: event.count for event in profiler.key_averages()})


def ctc(bench: Bench) -> Iterator[Figure]:
    """Forward and backward of CTC over eight utterances of 5 s; on a GPU, the native kernel compared with cuDNN's."""
    B, J, V, S = 8, bench.count(250, 50), len(LETTERS.symbols), bench.count(5 * CHARACTERS_PER_SECOND, 10)
    logits = torch.randn(J, B, V, device=bench.device, requires_grad=True)
    symbols = torch.randint(1, V, (B * S,), dtype=torch.int32)
    frames, counts = (torch.full((B,), n, dtype=torch.int32) for n in (J, S))

    def run(targets: torch.Tensor) -> None:
        losses = functional.ctc_loss(logits.log_softmax(-1), targets, frames, counts, reduction="none")
        losses.sum().backward()  # type: ignore[no-untyped-call]

    ways = {"native": symbols.to(bench.device).long()}
    if bench.device.type == "cuda":
        ways["cuDNN"] = symbols  # torch chooses cuDNN for 32-bit targets on the host
    seconds = {}
    for way, targets in ways.items():
        run(targets)
        seconds[way] = statistics.median(timed(partial(run, targets), bench.device) for _ in range(20))
    yield Figure(
        "CTC forward and backward, native kernel",
        f"{B} × {J} × {V}",
        1000 * seconds["native"],
        "ms",
        1000 * seconds["cuDNN"] if "cuDNN" in seconds else None,
        seconds["cuDNN"] / seconds["native"] if "cuDNN" in seconds else None,
        note="baseline: cuDNN" if "cuDNN" in seconds else "",
    )
