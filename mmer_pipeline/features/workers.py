"""The work of an extraction's Dask workers; everything here can be sent to another process.

Dask's threads decode and resample recordings and collect the results. One additional thread per process runs the
encoder, batch after batch, so that the device never waits for a recording.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from distributed import Client

from mmer_pipeline import audio
from mmer_pipeline.cluster.connect import connect
from mmer_pipeline.cluster.dispatch import Dispatcher, WorkersLost
from mmer_pipeline.cluster.worker_check import Requirements
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.errors import UserError
from mmer_pipeline.features.extractors import Extractor
from mmer_pipeline.features.feature import Feature
from mmer_pipeline.features.speech_features import SpeechItem
from mmer_pipeline.features.text_features import TextItem

# Tokens of one text batch, padding included. On two cores, roberta-base processes 980, 1020, 970, 940 and 860 real
# tokens per second in batches of 512, 1024, 2048, 4096 and 8192, and 295 with one text at a time. With IEMOCAP's
# lengths, 1.7 % of 1024 tokens are padding, 3.1 % of 2048, and 5.5 % of 4096. On a fast GPU, kernels take longer to run
# than to launch only with batches a few times larger, but a corpus of IEMOCAP's size takes seconds either way.
TOKENS_PER_BATCH = 1024
SECONDS_PER_BATCH = 30.0  # audio in one front-end batch
TICK_SECONDS = 0.25  # between two chances to stop
BATCHES_IN_FLIGHT_PER_THREAD = 3  # enough that no worker waits, few enough that memory use stays constant

Rows = list[tuple[int, np.ndarray]]  # number in the plan, values [length, dim]
Item = TypeVar("Item")
Result = TypeVar("Result")


def text_batches(items: Sequence[TextItem]) -> list[list[TextItem]]:
    """Batch texts, longest first so that a lack of memory shows at once; each batch is within the token budget."""
    batches: list[list[TextItem]] = []
    for item in sorted(items, key=lambda item: -len(item.token_ids)):
        # The first text of a batch is its longest; the others are padded to its length.
        if not batches or len(batches[-1][0].token_ids) * (len(batches[-1]) + 1) > TOKENS_PER_BATCH:
            batches.append([])
        batches[-1].append(item)
    return batches


def speech_batches(items: Sequence[SpeechItem]) -> list[list[SpeechItem]]:
    """Batch recordings, longest first and equal lengths side by side; each batch is within the audio budget."""
    batches: list[list[SpeechItem]] = []
    filled = 0
    for item in sorted(items, key=lambda item: -item.samples):
        if not batches or filled + item.samples > SECONDS_PER_BATCH * audio.SAMPLE_RATE:
            batches.append([])
            filled = 0
        batches[-1].append(item)
        filled += item.samples
    return batches


@dataclass(frozen=True)
class Job:
    """Computes the rows of a batch; each process loads the extractor once."""

    feature: Feature
    encoder: EncoderFiles | None
    digest: str  # of the encoder's weights: a long-lived worker must not keep using old ones
    device: str

    def __call__(self, items: Sequence[Any]) -> Rows:
        """Compute the rows of each utterance.

        Raises:
            UserError: a recording cannot be read, or its length differs from that in its header.
        """
        extractor = _extractor(self)
        groups = _compute(partial(extractor.compute, extractor.load(items)))
        values = (value for group in groups for value in group.rows())
        return [(item.number, _cast(value, self.feature.dtype)) for item, value in zip(items, values, strict=True)]


# One thread only: a second would add OpenMP threads on the same cores, and activations to the same memory.
_COMPUTE_THREAD = ThreadPoolExecutor(1, "compute")


def _compute(forward: Callable[[], Result]) -> Result:
    """Run a forward pass on the compute thread and return its result."""
    return _COMPUTE_THREAD.submit(_in_float32, forward).result()


@torch.inference_mode()
def _in_float32(forward: Callable[[], Result]) -> Result:
    # Features are computed once and kept. By default cuDNN rounds the operands of a convolution to TF32's ten bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return forward()


def _cast(values: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if not np.isfinite(cast).all():
        remedy = "The encoder's weights are probably damaged: download them again."
        if dtype != "float32":
            remedy = "Store the features as float32: give --dtype float32 to extract and to train."
        raise UserError(f"A feature value ({np.abs(values).max():.3g}) is not finite in {dtype}. {remedy}")
    return cast


_LOADING = threading.Lock()


def _extractor(job: Job) -> Extractor:
    with _LOADING:
        return _load_extractor(job)


@lru_cache(maxsize=1)
def _load_extractor(job: Job) -> Extractor:
    return job.feature.extractor(job.encoder, job.device)


def release_encoders() -> None:
    """Release the encoder that this process has loaded, and the GPU memory that it occupies."""
    with _LOADING:
        _load_extractor.cache_clear()
    torch.cuda.empty_cache()


def run(
    job: Callable[[Sequence[Item]], Rows],
    batches: Sequence[Sequence[Item]],
    scheduler: str | Client,
    read: Sequence[Path] = (),
    resources: Mapping[str, float] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Rows]:
    """Run `job` on every batch and yield the results in the order in which they are finished.

    While none is finished, an empty list is yielded several times per second, so that the caller can stop. `scheduler`
    is as for `connect`; `read` are files that a worker needs, `resources` the resources of a worker that a batch needs;
    `report` is called with messages about the workers.

    Raises:
        UserError: as `connect`; workers ran out of memory or died, none can be used, or a job raised it.
    """
    requirements = Requirements(tuple(path.absolute() for path in read))
    with (
        connect(scheduler, report) as client,
        Dispatcher(
            client, job, resources=resources, requirements=requirements, per_thread=BATCHES_IN_FLIGHT_PER_THREAD,
            report=report,
        ) as dispatcher,
    ):  # fmt: skip
        for ended in dispatcher.map(batches, TICK_SECONDS):
            error = ended.error if ended else None
            if isinstance(error, WorkersLost):
                raise UserError(
                    f"{error} Finished features are kept. Run the same command again with fewer workers."
                ) from None
            if isinstance(error, torch.OutOfMemoryError):
                raise UserError(
                    f"The device ran out of memory on a batch ({str(error).splitlines()[0]}). Finished features are "
                    "kept. Free some memory and run the same command again, or use --device cpu."
                ) from None
            if error is not None:
                raise error
            yield ended.result or [] if ended else []
