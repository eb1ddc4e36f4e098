"""Mutated recordings, and another decoder of WAV: a recording is refused, or has the samples that it says."""

import struct
import warnings
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from faults.input_corpora import RATE, sound
from faults.mutated_values import mutated_bytes, replace_file
from mmer_pipeline import audio
from mmer_pipeline.audio import AudioError

KINDS: dict[str, dict[str, str]] = {
    "pcm.wav": {},
    "pcm24.wav": {"subtype": "PCM_24"},
    "float.wav": {"subtype": "FLOAT"},
    "extensible.wav": {"format": "WAVEX"},
    "long.wav": {"format": "RF64"},
    "big-endian.wav": {"endian": "BIG"},
    "ulaw.wav": {"subtype": "ULAW"},
    "a.flac": {"format": "FLAC"},
    "a24.flac": {"format": "FLAC", "subtype": "PCM_24"},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
    "a.aiff": {"format": "AIFF"},
    "a.au": {"format": "AU"},
}
# Of `fmt ` after its eight bytes: offset, form and values.
FIELDS = (
    (0, "H", (0, 1, 2, 3, 6, 7, 17, 49, 85, 0xFFFE, 0xFFFF)),
    (2, "H", (0, 1, 2, 3, 64, 1024, 1025, 65535)),
    (4, "I", (0, 1, 999, 1000, 8000, 11025, 16000, 44100, 192_000, 1_000_001, 4_000_000_000, 2**32 - 1)),
    (8, "I", (0, 1, 16_000, 32_000, 64_000, 2**32 - 1)),
    (12, "H", (0, 1, 2, 3, 4, 8, 65535)),
    (14, "H", (0, 1, 8, 12, 16, 24, 32, 64, 65535)),
)
SIZES = (0, 1, 7, 100, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, 0xFFFF_FFFE, 0xFFFF_FFFF)
SPECIAL = (1e38, -1e38, 3e38, float("nan"), float("inf"), -float("inf"), 1e-40, 9.9, 11.0, 32768.0)


def run(random: Random, directory: Path) -> str:
    """Mutate one recording, read it, and compare it with what its bytes say or with the unmutated one."""
    kind = random.choice(list(KINDS))
    path, content = directory / kind, whole(kind)
    if random.random() < 0.08:
        path.write_bytes(content)
        outside = directory / "other"
        outside.write_bytes(b"")
        what = replace_file(path, outside, random)
        assert _read(path) is None, f"{what} was read"
        return "refused"
    mutated = _mutated(kind, content, random)
    path.write_bytes(mutated)
    found = _read(path)
    if found is None:
        return "refused"
    info, samples = found
    assert len(samples) == round(info.frames * RATE / info.sample_rate_hz)
    expected = reference(mutated)
    if expected is not None:
        assert (info.sample_rate_hz, info.frames) == (expected[0], len(expected[1])), (info, expected[0])
        if info.sample_rate_hz == RATE:
            np.testing.assert_allclose(samples, expected[1], atol=1e-6)
    elif kind.endswith(("flac", "ogg")) and mutated != content:
        path.write_bytes(content)
        np.testing.assert_array_equal(samples, audio.load(path))
    return "same"


@cache
def whole(kind: str) -> bytes:
    """The bytes of the unmutated recording."""
    return sound(7, 0.25, **KINDS[kind])


def _read(path: Path) -> tuple[audio.AudioInfo, npt.NDArray[np.float32]] | None:
    try:
        info = audio.probe(path)
        samples = audio.load(path)
        blocks = np.concatenate(list(audio.blocks(path)))
    except AudioError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < 2_000
        return None
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() < 2 * audio.LARGEST
    assert len(samples) == len(blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an overflow is a wrong level
        from mmer_pipeline.audit.sound_fingerprint import sound_hashes

        sound_hashes(samples)
        assert np.isfinite(np.square(samples).mean())
    return info, samples


def _mutated(kind: str, content: bytes, random: Random) -> bytes:
    if not kind.endswith("wav") or random.random() < 0.3:
        if random.random() < 0.5:  # the header
            end = min(len(content), random.choice((48, 100, 300)))
            return mutated_bytes(content[:end], random) + content[end:]
        return mutated_bytes(content, random)
    changed = bytearray(content)
    order = ">" if kind == "big-endian.wav" else "<"
    start, data = content.index(b"fmt ") + 8, content.index(b"data")
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if len(changed) < data + 12:  # cut before
            break
        action = random.random()
        if action < 0.5:
            offset, form, values = random.choice(FIELDS)
            struct.pack_into(order + form, changed, start + offset, random.choice(values))
        elif action < 0.8:
            place = random.choice((4, start - 4, data + 4, *([start + 12] if kind == "long.wav" else [])))
            struct.pack_into(f"{order}I", changed, place, random.choice((*SIZES, random.randrange(9000))))
        elif kind == "float.wav":
            place = data + 8 + 4 * random.randrange((len(changed) - data - 8) // 4)
            struct.pack_into("<f", changed, place, random.choice(SPECIAL))
        else:
            del changed[random.randrange(len(changed)) :]
            changed += bytes(0 if random.random() < 0.5 else 5_000)
    return bytes(changed[: 1 << 20])


def reference(content: bytes) -> tuple[int, npt.NDArray[np.float64]] | None:
    """Rate and mono samples of a WAV of plain integers or floats, by its own words; None if it is something else."""
    order = {b"RIFF": "<", b"RIFX": ">"}.get(content[:4])
    if order is None or content[8:12] != b"WAVE":
        return None
    place, form = 12, None
    while place + 8 <= len(content):
        name, length = content[place : place + 4], struct.unpack_from(f"{order}I", content, place + 4)[0]
        place += 8
        if name == b"fmt " and place + 16 <= len(content):
            form = struct.unpack_from(f"{order}HHIIHH", content, place)
        if name == b"data":
            break
        place += length + length % 2
    else:
        return None
    if form is None or form[0] not in (1, 3) or not form[1] or form[4] != form[1] * form[5] // 8:
        return None
    tag, channels, rate, _, block, bits = form
    dtype = {(1, 8): "u1", (1, 16): "i2", (1, 32): "i4", (3, 32): "f4", (3, 64): "f8"}.get((tag, bits))
    if dtype is None:
        return None
    available = len(content) - place
    frames = (available if length == 0xFFFF_FFFF else length) // block
    raw = np.frombuffer(content, np.dtype(dtype).newbyteorder(order), frames * channels, place).astype(np.float64)
    scaled = (raw - 128) / 128 if bits == 8 else raw / (1 if tag == 3 else 2.0 ** (bits - 1))
    return rate, scaled.reshape(frames, channels).mean(axis=1)
