"""Write a directory tree in IEMOCAP's formats: evaluations, transcriptions and sentence recordings.

The corpus itself is licensed; the demo, the tests and the benchmarks need only its form.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile

from mmer_pipeline.audio import SAMPLE_RATE

RELEASE_DIR = "IEMOCAP_full_release"
SESSIONS = (1, 2, 3, 4, 5)
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
CATEGORY_NAMES = {
    "neu": "Neutral state",
    "hap": "Happiness",
    "exc": "Excited",
    "ang": "Anger",
    "sad": "Sadness",
    "fru": "Frustration",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "oth": "Other",
    "xxx": "Other",  # a separate label for turns on which the annotators did not agree
}
_CATEGORY_ANNOTATORS = ("C-E2", "C-E3", "C-E4")
_ATTRIBUTE_ANNOTATORS = ("A-E3", "A-E4")


@dataclass(frozen=True)
class Turn:
    """One turn of a dialogue."""

    session: int  # 1 to 5
    dialogue: str  # Ses01F_impro01
    utterance: str  # Ses01F_impro01_M005; the letter before the number is the speaker
    start_seconds: float  # from the beginning of the dialogue
    end_seconds: float
    label: str  # one of CATEGORY_NAMES
    valence: float  # 1 (negative) to 5 (positive)
    activation: float  # 1 (calm) to 5 (excited)
    dominance: float  # 1 (weak) to 5 (strong)
    transcript: str
    waveform: np.ndarray | None = None  # [samples] at SAMPLE_RATE, -1 to 1; None: no recording


def write_tree(directory: Path, turns: Iterable[Turn]) -> Path:
    """Write the turns below `directory / IEMOCAP_full_release` and return that path, the corpus's root.

    `turns` may be lazy: one dialogue is in memory at a time, so the turns of a dialogue must be consecutive. The same
    turns give the same bytes.

    Raises:
        ValueError: the turns of a dialogue are not consecutive.
    """
    root = directory / RELEASE_DIR
    for session in SESSIONS:
        for folder in ("dialog/EmoEvaluation", "dialog/transcriptions", "dialog/wav", "sentences/wav"):
            (root / f"Session{session}" / folder).mkdir(parents=True, exist_ok=True)
    seen: set[tuple[int, str]] = set()
    for (session, dialogue), group in groupby(turns, key=lambda turn: (turn.session, turn.dialogue)):
        if (session, dialogue) in seen:
            raise ValueError(f"The turns of {dialogue} are not consecutive.")
        seen.add((session, dialogue))
        _write_dialogue(root / f"Session{session}", dialogue, list(group))
    return root


def _write_dialogue(session: Path, dialogue: str, turns: Sequence[Turn]) -> None:
    evaluation = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
    transcription = session / "dialog" / "transcriptions" / f"{dialogue}.txt"
    recordings = session / "sentences" / "wav" / dialogue
    _write_text(evaluation, HEADER + "".join(map(evaluation_block, turns)))
    _write_text(transcription, "".join(map(transcription_line, turns)))
    recordings.mkdir(parents=True, exist_ok=True)
    spoken = [turn for turn in turns if turn.waveform is not None]
    for turn in spoken:
        _write_sound(recordings / f"{turn.utterance}.wav", turn.waveform)
    if spoken:
        _write_sound(session / "dialog" / "wav" / f"{dialogue}.wav", _mixed(spoken))


def _mixed(turns: Sequence[Turn]) -> np.ndarray:
    """The recording of a whole dialogue `[samples]`: each turn at its time, and silence between them."""
    begins = [round(turn.start_seconds * SAMPLE_RATE) for turn in turns]
    waveforms = [turn.waveform for turn in turns if turn.waveform is not None]
    ends = [begin + len(waveform) for begin, waveform in zip(begins, waveforms, strict=True)]
    mixed = np.zeros(max(ends))
    for begin, end, waveform in zip(begins, ends, waveforms, strict=True):
        mixed[begin:end] += waveform
    return mixed


def _write_sound(path: Path, waveform: np.ndarray | None) -> None:
    assert waveform is not None
    soundfile.write(path, np.clip(waveform, -1.0, 1.0), SAMPLE_RATE, subtype="PCM_16")


def evaluation_block(turn: Turn) -> str:
    """The label line of a turn, the lines of its annotators, and a blank line."""
    dimensions = (turn.valence, turn.activation, turn.dominance)
    name = CATEGORY_NAMES[turn.label]
    val, act, dom = (round(value) for value in dimensions)
    times = f"[{turn.start_seconds:.4f} - {turn.end_seconds:.4f}]"
    lines = [f"{times}\t{turn.utterance}\t{turn.label}\t[{', '.join(f'{value:.4f}' for value in dimensions)}]"]
    lines += [f"{annotator}:\t{name};\t()" for annotator in _CATEGORY_ANNOTATORS]
    lines += [f"{annotator}:\tval {val}; act {act}; dom  {dom};\t()" for annotator in _ATTRIBUTE_ANNOTATORS]
    return "\n".join(lines) + "\n\n"


def transcription_line(turn: Turn) -> str:
    """The line of a turn in the transcription file."""
    return f"{turn.utterance} [{turn.start_seconds:08.4f}-{turn.end_seconds:08.4f}]: {turn.transcript}\n"


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
