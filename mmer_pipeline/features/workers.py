"""What the workers of an extraction do, and how Dask runs them. Everything here can cross a process border.

Dask's threads decode, resample, and take what the device has finished; one more thread a process does the
arithmetic, batch after batch, so that the device never waits for a recording.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from distributed import KilledWorker, as_completed
from torch import Tensor

from mmer_pipeline import audio, cluster
from mmer_pipeline.devices import resolve_device
from mmer_pipeline.encoders.encoder_files import EncoderFiles
from mmer_pipeline.encoders.speech import SpeechEncoder, load_speech_encoder
from mmer_pipeline.encoders.text import TextEncoder
from mmer_pipeline.errors import UserError

# Padded tokens of one text batch. roberta-base on two cores, tokens a second that are no padding, for 512, 1024, 2048,
# 4096, 8192: 980, 1020, 970, 940, 860; one text at a time: 295. IEMOCAP's lengths leave 1.7 % of 1024 to padding, 3.1 %
# of 2048 and 5.5 % of 4096. A fast GPU would take a few times as many before launching kernels costs less than their
# arithmetic, but it has done a corpus of IEMOCAP's size in seconds either way.
TOKENS_PER_BATCH = 1024
SECONDS_PER_BATCH = 30.0  # audio of one front-end batch
BATCHES_IN_FLIGHT_PER_THREAD = 3  # so that no worker waits and memory stays flat

Rows = list[tuple[int, np.ndarray]]  # number in the plan, values [length, dim]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class TextItem:
    """One text to encode."""

    number: int  # in the plan
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class SpeechItem:
    """One recording to send through the front end."""

    number: int  # in the plan
    path: Path
    start_seconds: float | None
    end_seconds: float | None
    samples: int  # expected at 16 kHz


def text_batches(items: Sequence[TextItem]) -> list[list[TextItem]]:
    """Longest first, so that a lack of memory shows at once; each batch within the token budget."""
    batches: list[list[TextItem]] = []
    for item in sorted(items, key=lambda item: -len(item.token_ids)):
        # The first of a batch is its longest: all others are padded to it.
        if not batches or len(batches[-1][0].token_ids) * (len(batches[-1]) + 1) > TOKENS_PER_BATCH:
            batches.append([])
        batches[-1].append(item)
    return batches


def speech_batches(items: Sequence[SpeechItem]) -> list[list[SpeechItem]]:
    """Longest first, equal lengths side by side; each batch within the audio budget."""
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
class TextJob:
    """Encodes a batch of texts; the encoder is loaded once a process."""

    encoder: EncoderFiles
    digest: str  # of its weights: a worker that lives long must not go on with others
    device: str
    dtype: str

    def __call__(self, items: Sequence[TextItem]) -> Rows:
        """Rows of each text."""
        model = _text_encoder(self.encoder, self.digest, self.device)
        hidden = _arithmetic(partial(model.hidden_states, [item.token_ids for item in items]))
        values = hidden.cpu().numpy()  # [B, M, d_t]
        return [
            (item.number, _cast(value[: len(item.token_ids)], self.dtype))
            for item, value in zip(items, values, strict=True)
        ]


@dataclass(frozen=True)
class SpeechJob:
    """Sends a batch of recordings through the frozen front end; the encoder is loaded once a process."""

    encoder: EncoderFiles
    digest: str  # of its weights: a worker that lives long must not go on with others
    device: str
    dtype: str

    def __call__(self, items: Sequence[SpeechItem]) -> Rows:
        """Rows of each recording.

        Raises:
            UserError: a recording cannot be read, or is not as long as its header says.
        """
        model = _speech_encoder(self.encoder, self.digest, self.device)
        # Only recordings of exactly one length go through the front end together: nothing is padded.
        groups = [list(equal) for _, equal in groupby(items, key=lambda item: item.samples)]
        waveforms = [_waveforms(model, group) for group in groups]
        frames = _arithmetic(partial(_frames, model, waveforms))
        return [
            (item.number, _cast(value, self.dtype))
            for group, batch in zip(groups, frames, strict=True)
            for item, value in zip(group, batch.cpu().numpy(), strict=True)
        ]


# A second one would bring OpenMP threads of its own to the same cores, and activations of its own to the memory.
_ARITHMETIC = ThreadPoolExecutor(1, "arithmetic")


def _arithmetic(forward: Callable[[], Result]) -> Result:
    """What a forward pass gives, run by the thread that does them all."""
    return _ARITHMETIC.submit(_in_float32, forward).result()


@torch.inference_mode()
def _in_float32(forward: Callable[[], Result]) -> Result:
    # Features are computed once and kept. By itself cuDNN rounds the factors of a convolution to TF32's ten bits.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return forward()


def _frames(model: SpeechEncoder, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Front-end frames `[B, J, front_dim]` of each `[B, S]`, on the encoder's device, which may not have them yet."""
    device = next(model.parameters()).device
    return [model.frontend(batch.to(device, non_blocking=True)).float() for batch in waveforms]


