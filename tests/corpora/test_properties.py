"""Properties that hold for any input: parsers refuse with a `UserError` or give back what was written.

The examples are the same in every run (`derandomize`); hypothesis shrinks what fails to its smallest form.
"""

import csv
import io
import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from helpers.property_examples import (
    CORPORA,
    FOUR,
    IEMOCAP_ID,
    MEMORY,
    NAME,
    SAID,
    SECONDS,
    TEXT,
    attempt,
    folded,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmer_pipeline.corpora.folds import Fold, fold_names, make_fold, natural_order, parse_fraction
from mmer_pipeline.corpora.labels import LabelMap, identity_map, load_label_map
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.published_counts import compare
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.readers.iemocap import LABEL_LINE, TRANSCRIPT_LINE, UTTERANCE_ID
from mmer_pipeline.corpora.transcripts import (
    spoken_words,
)
from mmer_pipeline.corpora.utterances import COLUMNS, Utterance, check_audio_path
from mmer_pipeline.demo.iemocap_tree import CATEGORY_NAMES, Turn, evaluation_block, transcription_line, write_tree
from mmer_pipeline.errors import UserError


def turn(name: str, label: str, words: str, start: float = 1.0, end: float = 2.0) -> Turn:
    return Turn(int(name[4]), name.rsplit("_", 1)[0], name, start, end, label, 2.5, 3.0, 2.0, words)


# Manifests and CSV.


@given(CORPORA)
@example([Utterance("a", "a.wav", None, None, "s", "1", "d", "hap", "two\rlines")])
def test_a_manifest_gives_back_what_was_written(utterances: list[Utterance]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "manifest.csv"
        assert write_manifest(path, utterances, root=path.parent, corpus="own", label_map=FOUR)
        assert not write_manifest(path, utterances, root=path.parent, corpus="own", label_map=FOUR)
        manifest = read_manifest(path)
        texts = ("utterance_id", "speaker", "session", "dialogue", "transcript")
        assert list(manifest.utterances) == [
            replace(u, **{column: folded(getattr(u, column)) for column in texts}) for u in utterances
        ]
        write_manifest(path, manifest.utterances, root=path.parent, corpus="own", label_map=FOUR)
        assert read_manifest(path) == manifest
        assert read_manifest(path).digest == manifest.digest


CELL = SAID | st.sampled_from(["", "a.wav", "../a.wav", "C:x", "1.5", "-1", "nan", "1e400", "hap"])
ROWS = st.tuples(
    *(NAME, st.just("a.wav"), st.sampled_from(["", "0", "1.5"]), st.sampled_from(["", "2", "1e400"]), NAME, NAME),
    *(CELL, st.sampled_from(["hap", "sad", "ş"]), CELL),
).map(list)
TABLES = st.lists(ROWS | st.lists(CELL, min_size=8, max_size=11), max_size=5)


@given(TABLES, st.lists(CELL, max_size=2), st.sampled_from([",", ";"]))
@example([["a", "a.wav", "", "", "s", "1", "d", "hap", "x", "y"]], ["no\rte"], ",")
def test_any_table_is_read_or_refused(rows: list[list[str]], others: list[str], delimiter: str) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerow([*COLUMNS, *others])
    writer.writerows(rows)
    check_csv(stream.getvalue().encode())


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: ",".join(COLUMNS).encode() + b"\n" + tail))
@example(",".join(COLUMNS).encode() + b'\na,a.wav,,,s,1,d,hap,"cut')
@example(b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\na,a.wav,,,s,1,d,hap,x")
def test_any_bytes_are_a_manifest_or_refused(content: bytes) -> None:
    check_csv(content)


def check_csv(content: bytes) -> None:
    """The reader `csv` gives unique utterances that a manifest holds unchanged, or a `UserError`."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "manifest.csv"
        path.write_bytes(content)
        reading = attempt(lambda: read_corpus("csv", path))
        if isinstance(reading, UserError):
            assert str(path) in str(reading)
            return
        assert max(Counter(u.utterance_id for u in reading.utterances).values()) == 1
        labels = {u.emotion for u in reading.utterances}
        if len(labels) > 1:
            copy = Path(directory) / "copy.csv"
            label_map = identity_map(labels)
            write_manifest(copy, reading.utterances, root=path.parent, corpus="csv", label_map=label_map)
            again = read_manifest(copy)
            assert [folded(u.transcript) for u in reading.utterances] == [u.transcript for u in again.utterances]
            assert [u.emotion for u in reading.utterances] == [u.emotion for u in again.utterances]


@given(TEXT)
@example("a/../../b")
@example("..\\b")
@example("C:b")
@example("//host/b")
def test_an_audio_path_that_is_let_through_stays_below_its_root(audio: str) -> None:
    try:
        check_audio_path(audio, "here")
    except UserError:
        return
    root = Path("/corpus/root")
    assert (root / audio).is_relative_to(root)
    assert ".." not in (root / audio).parts


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "root": st.just("/corpus") | JSON,
        "corpus": st.just("own") | JSON,
        "label_map": JSON
        | st.fixed_dictionaries(
            {}, optional={"name": JSON, "classes": JSON | st.dictionaries(TEXT, JSON, max_size=3), "drop": JSON}
        ),
    },
)


@given(FACTS)
def test_any_facts_beside_a_manifest_are_read_or_refused(facts: dict) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "manifest.csv"
        path.write_text(",".join(COLUMNS) + "\na,a.wav,,,s,1,d,hap,x\n")
        path.with_suffix(".json").write_text(json.dumps(facts))
        try:
            manifest = read_manifest(path)
        except UserError:
            return
        assert manifest.label_map.class_of("hap") is not None


# Label maps.

LABEL_MAPS = st.lists(NAME.map(folded), min_size=3, max_size=9, unique=True).flatmap(
    lambda labels: st.integers(2, len(labels)).map(
        lambda classes: LabelMap(
            "own",
            {f"class {number}": tuple(labels[number :: classes + 1]) for number in range(min(classes, len(labels)))},
            tuple(labels[classes :: classes + 1]),
        )
    )
)


@given(LABEL_MAPS, TEXT)
def test_a_label_map_survives_json_and_loses_no_label(label_map: LabelMap, other: str) -> None:
    again = LabelMap.from_dict(json.loads(json.dumps(label_map.as_dict())))
    assert again == label_map
    assert list(again.classes) == list(label_map.classes)
    known = [label for labels in label_map.classes.values() for label in labels]
    for label in known:
        assert label in label_map.classes[str(label_map.class_of(label))]
    assert [label for label in (*known, *label_map.dropped) if label_map.class_of(label) is None] == list(
        label_map.dropped
    )
    if other not in known and other not in label_map.dropped:
        with pytest.raises(UserError, match="Unknown emotion label"):
            label_map.class_of(other)


TOML = TEXT.map(str.encode) | TEXT.map(lambda text: f'drop=["x"]\n[classes]\na={text}'.encode())


@given(st.binary(max_size=60) | TOML)
@example(b"x = " + b"1" * 5000)
@example(b"x = " + b"[" * 50_000)
def test_any_file_is_a_label_map_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = Path(directory) / "own.toml"
        path.write_bytes(content)
        found = attempt(lambda: load_label_map(str(path)))
        assert "own" in str(found) if isinstance(found, UserError) else len(found.classes) > 1


# Folds.


@given(st.lists(NAME, unique=True, max_size=8), st.randoms(use_true_random=False))
@example(["9" * 5000, "1"], Random(0))
def test_the_natural_order_is_one_order_whatever_the_names_came_in(names: list[str], random: Random) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)
    assert sorted(shuffled, key=natural_order) == sorted(names, key=natural_order)
    assert len({str(natural_order(name)) for name in names}) == len(names)


@given(st.lists(st.integers(0, 10**9), unique=True), TEXT)
def test_the_natural_order_of_numbered_names_is_that_of_the_numbers(numbers: list[int], name: str) -> None:
    name = name.rstrip("0123456789٣")
    assert sorted((f"{name}{n}" for n in numbers), key=natural_order) == [f"{name}{n}" for n in sorted(numbers)]


@given(
    CORPORA,
    st.sampled_from(["session", "speaker"]),
    st.sampled_from(["none", "session", "speaker", "0.1", "0.5", "2", "x"]),
    st.integers(0, 3),
    st.booleans(),
)
def test_a_fold_is_a_partition_without_a_speaker_on_both_sides(
    utterances: list[Utterance], column: str, validation: str, seed: int, text_disjoint: bool
) -> None:
    manifest = Manifest(Path("m.csv"), Path(), "own", FOUR, tuple(utterances))
    names = fold_names(manifest, column)
    assert len(names) == len({getattr(u, column) for u in utterances})
    for number in range(1, len(names) + 1):
        try:
            fold: Fold = make_fold(
                *(manifest, number), column=column, validation=validation, seed=seed, text_disjoint=text_disjoint
            )
        except UserError:
            continue
        parts = (*fold.train, *fold.validation, *fold.test, *fold.left_out)
        assert sorted(parts) == list(range(len(utterances)))
        words = [{spoken_words(utterances[i].transcript) for i in part} - {""} for part in (fold.train, fold.test)]
        assert not text_disjoint or not words[0] & words[1]
        assert {getattr(utterances[i], column) for i in fold.test} == {names[number - 1]}
        trained = {utterances[i].speaker for i in fold.train}
        assert not trained & {utterances[i].speaker for i in fold.test}
        assert bool(fold.validation) == (validation != "none")


@given(TEXT | st.floats().map(str))
def test_any_word_is_a_validation_part_or_refused(word: str) -> None:
    try:
        fraction = parse_fraction(word)
    except UserError:
        return
    assert fraction is None or 0 < fraction < 1


# IEMOCAP's lines and trees.


@given(IEMOCAP_ID, st.sampled_from(sorted(CATEGORY_NAMES)), SAID, SECONDS, SECONDS)
def test_the_lines_of_a_turn_are_parsed_to_what_they_were_made_of(
    name: str, label: str, words: str, start: float, end: float
) -> None:
    words = " ".join(words.split())
    made = turn(name, label, words, start, end)
    found = LABEL_LINE.fullmatch(evaluation_block(made).split("\n")[0])
    assert found is not None
    assert (found["id"], found["label"], found["dialogue"]) == (name, label, made.dialogue)
    assert found["speaker"] == name[-4]
    assert found["session"] == name[3:5]
    said = TRANSCRIPT_LINE.fullmatch(transcription_line(made).rstrip("\n"))
    assert said is not None
    assert (said["id"], said["text"].strip()) == (name, words)


@given(st.text(alphabet="Ses01FM_improcript[].:-\t 23456789XX", max_size=60), st.integers(1, 500))
def test_any_line_is_parsed_quickly_or_not_at_all(line: str, times: int) -> None:
    for pattern in (LABEL_LINE, TRANSCRIPT_LINE, UTTERANCE_ID):
        match = pattern.match(line * times)
        assert match is None or match["speaker"] in "FM"


@settings(max_examples=20)
@given(st.dictionaries(IEMOCAP_ID, st.tuples(st.sampled_from(sorted(CATEGORY_NAMES)), SAID), min_size=1, max_size=12))
def test_a_tree_gives_back_every_turn_once_with_its_label_and_words(said: dict[str, tuple[str, str]]) -> None:
    whole = {f"Ses0{session}F_impro01_F999": ("neu", "Yes.") for session in range(1, 6)}
    turns = [turn(name, label, words) for name, (label, words) in sorted((whole | said).items())]
    one_line = str.maketrans(dict.fromkeys("\n\r", " "))  # a line end in the words would be one in the file
    turns = [replace(t, transcript=t.transcript.translate(one_line)) for t in turns]
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        reading = read_corpus("iemocap", write_tree(Path(directory), turns))
        assert [(u.utterance_id, u.emotion, u.transcript) for u in reading.utterances] == [
            (t.utterance, t.label, t.transcript.strip()) for t in turns
        ]
        assert not reading.notes
        for utterance in reading.utterances:
            assert utterance.speaker == f"{utterance.utterance_id[:5]}_{utterance.utterance_id[-4]}"
        identity = identity_map({*CATEGORY_NAMES})
        agreement = compare("iemocap", identity, reading.utterances)
        assert agreement is not None
        assert agreement.found == len(turns)
        assert len(agreement.line().splitlines()) == 1
