"""Reading recordings, and the errors of damaged ones."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mmer_pipeline import audio
from mmer_pipeline.audio import AudioError
from mmer_pipeline.errors import UserError

RATE = 16_000
FORMATS = ("wav", "flac", "ogg", "mp3")


def noise(seconds: float, channels: int = 1, rate: int = RATE) -> np.ndarray:
    samples = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)
    return samples[:, 0] if channels == 1 else samples


def fault(path: Path, function=audio.load) -> str:
    with pytest.raises(AudioError) as caught:
        function(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.fault


def read_blocks(path: Path) -> np.ndarray:
    return np.concatenate(list(audio.blocks(path)))


def cut(path: Path, size: int) -> Path:
    short = path.with_name(f"short{path.suffix}")
    short.write_bytes(path.read_bytes()[:size])
    return short


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(2.0), RATE, subtype="PCM_16")
    return path


def test_a_16_khz_mono_wav_is_read_as_its_integers_over_32768(wav: Path) -> None:
    integers, _ = soundfile.read(wav, dtype="int16")
    samples = audio.load(wav)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, integers.astype(np.float32) / 32768)


def test_stereo_at_44_1_khz_is_averaged_and_resampled_like_numpy_and_soxr(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, noise(1.5, channels=2, rate=44_100), 44_100, subtype="FLOAT")
    stereo, _ = soundfile.read(path, dtype="float32")
    expected = soxr.resample((stereo[:, 0] + stereo[:, 1]) / 2, 44_100, RATE, quality="VHQ")
    samples = audio.load(path)
    assert samples.dtype == np.float32
    assert samples.shape == (24_000,)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels, info.duration_seconds) == (44_100, 2, 1.5)
    assert info.needs_conversion


def test_a_resampled_tone_keeps_its_frequency_and_amplitude(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000), 48_000, subtype="FLOAT")
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(audio.load(path)[2000:-2000], expected[2000:-2000], atol=1e-4)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_segment_equals_a_slice_of_the_whole_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(2.0), RATE)
    whole = audio.load(path)
    tolerance = 2e-3 if suffix in ("mp3", "ogg") else 0.0  # their decoders start afresh where they are sought
    np.testing.assert_allclose(audio.load(path, 0.5, 1.25), whole[8000:20_000], atol=tolerance)
    np.testing.assert_allclose(audio.load(path, 1.5), whole[24_000:], atol=tolerance)
    np.testing.assert_array_equal(audio.load(path, end_seconds=0.25), whole[:4000])


def test_a_segment_is_read_without_the_rest_of_the_file(wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = soundfile.SoundFile.read

    def counting(self, frames=-1, **options):
        read.append(frames)
        return real(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    audio.load(wav, 0.5, 0.75)
    assert sum(read) == 4000


def test_a_segment_may_pass_the_end_only_by_a_rounding_error(wav: Path) -> None:
    assert len(audio.load(wav, 1.0, 2.005)) == RATE
    with pytest.raises(AudioError, match=r"from 1 s to 2\.02 s is not within .* 2\.000 s long") as caught:
        audio.load(wav, 1.0, 2.02)
    assert caught.value.fault == "outside"
    with pytest.raises(AudioError, match="from 3 s to the end"):
        audio.load(wav, 3.0)
    with pytest.raises(AudioError) as caught:
        audio.load(wav, 1.0, 1.00001)
    assert caught.value.fault == "empty"


@pytest.mark.parametrize("suffix", FORMATS)
def test_probe_and_load_agree_on_a_whole_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(2.0), RATE)
    info = audio.probe(path)
    assert (info.sample_rate_hz, info.channels, info.frames) == (RATE, 1, len(audio.load(path)))
    assert info.duration_seconds == 2.0
    assert not info.needs_conversion


@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("function", [audio.load, audio.probe, read_blocks])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float, function) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(3.0), RATE)
    assert fault(cut(path, int(path.stat().st_size * share)), function) == "unreadable"


@pytest.mark.parametrize("size", [4, 20, 40])
def test_a_wav_cut_within_its_header_is_refused(wav: Path, size: int) -> None:
    assert fault(cut(wav, size)) == fault(cut(wav, size), audio.probe) == "unreadable"


def test_a_wav_without_its_last_byte_is_truncated_and_the_message_has_the_counts(wav: Path) -> None:
    with pytest.raises(UserError, match="states 64000 bytes of samples, found 63999"):
        audio.probe(cut(wav, wav.stat().st_size - 1))


def test_only_the_header_of_a_wav_is_probed(wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("samples were read")

    monkeypatch.setattr(soundfile.SoundFile, "read", refuse)
    assert audio.probe(wav).frames == 2 * RATE


@pytest.mark.parametrize(
    ("kind", "endian"), [("WAVEX", "FILE"), ("RF64", "FILE"), ("WAV", "BIG")], ids=["WAVEX", "RF64", "RIFX"]
)
def test_other_kinds_of_wav_are_read_and_their_truncation_is_detected(tmp_path: Path, kind: str, endian: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.0), RATE, format=kind, endian=endian, subtype="PCM_16")
    assert audio.probe(path).frames == RATE
    assert fault(cut(path, path.stat().st_size - 100), audio.probe) == "unreadable"


def test_chunks_before_the_samples_are_skipped_and_chunks_after_them_may_be_truncated(wav: Path) -> None:
    plain = wav.read_bytes()
    data = plain.index(b"data")
    note = b"LIST" + struct.pack("<I", 5) + b"odd..\0"  # an odd length is padded to an even one
    behind = b"LIST" + struct.pack("<I", 4000) + b"cut"
    path = wav.with_name("chunks.wav")
    path.write_bytes(plain[:data] + note + plain[data:] + behind)
    assert audio.probe(path).frames == 2 * RATE
    np.testing.assert_array_equal(audio.load(path), audio.load(wav))


def test_a_streamed_wav_without_a_stated_length_is_read_to_its_end(wav: Path) -> None:
    content = wav.read_bytes()
    data = content.index(b"data")
    path = wav.with_name("streamed.wav")
    path.write_bytes(content[: data + 4] + b"\xff\xff\xff\xff" + content[data + 8 :])
    assert audio.probe(path).frames == 2 * RATE


def test_a_flac_without_a_stated_length_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(1.0), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: the last 36 bits before the digest are the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(UserError, match="states no length; convert it"):
        audio.probe(path)


@pytest.mark.parametrize("function", [audio.load, audio.probe, read_blocks])
def test_files_that_are_not_recordings_get_one_clear_message_each(tmp_path: Path, function) -> None:
    nothing, silence, text = tmp_path / "zero.wav", tmp_path / "silence.wav", tmp_path / "text.wav"
    nothing.touch()
    soundfile.write(silence, np.zeros(0, np.float32), RATE)
    text.write_text("not a recording, although it is named so")
    raw = tmp_path / "a.raw"
    raw.write_bytes(b"1234")
    assert fault(tmp_path / "none.wav", function) == "missing"
    assert fault(text / "below.wav", function) == "missing"
    assert fault(nothing, function) == "empty"
    assert fault(silence, function) == "empty"
    assert fault(text, function) == "unreadable"
    assert fault(raw, function) == "unreadable"
    assert fault(tmp_path, function) == "unreadable"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [audio.load, audio.probe, read_blocks])
def test_a_value_that_is_not_a_number_is_refused(tmp_path: Path, value: float, function) -> None:
    samples = noise(1.0)
    samples[-1] = value
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        function(path)


def test_a_recording_of_less_than_one_resampled_sample_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(1, 0.5), 192_000, subtype="PCM_16")
    assert audio.probe(path).frames == 1
    assert fault(path) == fault(path, read_blocks) == "empty"


@pytest.mark.parametrize("block_frames", [100, 4096, audio.BLOCK_FRAMES])
@pytest.mark.parametrize("rate", [8000, 11_025, RATE, 32_000, 44_100, 48_000])
def test_the_blocks_of_a_recording_are_what_load_returns(
    tmp_path: Path, rate: int, block_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(1.2345, channels=2, rate=rate), rate)
    whole = audio.load(path)
    monkeypatch.setattr(audio, "BLOCK_FRAMES", block_frames)
    blocks = list(audio.blocks(path))
    assert all(block.dtype == np.float32 and 0 < len(block) <= 2 * block_frames + 5000 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


@pytest.mark.parametrize("suffix", FORMATS)
def test_blocks_and_load_agree_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(2.0), RATE)
    np.testing.assert_allclose(
        read_blocks(path), audio.load(path), atol=1e-6
    )  # an MP3 is rounded otherwise once sought


def test_resampling_in_blocks_equals_resampling_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3.0, rate=44_100), 44_100, subtype="FLOAT")
    expected = soxr.resample(soundfile.read(path, dtype="float32")[0], 44_100, RATE, quality="VHQ")
    monkeypatch.setattr(audio, "BLOCK_FRAMES", 1000)
    np.testing.assert_allclose(read_blocks(path), expected, atol=1e-6)
    np.testing.assert_allclose(audio.load(path), expected, atol=1e-6)


def test_blocks_are_read_one_at_a_time_and_a_fault_is_raised_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = noise(1.0)
    samples[12_500] = np.nan
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK_FRAMES", 4000)
    blocks = audio.blocks(path)
    for first in (0, 4000, 8000):
        np.testing.assert_array_equal(next(blocks), samples[first : first + 4000])
    with pytest.raises(AudioError, match="not numbers"):
        next(blocks)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_bytes_of_a_file_are_read_as_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, noise(1.0, channels=2, rate=44_100), 44_100)
    np.testing.assert_array_equal(audio.load_bytes(path.read_bytes()), audio.load(path))
    short = path.read_bytes()[: path.stat().st_size // 2]
    with pytest.raises(AudioError, match=r"^<bytes>: .*(truncated|damaged)"):
        audio.load_bytes(short)


def test_samples_are_converted_as_those_of_a_file_in_one_piece_or_in_blocks(tmp_path: Path) -> None:
    samples = noise(14.0, channels=2, rate=44_100)  # longer than two blocks
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    np.testing.assert_allclose(audio.convert(samples, 44_100), audio.load(tmp_path / "a.wav"), atol=1e-6)
    integers = (noise(0.5) * 32_767).astype(np.int16)
    np.testing.assert_array_equal(audio.convert(integers, RATE), integers.astype(np.float32) / 32_768)


def test_a_name_in_any_bytes_is_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(b"no recording")
    with pytest.raises(AudioError, match="damaged or not a recording"):
        audio.load(path)
    with path.open("wb") as stream:
        soundfile.write(stream, noise(0.5), RATE, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(audio.load(path), noise(0.5))
    assert audio.sample_count(path) == 8_000


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((2, 16_000), np.float32), r"expected \[samples, channels\], found \[2, 16000\]: transpose it"),
        (np.full(16_000, 12_000.0), "found up to 12000: scale them"),
    ],
)
def test_arrays_of_another_form_are_explained(samples, said):
    with pytest.raises(AudioError, match=said):
        audio.convert(samples, 16_000)
