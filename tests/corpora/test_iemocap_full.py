"""IEMOCAP at full size: the generated tree has what it says, and `prepare iemocap` gives every published count."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
from helpers.command_line import succeed
from helpers.iemocap_full import COUNTS, FOUR, HAPPY, FullTree, full_turns, write_full_tree

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.preparation import prepare
from mmer_pipeline.corpora.published_counts import PUBLISHED, compare
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.transcripts import encoder_text
from mmer_pipeline.demo.iemocap_tree import Turn

CLASS = {label: name for name, labels in BUILT_IN["iemocap-4"].classes.items() for label in labels}
SESSIONS = {  # the benchmark's table: session → neutral, happy, angry, sad, all four
    "1": (384, 278, 229, 194, 1085),
    "2": (362, 327, 137, 197, 1023),
    "3": (320, 286, 240, 305, 1151),
    "4": (258, 303, 327, 143, 1031),
    "5": (384, 442, 170, 245, 1241),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> FullTree:
    return write_full_tree(tmp_path_factory.mktemp("full"))


def four(turns: Iterable[Turn]) -> list[Turn]:
    return [turn for turn in turns if turn.label in FOUR]


def words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z']+", encoder_text(text, "strip").lower()))


# What the generator plants is what it says: counted again from the turns.


def test_the_turns_have_the_counts_of_every_label_and_session(tree: FullTree) -> None:
    assert len(tree.turns) == tree.planted.turns == 10_039
    assert len(four(tree.turns)) == tree.planted.utterances
    found = Counter((turn.label, turn.session) for turn in tree.turns)
    assert found == {(label, s): n for label, row in COUNTS.items() for s, n in enumerate(row, 1) if n}
    assert len({turn.utterance for turn in tree.turns}) == 10_039
    dialogues = {turn.dialogue for turn in tree.turns}
    assert len(dialogues) == tree.planted.dialogues
    assert {"Ses05M_script01_1b", "Ses03M_impro05a", "Ses01F_impro01"} <= dialogues


def test_the_prefix_is_not_the_speaker_as_often_as_in_the_corpus(tree: FullTree) -> None:
    other = [turn for turn in four(tree.turns) if turn.dialogue[5] != turn.utterance.rsplit("_", 1)[1][0]]
    assert len(other) == tree.planted.prefix_is_not_the_speaker == 2750


def test_tags_stand_as_often_and_with_the_labels_they_have_in_the_corpus(tree: FullTree) -> None:
    planted, kept = tree.planted, four(tree.turns)
    tags = Counter(tag for turn in tree.turns for tag in re.findall(r"\[(\w+)\]", turn.transcript))
    assert tags == dict(planted.tags)
    tagged = [turn for turn in kept if "[" in turn.transcript]
    assert len(tagged) == planted.tagged_utterances
    assert sum(not words(turn.transcript) for turn in kept) == planted.tag_only_utterances == 31
    laughing = [turn for turn in tagged if "[LAUGHTER]" in turn.transcript]
    assert len(laughing) == planted.laughter_utterances
    assert sum(turn.label in HAPPY for turn in laughing) == planted.laughter_happy == 114


def test_lines_recur_and_a_look_up_is_right_as_often_as_in_the_corpus(tree: FullTree) -> None:
    kept = four(tree.turns)
    copies: dict[tuple[str, ...], list[Turn]] = defaultdict(list)
    for turn in kept:
        copies[words(turn.transcript)].append(turn)
    recurring = right = scripted = 0
    for said, turns in copies.items():
        for turn in turns if len(said) >= 4 else ():
            training = Counter(CLASS[other.label] for other in turns if other.session != turn.session)
            if training:
                recurring += 1
                scripted += "script" in turn.dialogue
                (best, count), *rest = training.most_common()
                assert count > max((other for _, other in rest), default=0)  # no tie: any look-up agrees
                right += best == CLASS[turn.label]
    planted = tree.planted
    assert (recurring, scripted, right) == (planted.recurring, planted.recurring_scripted, planted.recurring_right)
    assert round(100 * right / recurring) == 76


def test_durations_are_spread_as_in_the_corpus(tree: FullTree) -> None:
    seconds = sorted(turn.end_seconds - turn.start_seconds for turn in tree.turns)
    assert sum(seconds) / len(seconds) == pytest.approx(4.5, abs=0.1)
    assert seconds[len(seconds) // 2] == pytest.approx(3.5, abs=0.1)
    assert seconds[-1] == pytest.approx(34.14, abs=0.01)


def test_the_same_seed_gives_the_same_turns(tree: FullTree) -> None:
    assert full_turns() == tree.turns
    assert full_turns(1) != tree.turns


def test_in_other_copies_codes_in_braces_take_the_place_of_tags(tmp_path: Path) -> None:
    tree = write_full_tree(tmp_path, audio="none", braces=True)
    said = " ".join(u.transcript for u in read_corpus("iemocap", tree.root).utterances)
    assert Counter(re.findall(r"\{(\w+)\}", said)) == dict(tree.planted.braces)
    assert "[" not in said


def test_sparse_recordings_are_as_long_as_the_turns(tmp_path: Path) -> None:
    tree = write_full_tree(tmp_path, audio="full")
    reading = read_corpus("iemocap", tree.root)
    result = prepare(reading, BUILT_IN["iemocap-4"])
    length = {turn.utterance: turn.end_seconds - turn.start_seconds for turn in tree.turns}
    assert list(result.seconds) == pytest.approx([length[u.utterance_id] for u in result.utterances], abs=1e-4)


# The reader and the command.


def test_the_reader_finds_every_turn_and_notes_every_oddity(tree: FullTree) -> None:
    reading = read_corpus("iemocap", tree.root)
    order = {turn.utterance: turn for turn in tree.turns}
    assert {u.utterance_id: u.emotion for u in reading.utterances} == {t.utterance: t.label for t in tree.turns}
    differing = [u for u in reading.utterances if u.transcript != order[u.utterance_id].transcript]
    assert len(differing) == tree.planted.replaced_bytes
    assert all(u.transcript == order[u.utterance_id].transcript.replace("'", "\ufffd", 1) for u in differing)
    assert [note.partition(" (")[0] for note in reading.notes] == [
        "bytes that are not UTF-8, replaced: 3",
        "transcript lines without an utterance id, skipped: 14",
        "transcript lines whose id has no label: 9",
    ]
    assert len({u.speaker for u in reading.utterances}) == PUBLISHED["iemocap"].speakers == 10
    assert len({u.dialogue for u in reading.utterances}) == PUBLISHED["iemocap"].dialogues == 151


def prepare_tree(tree: FullTree, tmp_path: Path, *arguments: str) -> dict:
    command = ["prepare", "iemocap", "--root", tree.root, "--cache-dir", tmp_path / "cache", "--json"]
    return json.loads(succeed(*command, *arguments).stdout)


def test_prepare_gives_5531_utterances_and_every_count_of_the_table(tree: FullTree, tmp_path: Path) -> None:
    value = prepare_tree(tree, tmp_path, "--strict")
    assert value["utterances"] == 5531
    assert value["classes"] == {"happy": 1636, "angry": 1103, "neutral": 1708, "sad": 1084}
    for session, (*row, total) in SESSIONS.items():
        found = value["sessions"][session]
        assert [found[name] for name in ("neutral", "happy", "angry", "sad")] == row
        assert sum(found.values()) == total
    assert value["dropped_labels"] == {"xxx": 2507, "fru": 1849, "sur": 107, "fea": 40, "oth": 3, "dis": 2}
    assert not value["problems"]
    assert value["published"] == {"found": 5531, "published": 5531, "counts": 35, "differences": []}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("iemocap-5", {"happy": 1636, "angry": 1103, "neutral": 1708, "sad": 1084, "frustrated": 1849}),
        (
            "iemocap-6",
            {"happy": 595, "sad": 1084, "neutral": 1708, "angry": 1103, "excited": 1041, "frustrated": 1849},
        ),
    ],
)
def test_five_and_six_classes_have_7380_utterances(tree: FullTree, tmp_path: Path, name: str, counts: dict) -> None:
    value = prepare_tree(tree, tmp_path, "--label-map", name)
    assert (value["utterances"], value["classes"]) == (7380, counts)
    assert [sum(row.values()) for row in value["sessions"].values()] == [1365, 1348, 1533, 1512, 1622]
    assert value["published"]["differences"] == []


def test_the_command_says_that_the_corpus_is_complete(tree: FullTree, tmp_path: Path) -> None:
    command = ["prepare", "iemocap", "--root", str(tree.root), "--cache-dir", str(tmp_path)]
    out = succeed(*command).stdout
    assert "All counts agree with the published ones: 5,531 utterances.\n" in out


def test_what_is_missing_is_named_by_session_and_label(tree: FullTree, tmp_path: Path) -> None:
    lost = next(turn for turn in tree.turns if turn.label == "neu" and turn.session == 3)
    recording = next(tree.root.rglob(f"{lost.utterance}.wav"))
    labels = next(tree.root.rglob("EmoEvaluation/Ses05M_script01_1b.txt"))
    content = labels.read_text()
    recording.rename(tmp_path / "kept.wav")
    labels.write_text(content[: content.index("[", content.index("\txxx\t") + 30)])  # cut behind the first xxx
    try:
        command = ["prepare", "iemocap", "--root", str(tree.root), "--cache-dir", str(tmp_path)]
        out = succeed(*command).stdout
    finally:
        (tmp_path / "kept.wav").rename(recording)
        labels.write_text(content)
    line = next(line for line in out.splitlines() if "counts differ from those published" in line)
    assert "utterances, published: 5,531" in line
    assert "session 3, neu: expected 320, found 319" in line
    assert "session 5, neu: " in line
    assert f"  {lost.utterance}: Session3/sentences/wav/" in out


# The comparison with the published counts.


def test_the_published_counts_are_consistent_and_those_of_the_generator() -> None:
    published = PUBLISHED["iemocap"]
    assert published.labels == {label: sum(row) for label, row in COUNTS.items()}
    assert published.sessions == {label: dict(zip("12345", COUNTS[label], strict=True)) for label in (*FOUR, "fru")}


def test_a_manifest_is_compared_only_by_its_labels(tree: FullTree) -> None:
    labels = BUILT_IN["iemocap-4"]
    kept = [u for u in read_corpus("iemocap", tree.root).utterances if labels.class_of(u.emotion)]
    agreement = compare("iemocap", labels, kept)
    assert agreement is not None
    assert (agreement.counts, agreement.differences) == (25, ())
    assert compare("csv", labels, kept) is None


def test_missing_and_unpublished_sessions_are_differences(tree: FullTree) -> None:
    labels = BUILT_IN["iemocap-4"]
    kept = [u for u in read_corpus("iemocap", tree.root).utterances if labels.class_of(u.emotion)]
    agreement = compare("iemocap", labels, [u for u in kept if u.session != "5"])
    assert agreement is not None
    assert agreement.line() == (
        "5 of 25 counts differ from those published (4,290 utterances, published: 5,531): "
        "session 5, hap: expected 143, found 0; session 5, exc: expected 299, found 0; "
        "session 5, ang: expected 170, found 0; and 2 more."
    )