def _waveforms(model: SpeechEncoder, items: Sequence[SpeechItem]) -> Tensor:
    """Recordings of one length, normalised `[B, S]`, in memory that a GPU copies from by itself."""
    on_gpu = next(model.parameters()).device.type == "cuda"
    waveforms = torch.empty((len(items), items[0].samples), pin_memory=on_gpu)
    for item, place in zip(items, waveforms.numpy(), strict=True):
        place[:] = _waveform(model, item)
    return waveforms


def _waveform(model: SpeechEncoder, item: SpeechItem) -> np.ndarray:
    waveform = audio.load(item.path, item.start_seconds, item.end_seconds)
    if len(waveform) != item.samples:
        raise UserError(
            f"{item.path}: {len(waveform)} samples could be read, its header promises {item.samples}. "
            "The file is cut or broken: replace it, or run `mmer-pipe prepare` to leave it out."
        )
    return model.normalise(waveform)


def _cast(values: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if not np.isfinite(cast).all():
        raise UserError(
            f"A feature value ({np.abs(values).max():.3g}) is not finite in {dtype}. "
            "Run `mmer-pipe extract --dtype float32`, or look whether the encoder is sound."
        )
    return cast


_LOADING = threading.Lock()


def _text_encoder(files: EncoderFiles, digest: str, device: str) -> TextEncoder:
    with _LOADING:
        return _load_text_encoder(files, digest, device)


def _speech_encoder(files: EncoderFiles, digest: str, device: str) -> SpeechEncoder:
    with _LOADING:
        return _load_frontend(files, digest, device)


@lru_cache(maxsize=1)
def _load_text_encoder(files: EncoderFiles, _digest: str, device: str) -> TextEncoder:
    return TextEncoder(files, resolve_device(device))


@lru_cache(maxsize=1)
def _load_frontend(files: EncoderFiles, _digest: str, device: str) -> SpeechEncoder:
    return load_speech_encoder(files).to(resolve_device(device)).eval()


def forget_encoders() -> None:
    """Let go of the encoders that this process has loaded, and of the GPU's memory that they held."""
    with _LOADING:
        _load_text_encoder.cache_clear()
        _load_frontend.cache_clear()
    torch.cuda.empty_cache()


def run(
    job: Callable[[Sequence[Item]], Rows],
    batches: Sequence[Sequence[Item]],
    scheduler: str,
    resources: Mapping[str, float] | None = None,
) -> Iterator[Rows]:
    """Run `job` on every batch and yield what each gives, in the order in which they end.

    `scheduler` is "threads" or "processes" on this machine, or the address of a Dask scheduler; `resources` what a
    batch takes of a worker there.

    Raises:
        UserError: no scheduler at the address, or what a worker raised.
    """
    with cluster.connect(scheduler) as client:
        slots = BATCHES_IN_FLIGHT_PER_THREAD * max(1, sum(client.nthreads().values()))
        waiting = iter(batches)
        submit = partial(client.submit, job, pure=False, resources=resources or None)
        futures: Any = as_completed([submit(batch) for batch in islice(waiting, slots)], loop=client.loop)
        for future in futures:
            try:
                rows: Rows = future.result()
            except KilledWorker as error:
                raise UserError(
                    f"A Dask worker died over a batch ({error}). Most often its memory did not suffice: "
                    "what is finished is kept; run it again with fewer workers."
                ) from None
            except torch.OutOfMemoryError as error:
                raise UserError(
                    f"The device's memory did not suffice for a batch ({str(error).splitlines()[0]}). What is finished "
                    "is kept: free some of it and run the same command again, or use --device cpu."
                ) from None
            for batch in islice(waiting, 1):
                futures.add(submit(batch))
            yield rows
