"""Versions of recordings: another speed, and added noise."""

import numpy as np
import pytest
import soxr

from mmer_pipeline import audio
from mmer_pipeline.errors import UserError
from mmer_pipeline.waveform_versions import Version, version, versions

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize(("factor", "rate"), [(0.9, 14_400), (1.1, 17_600), (0.5, 8_000), (2.0, 32_000)])
def test_another_speed_is_the_recording_resampled(factor: float, rate: int) -> None:
    """As Kaldi's and torchaudio's: samples at 16 kHz are read as if they were at `factor` times this rate."""
    waveform = tone(400.0)
    changed = Version("speed", factor).of(waveform)
    expected = soxr.resample(waveform, rate, RATE, quality="VHQ")
    assert changed.dtype == np.float32
    assert len(changed) == Version("speed", factor).samples(len(waveform)) == round(len(waveform) / factor)
    np.testing.assert_allclose(changed[: len(expected)], expected[: len(changed)], atol=1e-5)
    middle = changed[len(changed) // 4 : len(changed) // 4 + 4_000] * np.hanning(4_000)
    assert np.abs(np.fft.rfft(middle, RATE)).argmax() == pytest.approx(400 * factor, abs=1)  # pitch changes with it


@pytest.mark.parametrize("decibels", [0, 20.0])
def test_noise_has_the_stated_power_and_depends_on_the_recording_alone(decibels: float) -> None:
    one, other = tone(200.0), tone(300.0)
    noisy = Version("noise", decibels)
    noise = noisy.of(one).astype(np.float64) - one
    assert noisy.of(one).dtype == np.float32
    assert 10 * np.log10(np.square(one, dtype=float).mean() / np.square(noise).mean()) == pytest.approx(
        decibels, abs=0.2
    )
    # White: each quarter of the spectrum has the same power.
    power = [part.sum() for part in np.array_split(np.abs(np.fft.rfft(noise)[1:]) ** 2, 4)]
    np.testing.assert_allclose(power / np.mean(power), 1, atol=0.1)
    other_noise = noisy.of(other) - other
    assert abs(np.corrcoef(noise, other_noise)[0, 1]) < 0.05
    np.testing.assert_array_equal(noisy.of(one), noisy.of(one.copy()))  # whatever was computed before
    silence = np.zeros(1_000, np.float32)
    np.testing.assert_array_equal(noisy.of(silence), silence)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.3333, 2.0])
def test_a_recording_of_the_fewest_samples_becomes_long_enough(factor: float) -> None:
    changed = Version("speed", factor)
    for count in (399, 400, 401):
        assert changed.samples(changed.samples_before(count)) >= count
        assert len(changed.of(np.ones(count, np.float32))) == changed.samples(count)


def test_versions_are_named_by_kind_and_amount() -> None:
    assert versions("none") == ()
    assert versions("speed-0.90+noise-20") == (Version("speed", 0.9), Version("noise", 20.0))
    assert [str(found) for found in versions("speed-0.90+noise-20")] == ["speed-0.9", "noise-20"]
    assert version("noise-0") == Version("noise", 0.0)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("speed-1", "no version 'speed-1'"),
        ("speed-0.4", "no version 'speed-0.4'"),
        ("speed-3", "no version 'speed-3'"),
        ("noise-61", "no version 'noise-61'"),
        ("noise--5", "no version 'noise--5'"),
        ("speed-nan", "no version 'speed-nan'"),
        ("pitch-2", "no version 'pitch-2'"),
        ("speed=0.9", "no version 'speed=0.9'"),
        ("speed-0.9+", "no version ''"),
        ("", "no version ''"),
        ("none+speed-0.9", "no version 'none'"),
        ("speed-0.9+speed-0.90", "a version is named twice"),
    ],
)
def test_what_is_no_version_is_refused(augment: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"{said}.* Expected none, or versions joined by \+, such as speed-0\.9"):
        versions(augment)


def test_the_number_of_samples_is_that_of_conversion() -> None:
    for rate in (8_000, 11_025, 44_100):
        assert len(audio.convert(np.zeros(1_001, np.float32), rate)) == audio.samples_at_16_khz(1_001, rate)
