"""The demo's corpus: 370 turns of ten synthetic speakers in IEMOCAP's directory tree.

Every session has four improvised dialogues, each in a different mood, and one scripted scene with the same words in
all sessions. Each speaker has nine turns in each of the four classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.corpora.synthetic import README_BEGINS, README_NAME
from mmer_pipeline.demo import sentences, voices
from mmer_pipeline.demo.iemocap_tree import SESSIONS, Turn, write_tree

SEED = 0
MOODS = ("ang", "hap", "sad", "neu")  # of the improvised dialogues impro01 to impro04
TURNS_OF_MOOD = 4  # a speaker's turns in the dialogue's mood, in addition to one turn in each other mood
ANY_MOOD_SHARE = 0.42  # of the improvised turns, whose words then say nothing about the mood
LAUGHTER_SHARE = 0.15  # of the happy turns; about as many as in the real corpus
EXCITED_SHARE = 0.5  # of the happy turns, which are labelled `exc` instead of `hap`
_PAUSE_SECONDS = (0.3, 1.2)
# Typical valence, activation and dominance of each label, from 1 to 5.
_DIMENSIONS = {
    "ang": (1.5, 4.0, 4.0),
    "hap": (4.0, 3.0, 3.0),
    "exc": (4.0, 4.0, 3.5),
    "sad": (2.0, 2.0, 2.5),
    "neu": (3.0, 2.5, 3.0),
    "fru": (2.0, 3.0, 3.0),
    "xxx": (3.0, 3.0, 3.0),
}
_README = f"""\
{README_BEGINS} It is a small synthetic corpus in the directory tree and the file formats of IEMOCAP,
made for a demonstration: the sentences were written for it, the voices are synthetic (espeak-ng), and the
emotions are settings of speed, pitch, pitch range and loudness. Nothing measured on it says anything about
human speech.
"""


def write_demo_corpus(directory: Path, seed: int = SEED, sessions: Sequence[int] = SESSIONS) -> Path:
    """Write the corpus below `directory` and return its root, `directory / IEMOCAP_full_release`.

    The same seed gives the same bytes. Fewer sessions give a smaller corpus.

    Raises:
        UserError: espeak-ng is not installed or does not run.
    """
    turns = [turn for session in sessions for turn in _session(session, np.random.default_rng([seed, session]))]
    by_speaker = {voice.speaker: voice for voice in voices.VOICES}
    lines = [voices.Line(turn.transcript, by_speaker[speaker_of(turn)], turn.label) for turn in turns]
    waveforms = voices.speak(lines, seed)
    spoken = [replace(turn, waveform=waveform) for turn, waveform in zip(turns, waveforms, strict=True)]
    root = write_tree(directory, _timed(spoken, np.random.default_rng([seed, 0])))
    (root / README_NAME).write_text(_README, encoding="utf-8", newline="\n")
    return root


def speaker_of(turn: Turn) -> str:
    """`Ses01_M` of `Ses01F_impro01_M005`."""
    return f"Ses{turn.session:02d}_{turn.utterance.rsplit('_', 1)[1][0]}"


def _session(session: int, random: np.random.Generator) -> Iterator[Turn]:
    """The turns of a session, without times or recordings."""
    for number, mood in enumerate(MOODS, start=1):
        prefix = "FM"[(number + session) % 2]
        yield from _dialogue(session, f"{prefix}_impro{number:02d}", _improvised(mood, random))
    yield from _dialogue(session, f"{'FM'[session % 2]}_script01_1", _scripted(random))


def _dialogue(session: int, name: str, lines: list[tuple[str, str]]) -> Iterator[Turn]:
    """Make turns from labels and transcripts, alternating between the F and the M speaker."""
    dialogue = f"Ses{session:02d}{name}"
    for index, (label, transcript) in enumerate(lines):
        utterance = f"{dialogue}_{'FM'[index % 2]}{index // 2:03d}"
        yield Turn(session, dialogue, utterance, 0.0, 0.0, label, *_DIMENSIONS[label], transcript)


def _improvised(mood: str, random: np.random.Generator) -> list[tuple[str, str]]:
    labels = [mood] * TURNS_OF_MOOD + [other for other in MOODS if other != mood]
    speakers = [random.permutation(labels) for _ in "FM"]
    plan = [str(label) for pair in zip(*speakers, strict=True) for label in pair]
    if mood == "ang":
        plan += ["fru", "xxx"]  # labels outside the four classes
    return [_improvise(label, random) for label in plan]


def _improvise(label: str, random: np.random.Generator) -> tuple[str, str]:
    own_words = label not in MOODS or random.random() >= ANY_MOOD_SHARE
    lines = sentences.BY_LABEL[label] if own_words else sentences.ANY_MOOD
    text = lines[random.integers(len(lines))].format(
        name=random.choice(sentences.NAMES),
        place=random.choice(sentences.PLACES),
        day=random.choice(sentences.DAYS),
    )
    return _laughing(label, text, random)


def _scripted(random: np.random.Generator) -> list[tuple[str, str]]:
    """The scripted scene; in each session, each speaker swaps the emotions of two lines."""
    labels = [label for label, _ in sentences.SCRIPT]
    for speaker in (0, 1):
        first, second = random.choice(range(speaker, len(labels), 2), 2, replace=False)
        labels[first], labels[second] = labels[second], labels[first]
    return [_laughing(label, text, random) for label, (_, text) in zip(labels, sentences.SCRIPT, strict=True)]


def _laughing(label: str, text: str, random: np.random.Generator) -> tuple[str, str]:
    """Tag some happy lines with [LAUGHTER], replace a few by it, and label half of the happy lines as excited."""
    if label != "hap":
        return label, text
    chance = random.random()
    if chance < LAUGHTER_SHARE:
        text = "[LAUGHTER]" if chance < LAUGHTER_SHARE / 5 else f"[LAUGHTER] {text}"
    return ("exc" if random.random() < EXCITED_SHARE else "hap"), text


def _timed(turns: Sequence[Turn], random: np.random.Generator) -> Iterator[Turn]:
    """Give each turn its times in the dialogue, with a pause before it, and slightly varying dimensions."""
    for _, dialogue in groupby(turns, key=lambda turn: turn.dialogue):
        now = 0.0
        for turn in dialogue:
            assert turn.waveform is not None
            start = now + random.uniform(*_PAUSE_SECONDS)
            now = start + len(turn.waveform) / SAMPLE_RATE
            valence, activation, dominance = (
                value + float(random.choice((-0.5, 0.0, 0.5)))
                for value in (turn.valence, turn.activation, turn.dominance)
            )
            yield replace(
                turn,
                start_seconds=start,
                end_seconds=now,
                valence=valence,
                activation=activation,
                dominance=dominance,
            )
