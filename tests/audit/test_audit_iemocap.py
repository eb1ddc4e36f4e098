"""The audit of IEMOCAP at full size finds every planted fault of its rows and recordings."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.audit_example import found, write
from helpers.command_line import invoke, succeed
from helpers.iemocap_full import Planted, write_full_tree

from mmer_pipeline.audit import class_counts, leaks
from mmer_pipeline.audit.corpus_split import split_by
from mmer_pipeline.audit.run_audit import make_audit
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest

RATE = 16_000


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The manifest of a generated tree, as `prepare` writes it, and what was planted."""
    directory = tmp_path_factory.mktemp("audit")
    tree = write_full_tree(directory)
    cache = directory / "cache"
    succeed("prepare", "iemocap", "--root", tree.root, "--cache-dir", cache)
    return read_manifest(cache / "manifest.csv"), tree


@pytest.fixture(scope="module")
def audited(full):
    return make_audit(full[0], audio=False)


def published_counts(manifest):
    """The finding alone: a whole audit of the full corpus takes seconds."""
    split = split_by(manifest, "session")
    findings = [finding.as_dict() for finding in class_counts.findings(split, class_counts.count(split))]
    return found({"findings": findings}, "published_counts")


def test_the_counts_are_the_published_ones(audited):
    assert found(audited, "published_counts")["value"] == 0
    everything = audited["counts"]["all"]
    assert (everything["utterances"], everything["speakers"], everything["dialogues"]) == (5531, 10, 151)
    assert everything["classes"] == {"happy": 1636, "angry": 1103, "neutral": 1708, "sad": 1084}
    assert [fold["utterances"] for fold in audited["counts"]["folds"]] == [1085, 1023, 1151, 1031, 1241]


def test_an_incomplete_copy_is_recognised(full, tmp_path):
    manifest = full[0]
    path = tmp_path / "manifest.csv"
    write_manifest(path, manifest.utterances[:-3], root=manifest.root, corpus="iemocap", label_map=manifest.label_map)
    finding = published_counts(read_manifest(path))
    assert finding["severity"] == "warning"
    assert "Expected the published 5,531 utterances, found 5,528" in finding["meaning"]


def test_the_finding_says_which_counts_differ(full, tmp_path):
    manifest, path = full[0], tmp_path / "manifest.csv"

    def audited_with(**change):
        rows = [replace(row, **change) if n == 0 else row for n, row in enumerate(manifest.utterances)]
        write_manifest(path, rows, root=manifest.root, corpus="iemocap", label_map=manifest.label_map)
        return published_counts(read_manifest(path))

    dialogue = audited_with(dialogue="another")
    assert dialogue["examples"] == ["dialogues: expected 151, found 152"]
    assert "but other speakers or dialogues, on which folds and intervals depend" in dialogue["meaning"]
    assert "but with other labels or sessions" in audited_with(session="2")["meaning"]


def test_no_speaker_is_in_two_folds_and_the_prefix_would_have_leaked(audited):
    assert found(audited, "speakers_in_several_folds")["value"] == 0
    assert found(audited, "speaker_contradicts_id")["value"] == 0
    prefix = found(audited, "prefix_is_not_the_speaker")
    assert prefix["value"] == Planted.prefix_is_not_the_speaker
    assert "the speaker of 5,531 of 5,531 test utterances" in prefix["meaning"]


def test_annotations_are_found_as_often_as_planted(audited):
    planted = Planted()
    assert found(audited, "annotations")["value"] == planted.tagged_utterances
    assert found(audited, "empty_transcripts")["value"] == planted.tag_only_utterances
    assert found(audited, "no_ctc_target")["value"] == planted.tag_only_utterances
    assert found(audited, "unstripped_annotations")["value"] == 0
    kinds = {kind["text"].strip("[]"): kind for kind in audited["annotations"]["kinds"]}
    assert {text: kind["occurrences"] for text, kind in kinds.items()} == dict(planted.tags)
    laughter = kinds["LAUGHTER"]
    assert laughter["utterances"] == planted.laughter_utterances
    assert laughter["classes"]["happy"] == planted.laughter_happy
    assert found(audited, "annotations")["severity"] == "warning"


def test_undecodable_bytes_are_found_as_often_as_they_occur_in_the_four_classes(full, audited):
    manifest, tree = full
    kept = {utterance.utterance_id for utterance in manifest.utterances}
    apostrophes = [turn for turn in tree.turns if "'" in turn.transcript]
    planted = sum(turn.utterance in kept for turn in apostrophes[::400][: Planted.replaced_bytes])
    assert found(audited, "undecodable_bytes")["value"] == planted > 0


def test_repeated_texts_are_found_as_often_as_planted_and_the_look_up_is_as_often_correct(audited):
    row = audited["repeated_texts"]["all"]
    assert (row["repeated"], row["correct"]) == (Planted.recurring, Planted.recurring_right)
    finding = found(audited, "repeated_texts")
    assert (finding["severity"], finding["value"]) == ("warning", Planted.recurring)
    assert "correct for 76.0 % of them" in finding["meaning"]


