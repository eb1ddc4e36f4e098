"""The writer of IEMOCAP trees: its lines have the corpus's form, and its bytes depend only on the turns."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.demo.iemocap_tree import HEADER, SESSIONS, Turn, write_tree

LABEL_LINE = re.compile(
    r"\[\d+\.\d{4} - \d+\.\d{4}\]\t(Ses\d\d[FM]_\w+_[FM]\d{3})\t([a-z]{3})\t\[(\d\.\d{4}(, )?){3}\]"
)
ANNOTATOR_LINE = re.compile(r"C-[EF]\d:\t[\w ]+;\t\(\)|A-[EF]\d:\tval \d; act \d; dom  \d;\t\(\)")
TRANSCRIPT_LINE = re.compile(r"(Ses\d\d[FM]_\w+_[FM]\d{3}) \[\d{3}\.\d{4}-\d{3}\.\d{4}\]: (.*)")


def turn(session: int = 1, number: int = 0, *, waveform: np.ndarray | None = None, label: str = "neu") -> Turn:
    dialogue = f"Ses{session:02d}F_impro01"
    utterance = f"{dialogue}_{'FM'[number % 2]}{number // 2:03d}"
    return Turn(session, dialogue, utterance, 6.2901, 8.2357, label, 2.5, 3.0, 2.0, "Excuse me.", waveform)


def test_the_lines_of_both_text_files_have_the_corpus_form(tmp_path: Path) -> None:
    root = write_tree(tmp_path, [turn(number=0), turn(number=1, label="exc")])
    evaluation = (root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt").read_text()
    assert evaluation.startswith(HEADER)
    blocks = evaluation.removeprefix(HEADER).removesuffix("\n\n").split("\n\n")
    assert len(blocks) == 2
    for block, label in zip(blocks, ("neu", "exc"), strict=True):
        first, *votes = block.split("\n")
        match = LABEL_LINE.fullmatch(first)
        assert match
        assert match[2] == label
        assert votes
        assert all(ANNOTATOR_LINE.fullmatch(vote) for vote in votes)
    assert "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.0000, 2.0000]\n" in evaluation
    lines = (root / "Session1/dialog/transcriptions/Ses01F_impro01.txt").read_text().splitlines()
    assert lines[0] == "Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me."
    assert all(TRANSCRIPT_LINE.fullmatch(line) for line in lines)


def test_a_recording_is_16_khz_16_bit_mono_and_clipped_where_too_loud(tmp_path: Path) -> None:
    waveform = np.array([0.0, 0.5, 3.0, -3.0], np.float32)
    root = write_tree(tmp_path, [turn(waveform=waveform)])
    path = root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    samples, _ = soundfile.read(path)
    np.testing.assert_allclose(samples, [0.0, 0.5, 1.0, -1.0], atol=1e-4)


def test_turns_without_waveforms_have_no_recording_and_are_read_lazily(tmp_path: Path) -> None:
    held: list[int] = []

    def lazy() -> Iterator[Turn]:
        for session in SESSIONS:
            held.append(len(list(tmp_path.rglob("EmoEvaluation/*.txt"))))
            yield turn(session)

    root = write_tree(tmp_path, lazy())
    assert held == [0, 0, 1, 2, 3]  # a dialogue is written as soon as the next one begins
    assert not list(root.rglob("*.wav"))


def test_a_dialogue_whose_turns_are_not_consecutive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Ses01F_impro01 are not consecutive"):
        write_tree(tmp_path, [turn(1), turn(2), turn(1, 1)])


def test_the_reader_finds_the_turns(tmp_path: Path) -> None:
    silence = np.zeros(160, np.float32)
    turns = [turn(session, number, waveform=silence) for session in SESSIONS for number in (0, 1)]
    root = write_tree(tmp_path, turns)
    reading = read_corpus("iemocap", root)
    assert [utterance.utterance_id for utterance in reading.utterances] == [turn.utterance for turn in turns]
    assert all((root / utterance.audio).is_file() for utterance in reading.utterances)
    assert not reading.notes
