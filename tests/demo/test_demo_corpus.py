"""The demo corpus: its counts, its planted pitfalls, and its reproducibility."""

import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import soundfile
from helpers.command_line import invoke

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.corpora.readers import Reading, read_corpus
from mmer_pipeline.corpora.synthetic import CORPUS_NAME
from mmer_pipeline.demo import sentences
from mmer_pipeline.demo.corpus import write_demo_corpus
from mmer_pipeline.report.notes import corpus_notes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_corpus(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def reading(root: Path) -> Reading:
    return read_corpus("iemocap", root)


def test_each_speaker_has_nine_turns_in_each_class_and_a_few_turns_are_dropped(reading: Reading) -> None:
    label_map = BUILT_IN["iemocap-4"]
    counts = Counter((turn.speaker, label_map.class_of(turn.emotion)) for turn in reading.utterances)
    kept = {key: count for key, count in counts.items() if key[1] is not None}
    assert len(kept) == 10 * 4
    assert set(kept.values()) == {9}
    assert len(reading.utterances) == 370
    assert {turn.emotion for turn in reading.utterances} == {"ang", "hap", "exc", "sad", "neu", "fru", "xxx"}
    assert {turn.session for turn in reading.utterances} == set("12345")
    assert len({turn.dialogue for turn in reading.utterances}) == 25
    assert not reading.notes


def test_the_prefix_of_a_dialogue_is_not_the_speaker(reading: Reading) -> None:
    differs = [turn.utterance_id[5] != turn.speaker[-1] for turn in reading.utterances]
    assert sum(differs) == len(differs) / 2


def test_scripted_lines_are_repeated_in_every_session_not_always_with_the_same_label(reading: Reading) -> None:
    label_map = BUILT_IN["iemocap-4"]
    labels: defaultdict[str, list[str | None]] = defaultdict(list)
    for turn in reading.utterances:
        text = re.sub(r"\[LAUGHTER\] ?", "", turn.transcript)
        if "script" in turn.dialogue and text:
            labels[text].append(label_map.class_of(turn.emotion))
    assert set(labels) == {line for _, line in sentences.SCRIPT}
    assert all(len(found) >= 4 for found in labels.values())  # one may be only a laugh
    assert sum(len(set(found)) > 1 for found in labels.values()) >= 4


def test_tags_are_few_and_happy_and_one_transcript_is_only_a_tag(reading: Reading) -> None:
    tagged = [turn for turn in reading.utterances if "[" in turn.transcript]
    assert 5 <= len(tagged) <= 25
    assert {turn.emotion for turn in tagged} <= {"hap", "exc"}
    assert any(turn.transcript == "[LAUGHTER]" for turn in tagged)


def test_some_lines_are_spoken_in_every_mood(reading: Reading) -> None:
    moods: defaultdict[str, set[str]] = defaultdict(set)
    for turn in reading.utterances:
        moods[turn.transcript].add(turn.emotion)
    assert any(len(found & {"ang", "hap", "exc", "sad", "neu"}) >= 3 for found in moods.values())


def test_the_times_of_a_dialogue_follow_each_other_and_fit_the_recordings(root: Path) -> None:
    text = (root / "Session2/dialog/EmoEvaluation/Ses02F_impro02.txt").read_text()
    end = 0.0
    for start, stop, utterance in re.findall(r"^\[(\S+) - (\S+)\]\t(\S+)", text, re.MULTILINE):
        assert float(start) > end
        end = float(stop)
        recorded = soundfile.info(root / f"Session2/sentences/wav/Ses02F_impro02/{utterance}.wav").duration
        assert end - float(start) == pytest.approx(recorded, abs=2e-4)
        assert 0.5 < recorded < 4.0


def test_a_readme_says_that_the_voices_are_synthetic(root: Path) -> None:
    text = (root / "README.txt").read_text()
    assert "not IEMOCAP" in text
    assert "voices are synthetic" in text


def test_the_synthetic_corpus_has_its_own_name_everywhere(root: Path, reading: Reading) -> None:
    """`prepare iemocap` on the demo's tree once called it iemocap, beside published figures."""
    assert reading.name == CORPUS_NAME == "demo-synthetic"
    result = invoke("prepare", "iemocap", "--root", root, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["corpus"], said["published"]) == ("demo-synthetic", None)
    assert read_manifest(Path("cache/manifest.csv")).corpus == "demo-synthetic"
    (note,) = corpus_notes("demo-synthetic")
    assert "synthetic corpus" in note
    assert corpus_notes("iemocap") == []


def test_the_same_seed_gives_the_same_bytes_and_another_seed_different_ones(tmp_path: Path) -> None:
    def tree(name: str, seed: int) -> dict[str, bytes]:
        root = write_demo_corpus(tmp_path / name, seed=seed, sessions=(4,))
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    first, again, other = tree("a", 5), tree("b", 5), tree("c", 6)
    assert len(first) == 74 + 3 * 5 + 1
    assert first == again
    assert first != other