def test_folds_by_speaker_split_the_dialogues(full):
    findings = {finding.key: finding for finding in leaks.findings(split_by(full[0], "speaker"))}
    assert all(finding.severity != "error" for finding in findings.values())
    assert findings["dialogues_in_several_folds"].value == 151


def test_scripted_lines_recur_as_often_as_planted(audited):
    scripted, improvised = audited["styles"]["rows"]
    assert (scripted["repeated"], improvised["repeated"]) == (Planted.recurring_scripted, 20)
    assert scripted["utterances"] + improvised["utterances"] == Planted.utterances
    finding = found(audited, "scripted_lines")
    assert (finding["severity"], finding["value"]) == ("warning", scripted["utterances"])
    assert "Word for word in training: 550 scripted and 20 improvised utterances" in finding["meaning"]


def test_the_validation_speakers_partner_is_in_training(audited):
    parts = {part["choice"]: part for part in audited["validation"]}
    assert parts["session"]["shared"] == 0
    assert parts["speaker"]["shared"] == parts["speaker"]["utterances"] > 2000
    assert found(audited, "validation_shares_dialogues")["value"] == 2


def test_codes_in_braces_are_found_in_copies_that_have_them(tmp_path):
    tree = write_full_tree(tmp_path, braces=True)
    succeed("prepare", "iemocap", "--root", tree.root)
    audit = make_audit(read_manifest(tmp_path / "cache" / "manifest.csv"), audio=False)
    kinds = {kind["text"].strip("{}"): kind["occurrences"] for kind in audit["annotations"]["kinds"]}
    assert kinds == dict(Planted().braces)
    assert found(audit, "unstripped_annotations")["value"] == 0


def test_the_command_finds_what_is_planted_in_the_recordings(full, tmp_path):
    """A part of the corpus with planted faults in its recordings."""
    manifest, _ = full
    rows = manifest.utterances[::20]
    for row in rows:
        target = tmp_path / row.audio
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(manifest.audio_path(row), target)
    path = tmp_path / "manifest.csv"
    write_manifest(path, rows, root=tmp_path, corpus="iemocap", label_map=manifest.label_map)
    first = [n for n, row in enumerate(rows) if row.session == "1"]
    last = [n for n, row in enumerate(rows) if row.session == "5"]
    tone = np.sin(np.arange(RATE) / 9)
    for number in range(3):  # three recordings of session 1 are also in session 5
        shutil.copyfile(tmp_path / rows[first[number]].audio, tmp_path / rows[last[number]].audio)
    shutil.copyfile(tmp_path / rows[first[3]].audio, tmp_path / rows[first[4]].audio)
    for number in range(5, 9):
        write(tmp_path / rows[first[number]].audio, np.zeros(RATE))
    for number in range(9, 14):
        write(tmp_path / rows[first[number]].audio, np.clip((1.5 + number / 20) * tone, -1, 1))
    for number in range(14, 20):
        write(tmp_path / rows[first[number]].audio, number / 100 * tone + 0.05)
    for number in range(20, 22):
        (tmp_path / rows[first[number]].audio).unlink()
    write(tmp_path / rows[first[22]].audio, np.stack([tone, tone], axis=1), rate=48_000)

    result = invoke("audit", "--manifest", path, "--json")
    assert result.exit_code == 1
    audit = json.loads(result.stdout)
    expected = {
        "duplicates_across_folds": 6,
        "duplicates_within_folds": 2,
        "silent_recordings": 4,
        "clipped_recordings": 5,
        "dc_offset": 6,
        "unreadable_recordings": 2,
        "audio_formats": 1,
    }
    assert {key: found(audit, key)["value"] for key in expected} == expected
    errors = {finding["key"] for finding in audit["findings"] if finding["severity"] == "error"}
    assert errors == {"duplicates_across_folds", "unreadable_recordings"}


@pytest.mark.real
def test_loudness_reveals_much_of_ravdess(shared, tmp_path):
    cache = str(tmp_path / "cache")
    root = str(shared / "data" / "ravdess4")
    succeed("prepare", "ravdess", "--root", root, "--cache-dir", cache)
    audit = json.loads(succeed("audit", "--cache-dir", cache, "--json").stdout)
    assert found(audit, "baseline_loudness")["value"] > 45
    assert found(audit, "baseline_length_of_the_text")["severity"] == "ok"
    assert found(audit, "loudness")["unit"] == "dB from neutral to angry"
    repeated = found(audit, "repeated_texts")
    assert (repeated["severity"], repeated["value"]) == ("note", 672)
    # The corpus has one recording twice, as two takes.
    assert found(audit, "duplicates_within_folds")["examples"] == [
        "03-01-03-01-02-01-07 (happy) = 03-01-03-01-02-02-07 (happy)"
    ]
