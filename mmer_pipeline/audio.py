"""Recordings: read them as 16 kHz mono, and detect damaged files.

A file is truncated if its WAV header states more bytes than the file has, if its FLAC or MP3 stream ends before the
stated length, or if its Ogg stream has no closing page. The checksums of FLAC and Ogg are checked by `probe` (see
`audio_containers`). An MP3 without a stated length, and the rarer formats that libsndfile reads, cannot be
checked: they are taken to be complete.
"""

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from mmer_pipeline.audio_containers import AudioError as AudioError
from mmer_pipeline.audio_containers import FlacDigest, check_container, check_ogg_pages, truncated

SAMPLE_RATE = 16_000  # Hz, the input rate of every speech encoder
MOST_CHANNELS = 64  # of an array; what has more is [channels, samples]
LARGEST = 10.0  # of floats: clipped recordings exceed 1 a little, integers that were not scaled by far
LEAST_RATE, MOST_RATE = 1_000, 1_000_000  # Hz; another one is a mistake, such as kHz
SEGMENT_TOLERANCE_SECONDS = 0.01  # how far a segment may extend beyond the file, since times are rounded
BLOCK_FRAMES = 1 << 18  # decoded at a time; a stated length may be wrong, so it is never allocated at once
BLOCK_CHANNELS = 8  # of more, fewer frames are decoded at a time
UNKNOWN_FRAMES = 2**63 - 1  # libsndfile's length of a FLAC stream that was written to a pipe


@dataclass(frozen=True)
class AudioInfo:
    """The facts of a recording without its samples."""

    path: Path
    sample_rate_hz: int
    channels: int
    frames: int  # samples per channel

    @property
    def duration_seconds(self) -> float:
        """The length of the whole recording."""
        return self.frames / self.sample_rate_hz

    @property
    def needs_conversion(self) -> bool:
        """Whether `load` must resample the recording or average its channels."""
        return self.sample_rate_hz != SAMPLE_RATE or self.channels != 1

    def segment(self, start_seconds: float | None, end_seconds: float | None) -> tuple[int, int]:
        """The first frame of a segment and the one after its last; None stands for the recording's start or end.

        Raises:
            AudioError: the segment is not within the recording ("outside") or is shorter than a sample.
        """
        start, end = start_seconds or 0.0, self.duration_seconds if end_seconds is None else end_seconds
        beyond = self.duration_seconds + 2 * SEGMENT_TOLERANCE_SECONDS  # a time may be too large to be a frame
        first = round(min(start, beyond) * self.sample_rate_hz)
        last = self.frames if end_seconds is None else round(min(end, beyond) * self.sample_rate_hz)
        if first >= self.frames or last > self.frames + SEGMENT_TOLERANCE_SECONDS * self.sample_rate_hz:
            until = "the end" if end_seconds is None else f"{end_seconds:g} s"
            raise AudioError(
                self.path,
                "outside",
                f"the segment from {start:g} s to {until} is not within "
                f"the recording, which is {self.duration_seconds:.3f} s long",
            )
        last = min(last, self.frames)
        if last <= first:
            raise AudioError(self.path, "empty", f"the segment at {start:g} s has no samples")
        return first, last


def probe(path: Path) -> AudioInfo:
    """Check a recording and return its rate, channels and length.

    Only the header of an integer WAV is checked. Other formats are decoded, since only that reveals a truncated
    stream or a value that is not a number.

    Raises:
        AudioError: the file is missing, unreadable, truncated, has no samples, or contains NaN, infinity or values far
            beyond -1 … 1; its header contradicts itself, or states a rate that no recording has.
    """
    with _opened(path) as sound:
        info = _info(sound, path)
        if not _is_integer_wav(sound):
            digest = FlacDigest(path) if sound.format == "FLAC" else None
            for block in _blocks(sound, path, info.frames):
                if digest is not None:
                    digest.update(block)
            if digest is not None:
                digest.check()
        if sound.format == "OGG":
            check_ogg_pages(path)
        return info


