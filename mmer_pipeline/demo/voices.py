"""Ten synthetic speakers and their emotions: text to 16 kHz waveforms with espeak-ng.

An emotion changes speed, pitch, pitch range, loudness and vocal effort (a strained voice is brighter) as described in
the literature on vocal emotion: anger is fast, high, loud and strained; sadness is slow, low, flat and soft; happiness
is fast, high and lively; neutral is in between. Every utterance deviates at random, so that emotions overlap and speech
alone is informative but not sufficient.
"""

import json
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.demo import espeak
from mmer_pipeline.errors import UserError

NOISE_DB = -50.0  # RMS of the background noise, dB of full scale
_TAG = re.compile(r"\[[A-Z]+\]")
_LAUGH = "ha ha ha ha"
_INSTALL = "Run `pip install --force-reinstall espeakng-loader` and try again."


@dataclass(frozen=True)
class Voice:
    """A speaker."""

    speaker: str  # Ses01_F
    espeak_name: str  # accent+variant
    pitch: int  # espeak-ng's base pitch, 0 to 99 (50: the variant's own)
    rate: float  # speed, relative to the emotion's


@dataclass(frozen=True)
class Prosody:
    """How an emotion is spoken; also how far a single utterance deviates from it."""

    words_per_minute: float
    pitch: float  # added to the voice's base pitch, in espeak-ng's steps of about 1.4 %
    pitch_range: float  # espeak-ng's 0 to 99 (50: normal, 0: monotone)
    level_db: float  # RMS, dB of full scale
    effort: float  # 0 (soft) to 0.95 (strained): share of each sample subtracted from the next


@dataclass(frozen=True)
class Line:
    """A line of text with its speaker and its emotion."""

    text: str  # a transcript; tags such as [LAUGHTER] are not spoken
    voice: Voice
    emotion: str  # a key of PROSODY


VOICES = (
    Voice("Ses01_F", "en-us+f2", 50, 1.00),
    Voice("Ses01_M", "en-us+m3", 48, 1.04),
    Voice("Ses02_F", "en-gb-scotland+f1", 54, 0.97),
    Voice("Ses02_M", "en-us+m1", 44, 0.98),
    Voice("Ses03_F", "en-gb-x-rp+f3", 44, 1.05),
    Voice("Ses03_M", "en-gb-x-rp+m7", 52, 1.00),
    Voice("Ses04_F", "en-us+f5", 46, 0.94),
    Voice("Ses04_M", "en-gb-scotland+m2", 55, 1.06),
    Voice("Ses05_F", "en-us-nyc+f4", 52, 1.03),
    Voice("Ses05_M", "en-us+m4", 46, 0.95),
)

PROSODY = {
    "ang": Prosody(196, 8, 62, -16.0, 0.75),
    "hap": Prosody(186, 14, 76, -20.0, 0.50),
    "exc": Prosody(196, 17, 80, -19.0, 0.60),
    "neu": Prosody(172, 0, 46, -24.0, 0.35),
    "sad": Prosody(146, -8, 26, -29.0, 0.10),
    "fru": Prosody(178, 3, 52, -21.0, 0.50),
    "xxx": Prosody(174, 3, 52, -23.0, 0.40),
}
SPREAD = Prosody(14, 6, 12, 2.6, 0.14)  # standard deviations of a single utterance


def speak(lines: Sequence[Line], seed: int) -> list[np.ndarray]:
    """Speak each line: one float32 waveform `[samples]` at SAMPLE_RATE per line. The same call gives the same samples.

    Raises:
        UserError: espeak-ng is not installed or does not run.
    """
    drawn = [_draw(line, np.random.default_rng([seed, index])) for index, line in enumerate(lines)]
    spoken = _synthesise([_request(line, prosody) for line, prosody in zip(lines, drawn, strict=True)])
    return [
        _record(samples, prosody, np.random.default_rng([seed, index, 1]))
        for index, (samples, prosody) in enumerate(zip(spoken, drawn, strict=True))
    ]


def _draw(line: Line, random: np.random.Generator) -> Prosody:
    """The prosody of one utterance: that of the emotion and the voice, with random deviations."""
    mean, offset = PROSODY[line.emotion], random.standard_normal(5)
    return Prosody(
        words_per_minute=(mean.words_per_minute + SPREAD.words_per_minute * offset[0]) * line.voice.rate,
        pitch=line.voice.pitch + mean.pitch + SPREAD.pitch * offset[1],
        pitch_range=mean.pitch_range + SPREAD.pitch_range * offset[2],
        level_db=mean.level_db + SPREAD.level_db * offset[3],
        effort=float(np.clip(mean.effort + SPREAD.effort * offset[4], 0.0, 0.95)),
    )


def _request(line: Line, prosody: Prosody) -> dict[str, str | int]:
    return {
        "text": _TAG.sub("", line.text).strip() or _LAUGH,
        "voice": line.voice.espeak_name,
        "rate": int(np.clip(prosody.words_per_minute, 100, 300)),
        "pitch": int(np.clip(prosody.pitch, 0, 99)),
        "range": int(np.clip(prosody.pitch_range, 0, 99)),
    }


def _record(samples: np.ndarray, prosody: Prosody, random: np.random.Generator) -> np.ndarray:
    """Turn espeak-ng's int16 samples into float32 at SAMPLE_RATE: apply effort and level, add background noise."""
    speech = soxr.resample(samples.astype(np.float32), espeak.SAMPLE_RATE, SAMPLE_RATE)
    speech[1:] -= prosody.effort * speech[:-1]
    speech *= 10 ** (prosody.level_db / 20) / np.sqrt(np.mean(speech**2))
    noise = random.standard_normal(len(speech)) * 10 ** (NOISE_DB / 20)
    recorded: np.ndarray = np.clip(speech + noise, -1.0, 1.0).astype(np.float32)
    return recorded


def _synthesise(requests: Sequence[dict[str, str | int]]) -> list[np.ndarray]:
    """Synthesise int16 waveforms at espeak-ng's rate, in order, in a separate process."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError(
            "The demo synthesises speech with espeak-ng, which is not installed. "
            "Run `pip install espeakng-loader` and try again."
        ) from None
    data = Path(espeakng_loader.__file__).parent / "espeak-ng-data"
    if not data.is_dir():
        raise UserError(f"The voices of espeak-ng are missing: there is no directory {data}. {_INSTALL}")
    request = {"library": espeakng_loader.get_library_path(), "lines": list(requests)}
    answer = subprocess.run(
        [sys.executable, "-I", espeak.__file__],
        input=json.dumps(request).encode(),
        capture_output=True,
        cwd=data.parent,
        check=False,
    )
    if answer.returncode != 0:
        messages = answer.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(
            f"espeak-ng ({request['library']}) could not synthesise the demo's speech: "
            f"{messages[-1] if messages else f'it ended with code {answer.returncode}'}.\n{_INSTALL}"
        )
    waveforms, position = [], 0
    for _ in requests:
        (count,) = struct.unpack_from("=I", answer.stdout, position)
        waveforms.append(np.frombuffer(answer.stdout, np.int16, count, position + 4))
        position += 4 + 2 * count
    return waveforms
