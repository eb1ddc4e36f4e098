"""Recordings whose headers lie, whose samples are no sound, or that are no files: each is one clear message."""

import os
import socket
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_audio import RATE, fault, noise, read_blocks

from mmer_pipeline import audio
from mmer_pipeline.audio import AudioError
from mmer_pipeline.audit.sound_fingerprint import sound_hashes

READERS = [audio.load, audio.probe, read_blocks]


def write(path: Path, samples: np.ndarray | None = None, rate: int = RATE, **form: str) -> Path:
    soundfile.write(path, noise(0.5) if samples is None else samples, rate, **form)
    return path


@pytest.mark.parametrize("value", [1e38, -1e38, 3e38, 32_768.0])
@pytest.mark.parametrize("function", READERS)
def test_floats_far_beyond_full_scale_are_refused(tmp_path: Path, value: float, function) -> None:
    """They passed prepare, and the audit ended in a traceback."""
    path = write(tmp_path / "a.wav", np.array([0.1, value, 0.1] * 400), subtype="FLOAT")
    with pytest.raises(AudioError, match=r"expected floats in -1 … 1, found up to .*: scale them"):
        function(path)


def test_denormal_samples_are_silence(tmp_path: Path) -> None:
    """Their energy is so small that the logarithm of its floor was infinite."""
    path = write(tmp_path / "a.wav", np.full(RATE, 1e-42, np.float32), subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(sound_hashes(audio.load(path))) == 0
        assert len(sound_hashes(np.concatenate([np.zeros(RATE, np.float32), noise(1.0) * np.float32(1e-18)]))) == 0


@pytest.mark.parametrize("function", READERS)
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, function, monkeypatch) -> None:
    """A pipe named x.wav hung prepare."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.wav")
    Path("device.wav").symlink_to("/dev/zero")
    Path("loop.wav").symlink_to("loop.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.wav")
        for name in ("pipe.wav", "device.wav", "socket.wav"):
            with pytest.raises(AudioError, match="it is a pipe, a socket or a device, not a file"):
                function(Path(name))
    assert fault(Path("loop.wav"), function) == "unreadable"
    Path("folder.wav").mkdir()
    assert fault(Path("folder.wav"), function) == "unreadable"


@pytest.mark.parametrize(
    ("offset", "form", "value", "said"),
    [
        (20, "<H", 6, "contradicts itself"),  # A-law, but two bytes a sample
        (22, "<H", 2, "2 channels of 16 bits at 16000 Hz, but 2 bytes a sample"),
        (24, "<I", 8_000, "contradicts itself"),
        (28, "<I", 64_000, "64000 bytes a second"),
        (32, "<H", 4, "contradicts itself"),
        (34, "<H", 8, "contradicts itself"),  # was read as twice as many samples of noise
        (16, "<I", 0xFFFF_FFF0, "truncated"),
        (40, "<I", 0xFFFF_FFFE, "truncated"),
    ],
)
def test_a_wav_header_that_lies_is_refused(tmp_path: Path, offset: int, form: str, value: int, said: str) -> None:
    content = bytearray(write(tmp_path / "a.wav", subtype="PCM_16").read_bytes())
    struct.pack_into(form, content, offset, value)
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=said):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [1, 999, 1_000_001])
def test_a_rate_that_no_recording_has_is_refused(tmp_path: Path, rate: int) -> None:
    """At 1 Hz, half a second became gigabytes of samples."""
    with pytest.raises(AudioError, match=r"its header states .* Hz, expected 1,000 to 1,000,000 Hz"):
        audio.load(write(tmp_path / "a.wav", rate=rate))


def test_the_bytes_a_second_of_a_wav_may_be_left_out(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.wav", subtype="PCM_16").read_bytes())
    content[28:32] = bytes(4)
    (tmp_path / "b.wav").write_bytes(content)
    np.testing.assert_array_equal(audio.load(tmp_path / "b.wav"), audio.load(tmp_path / "a.wav"))


def test_a_wav_of_zeros_after_its_first_bytes_ends_soon(tmp_path: Path) -> None:
    """As of a download that reserved its space: every eight zeros are an empty chunk."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    with path.open("r+b") as stream:
        stream.truncate(1 << 32)  # a sparse file
    assert fault(path, audio.probe) == "unreadable"


def test_many_channels_take_no_more_memory_than_a_few(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros((20_000, 500), np.float32), subtype="PCM_U8")
    tracemalloc.start()
    assert len(audio.load(path)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000  # the recording has 40 MB as floats


@pytest.mark.parametrize(("start", "end"), [(1e308, None), (0.0, 1e308), (1.7e308, 1.79e308)])
def test_times_near_the_largest_float_are_outside_the_recording(tmp_path: Path, start, end) -> None:
    """They ended in an OverflowError."""
    path = write(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="is not within the recording") as caught:
        audio.load(path, start, end)
    assert caught.value.fault == "outside"


def ogg_pages(content: bytes) -> list[bytes]:
    starts = [n for n in range(len(content)) if content[n : n + 4] == b"OggS"]
    return [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pages: [*pages[:2], pages[2][:-9] + bytes([pages[2][-9] ^ 4]) + pages[2][-8:], *pages[3:]], "damaged"),
        (lambda pages: [*pages[:2], *pages[3:]], "a page before its page 3 is missing"),
        (lambda pages: [*pages[:2], b"\0" * 40, *pages[2:]], "no part of an Ogg stream"),
    ],
)
def test_a_damaged_or_missing_page_of_an_ogg_file_is_found(tmp_path: Path, change, said: str) -> None:
    """The decoder left out a tenth of the sound without a word."""
    path = write(tmp_path / "a.ogg", noise(4.0))
    pages = ogg_pages(path.read_bytes())
    assert len(pages) > 4
    assert audio.probe(path).frames == 4 * RATE
    path.write_bytes(b"".join(change(pages)))
    with pytest.raises(AudioError, match=said):
        audio.probe(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize(
    ("first", "mask", "said"),
    [
        (25, 0x40, "not those of which its header has the digest"),  # fewer samples
        (19, 0x10, "its header contradicts itself|damaged"),  # another rate
        (30, 0x01, "not those of which its header has the digest"),  # the digest itself
    ],
)
def test_a_flac_header_that_lies_is_refused(tmp_path: Path, subtype: str, first: int, mask: int, said: str) -> None:
    """A header that stated fewer samples gave the beginning of the recording."""
    path = write(tmp_path / "a.flac", noise(0.5, channels=2), subtype=subtype)
    assert audio.probe(path).frames == RATE // 2
    content = bytearray(path.read_bytes())
    content[first] ^= mask
    path.write_bytes(content)
    with pytest.raises(AudioError, match=said):
        audio.probe(path)


def test_a_flac_without_a_digest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac")
    content = bytearray(path.read_bytes())
    content[26:42] = bytes(16)
    path.write_bytes(content)
    assert audio.probe(path).frames == RATE // 2