def probe_header(path: Path) -> AudioInfo:
    """Return a recording's rate, channels and length according to its header.

    Raises:
        AudioError: see `probe`, for faults that the header reveals.
    """
    with _opened(path) as sound:
        return _info(sound, path)


def load(path: Path, start_seconds: float | None = None, end_seconds: float | None = None) -> npt.NDArray[np.float32]:
    """Read a recording, or a segment of it, as 16 kHz mono: float32 `[samples]` in -1 … 1.

    Only the segment is read. Channels are averaged, then resampled (soxr, very high quality).

    Raises:
        AudioError: see `probe`; also if the segment is not within the recording.
    """
    with _opened(path) as sound:
        first, last = _info(sound, path).segment(start_seconds, end_seconds)
        sound.seek(first)
        samples: npt.NDArray[np.float32] = np.concatenate(list(_converted(sound, path, last - first)))  # [samples]
    return samples


def load_bytes(data: bytes) -> npt.NDArray[np.float32]:
    """Read the bytes of a recording's file as 16 kHz mono, as `load` does.

    Raises:
        AudioError: see `probe`; the path in its message is "<bytes>".
    """
    with _opened(Path("<bytes>"), data) as sound:
        frames = _info(sound, Path("<bytes>")).frames
        samples: npt.NDArray[np.float32] = np.concatenate(list(_converted(sound, Path("<bytes>"), frames)))
    return samples


def convert(samples: npt.NDArray[Any], sample_rate_hz: int) -> npt.NDArray[np.float32]:
    """Convert samples to 16 kHz mono: float32 `[samples]`.

    `samples` are `[samples]` or `[samples, channels]`: floats in -1 … 1, or 16-bit integers.

    Raises:
        AudioError: they have another shape or type, contain NaN or infinity, or there are none.
    """
    path = Path("<samples>")
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32_768
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f" or not LEAST_RATE <= sample_rate_hz <= MOST_RATE:
        raise AudioError(
            path,
            "unreadable",
            f"expected floats or 16-bit integers [samples] or [samples, channels], and their rate from {LEAST_RATE:,} "
            f"to {MOST_RATE:,} Hz; found "
            f"{samples.dtype} {list(samples.shape)} at {sample_rate_hz} Hz",
        )
    if not samples.size:
        raise AudioError(path, "empty", "the array is empty")
    if samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS:
        raise AudioError(path, "unreadable", f"expected [samples, channels], found {list(samples.shape)}: transpose it")
    _check_values(path, samples)
    mono = (samples if samples.ndim == 1 else samples.mean(axis=1)).astype(np.float32)
    converted: npt.NDArray[np.float32] = np.concatenate(list(_at_16_khz([mono], path, len(mono), sample_rate_hz)))
    return converted


