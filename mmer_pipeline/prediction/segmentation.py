"""The utterances of a long recording: where it is cut, at pauses that Silero VAD finds.

Silero VAD (Silero Team, MIT licence, github.com/snakers4/silero-vad) is a small recurrent network that gives each frame
of 32 ms a probability of speech. A recording is read block by block and only these probabilities are kept, so that an
hour needs no more memory than a minute.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmer_pipeline import audio
from mmer_pipeline.audio import SAMPLE_RATE

_threads = torch.get_num_threads()
import silero_vad  # noqa: E402

torch.set_num_threads(_threads)  # the import above sets it to 1 for the whole process

FRAME_SAMPLES = 512  # 32 ms, for which the network gives one probability
CONTEXT_SAMPLES = 64  # the end of the frame before, which it reads again
STATE_SHAPE = (1, 1, 128)  # of its LSTM's hidden and cell state

MAX_SEGMENT_SECONDS = 20.0
MIN_PAUSE_SECONDS = 0.6  # shorter ones are mostly within a sentence
SPEECH_THRESHOLD = 0.35  # the probability at which speech begins; the usual 0.5 misses more shouted sentences
MIN_SPEECH_SECONDS = 0.25  # what is shorter, between two pauses, is taken for a noise
PADDING_SECONDS = 0.15  # added at both ends: the network misses soft first and last sounds


@dataclass(frozen=True)
class Segment:
    """An utterance of a recording."""

    start_seconds: float
    end_seconds: float


def speech_segments(
    path: Path, *, max_seconds: float = MAX_SEGMENT_SECONDS, min_pause_seconds: float = MIN_PAUSE_SECONDS
) -> list[Segment]:
    """Cut a recording into its utterances, in order; a recording without speech has none.

    Pauses of at least `min_pause_seconds` separate utterances; the network hears a pause begin 0.1 to 0.2 s late. An
    utterance that would last more than `max_seconds` is cut at the longest pause within, or after `max_seconds` if it
    has no pause of a tenth of a second. Segments contain a little of the pauses around them and do not overlap. Times
    are multiples of a millisecond.

    Raises:
        AudioError: see `audio.blocks`.
        ValueError: `max_seconds` is less than 1.
    """
    return _segments(audio.blocks(path), max_seconds, min_pause_seconds)


def speech_segments_of_samples(
    samples: npt.NDArray[np.float32],
    *,
    max_seconds: float = MAX_SEGMENT_SECONDS,
    min_pause_seconds: float = MIN_PAUSE_SECONDS,
) -> list[Segment]:
    """Cut 16 kHz mono, float32 `[samples]`, as `speech_segments` cuts a recording.

    Raises:
        ValueError: `max_seconds` is less than 1.
    """
    size = audio.BLOCK_FRAMES
    blocks = (samples[first : first + size] for first in range(0, len(samples), size))
    return _segments(blocks, max_seconds, min_pause_seconds)


def speech_probabilities(blocks: Iterable[npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float32], int]:
    """The probability of speech in each frame of a recording, `[frames]`, and the recording's number of samples.

    The blocks are consecutive parts of the recording as 16 kHz mono, float32 `[samples]`. Their lengths make no
    difference: the network's state is carried from one to the next.
    """
    network = _network()
    hidden = cell = np.zeros(STATE_SHAPE, np.float32)
    probabilities = [np.zeros(0, np.float32)]
    end = np.zeros(FRAME_SAMPLES - 1, np.float32)  # completes the last frame
    samples = -len(end)
    unread = np.zeros(CONTEXT_SAMPLES, np.float32)  # begins with the context of the next frame
    for block in chain(blocks, [end]):
        samples += len(block)
        unread = np.concatenate((unread, block))
        count = (len(unread) - CONTEXT_SAMPLES) // FRAME_SAMPLES
        if not count:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(unread, CONTEXT_SAMPLES + FRAME_SAMPLES)
        frames = np.ascontiguousarray(windows[::FRAME_SAMPLES])  # [count, context + frame samples]
        inputs = {"input": frames, "h": hidden, "c": cell}
        frame_probabilities, hidden, cell = network.run(["speech_probs", "hn", "cn"], inputs)
        probabilities.append(frame_probabilities)  # [count]
        unread = unread[count * FRAME_SAMPLES :]
    return np.concatenate(probabilities), samples


def _segments(blocks: Iterable[npt.NDArray[np.float32]], max_seconds: float, min_pause_seconds: float) -> list[Segment]:
    if max_seconds < 1:
        raise ValueError(f"The longest segment must last at least 1 s, found {max_seconds:g} s.")
    probabilities, samples = speech_probabilities(blocks)
    found = silero_vad.get_speech_timestamps_from_probs(
        probabilities.tolist(),
        SAMPLE_RATE,
        threshold=SPEECH_THRESHOLD,
        min_speech_duration_ms=round(1000 * MIN_SPEECH_SECONDS),
        max_speech_duration_s=max_seconds,
        min_silence_duration_ms=round(1000 * min_pause_seconds),
        speech_pad_ms=round(1000 * PADDING_SECONDS),
        audio_length_samples=samples,
    )
    return [Segment(_milliseconds(each["start"]) / 1000, _milliseconds(each["end"]) / 1000) for each in found]


def _milliseconds(samples: int) -> int:
    """Rounded down, which concerns only the end of the recording: frames, pauses and padding are whole milliseconds."""
    return 1000 * samples // SAMPLE_RATE


@lru_cache(maxsize=1)
def _network() -> Any:
    """Silero VAD as an onnxruntime session, which several threads may use at a time."""
    return silero_vad.load_silero_vad(sequence=True).session