def blocks(path: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Yield a recording of any length as 16 kHz mono: float32 blocks `[samples]` in -1 … 1.

    Concatenated, the blocks are what `load` returns; the memory needed does not depend on their number.

    Raises:
        AudioError: see `probe`; a fault that only decoding reveals is raised when its block is reached.
    """
    with _opened(path) as sound:
        yield from _converted(sound, path, _info(sound, path).frames)


def sample_count(path: Path, start_seconds: float | None = None, end_seconds: float | None = None) -> int:
    """The number of samples that `load` will return, according to the header.

    Raises:
        AudioError: see `load`, for faults that the header reveals.
    """
    info = probe_header(path)
    first, last = info.segment(start_seconds, end_seconds)
    return samples_at_16_khz(last - first, info.sample_rate_hz)


def samples_at_16_khz(frames: int, sample_rate_hz: int) -> int:
    """Number of samples at 16 kHz of `frames` at another rate; defined here, since resamplers differ by one sample."""
    return round(frames * SAMPLE_RATE / sample_rate_hz)


def _converted(sound: Any, path: Path, frames: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the next `frames` frames as 16 kHz mono, in blocks `[samples]` of which none is empty."""
    mono = (block.mean(axis=1, dtype=np.float32) for block in _blocks(sound, path, frames))
    return _at_16_khz(mono, path, frames, int(sound.samplerate))


def _at_16_khz(
    mono: Iterable[npt.NDArray[np.float32]], path: Path, frames: int, rate: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Resample blocks `[samples]` of together `frames` samples at this rate, in Hz."""
    if rate == SAMPLE_RATE:
        yield from mono
        return
    missing = samples_at_16_khz(frames, rate)
    if not missing:
        raise AudioError(path, "empty", f"less than one sample remains at {SAMPLE_RATE} Hz")
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, num_channels=1, dtype="float32", quality="VHQ")
    end = np.zeros(0, np.float32)  # makes the resampler return what it has kept back
    for block in chain(mono, [end]):
        resampled = stream.resample_chunk(block, last=block is end)[:missing]
        missing -= len(resampled)
        if len(resampled):
            yield resampled
    if missing:
        yield np.zeros(missing, np.float32)


def _info(sound: Any, path: Path) -> AudioInfo:
    rate, frames = int(sound.samplerate), int(sound.frames)
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise AudioError(
            path, "unreadable", f"its header states {rate:,} Hz, expected {LEAST_RATE:,} to {MOST_RATE:,} Hz"
        )
    if frames <= 0:
        raise AudioError(path, "empty", "the recording has no samples")
    return AudioInfo(path, rate, int(sound.channels), frames)


def _is_integer_wav(sound: Any) -> bool:
    return sound.format in ("WAV", "WAVEX", "RF64") and sound.subtype not in ("FLOAT", "DOUBLE")


def _blocks(sound: Any, path: Path, frames: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the next `frames` frames as blocks `[frames, channels]`, checked to be complete and in -1 … 1."""
    missing = frames
    while missing > 0:
        most = max(1, BLOCK_FRAMES * BLOCK_CHANNELS // max(BLOCK_CHANNELS, sound.channels))
        block = sound.read(min(missing, most), dtype="float32", always_2d=True)
        if not len(block):
            raise truncated(path, f"expected {frames} samples, found {frames - missing}")
        _check_values(path, block)
        missing -= len(block)
        yield block


def _check_values(path: Path, samples: npt.NDArray[Any]) -> None:
    largest = max(samples.max(), -samples.min())  # NaN if there is one
    if not np.isfinite(largest):
        raise AudioError(path, "unreadable", "it contains values that are not numbers (NaN or infinity)")
    if largest > LARGEST:
        raise AudioError(path, "unreadable", f"expected floats in -1 … 1, found up to {largest:g}: scale them")


@contextmanager
def _opened(path: Path, data: bytes | None = None) -> Iterator[Any]:
    """A `SoundFile` whose container is complete; errors inside the block become an `AudioError`.

    `data` are the file's bytes, if they are already in memory.
    """
    try:
        if data is None and not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise AudioError(path, "unreadable", "it is a pipe, a socket or a device, not a file")
        with path.open("rb") if data is None else io.BytesIO(data) as stream:
            check_container(path, stream)
        with _sound_file(path if data is None else io.BytesIO(data), path) as sound:
            if sound.frames == UNKNOWN_FRAMES:
                raise AudioError(path, "unreadable", "its header states no length; convert it, for example to WAV")
            yield sound
    except (FileNotFoundError, NotADirectoryError):
        raise AudioError(path, "missing", "there is no such file") from None
    except OSError as error:
        raise AudioError(path, "unreadable", f"it cannot be read ({error.strerror})") from None
    except soundfile.SoundFileError as error:
        detail = str(getattr(error, "error_string", error)).strip().rstrip(".")
        raise AudioError(path, "unreadable", f"it is damaged or not a recording ({detail})") from None


def _sound_file(source: Path | bytes | BinaryIO, path: Path) -> Any:
    if isinstance(source, Path) and os.name == "posix":
        source = os.fsencode(source)  # soundfile refuses a name that is not valid in the file system's encoding
    try:
        return soundfile.SoundFile(source)
    except TypeError:  # raised for a file named *.raw, samples without a header
        raise AudioError(path, "unreadable", "raw samples have no sampling rate; convert it to WAV or FLAC") from None
