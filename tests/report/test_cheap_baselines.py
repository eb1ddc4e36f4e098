"""Chance and cheap baselines: from the audit of this manifest and these folds, or else what is quick."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mmer_pipeline import files, paths
from mmer_pipeline.audit.corpus_split import split_by
from mmer_pipeline.audit.run_audit import make_audit
from mmer_pipeline.report.cheap_baselines import baselines_of
from mmer_pipeline.report.corpus_content import Baseline, Baselines
from mmer_pipeline.report.held_out_corpus import held_out_corpus
from mmer_pipeline.report.run_results import HeldOut
from mmer_pipeline.report.utterance_facts import UtteranceFacts


@pytest.fixture
def corpus(tmp_path, tiny_corpus):
    """A manifest, a system that holds out its two sessions, and what is known of the utterances."""
    manifest = tiny_corpus(tmp_path)
    split = split_by(manifest, "session")
    utterances, count = manifest.utterances, len(manifest.utterances)
    held_out = HeldOut(
        tuple(u.utterance_id for u in utterances), tuple((split.fold + 1).tolist()),
        tuple(u.speaker for u in utterances), tuple(u.dialogue for u in utterances), split.truth, split.truth, None,
    )  # fmt: skip
    record = SimpleNamespace(
        settings=SimpleNamespace(folds="session"), facts={"folds": ["1", "2"]}, inputs={"manifest": manifest.digest}
    )
    system = SimpleNamespace(
        name="mmer", runs=(SimpleNamespace(record=record),), held_out=held_out, names_utterances=True
    )
    seconds = dict.fromkeys(held_out.utterance_ids, 0.5) | {held_out.utterance_ids[0]: 0.75}
    facts = UtteranceFacts({u.utterance_id: u.transcript for u in utterances}, seconds, [], [manifest])
    assert count == 16
    return manifest, system, facts


def write_audit(manifest, **changes):
    value = make_audit(manifest, column="session")
    files.write_json(manifest.path.parent / paths.AUDIT_JSON, value | changes)
    return {row["name"]: row for row in value["baselines"]["rows"]}


def test_without_an_audit_the_quick_ones_are_computed_and_the_command_for_the_rest_is_named(corpus):
    manifest, system, facts = corpus
    found = baselines_of([system], facts)
    assert {row.name for row in found.rows} == {"majority class", "length of the text", "length of the recording"}
    assert found.missing == "For baselines of loudness, run `mmer-pipe audit`, then report again."
    audited = write_audit(manifest)
    (text,) = [row for row in found.rows if row.name == "length of the text"]
    assert (text.wa, text.ua) == (audited["length of the text"]["wa"], audited["length of the text"]["ua"])


def test_the_audit_of_this_manifest_and_these_folds_is_used(corpus):
    manifest, system, facts = corpus
    audited = write_audit(manifest)
    found = baselines_of([system], facts)
    assert found.missing == ""
    assert {row.name: row.ua for row in found.rows} == {name: row["ua"] for name, row in audited.items()}
    assert "length and loudness" in audited
    assert all(row.ua_interval_95 is None for row in found.rows)  # from four dialogues


WRONG_ROWS = ["abc", [{"name": "x"}], [{"name": "x", "wa": "0.5", "ua": 0.5, "ua_interval": None}],
              [{"name": "x", "wa": 0.5, "ua": 0.5, "ua_interval": [0.5]}]]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{"digest": "0"}, {"folds": "speaker"}, {"held_out": ["1"]}, {"baselines": None},
     *({"baselines": {"rows": rows}} for rows in WRONG_ROWS)],
)  # fmt: skip
def test_the_audit_of_another_corpus_or_of_other_folds_is_not_used(corpus, changes):
    manifest, system, facts = corpus
    write_audit(manifest, **changes)
    assert "loudness" in baselines_of([system], facts).missing


def test_copies_of_the_manifest_are_one_manifest(corpus):
    manifest, system, facts = corpus
    assert baselines_of([system], replace(facts, manifests=[manifest, manifest])) == baselines_of([system], facts)


def test_a_broken_audit_is_not_used(corpus):
    manifest, system, facts = corpus
    (manifest.path.parent / paths.AUDIT_JSON).write_text("{")
    assert baselines_of([system], facts).missing


def test_without_manifest_or_with_a_missing_fold_there_are_none(corpus):
    _, system, facts = corpus
    assert baselines_of([system], replace(facts, manifests=[])) is None
    first = np.array(system.held_out.folds) == 1
    part = replace(system.held_out, utterance_ids=tuple(np.array(system.held_out.utterance_ids)[first].tolist()),
                   folds=(1,) * int(first.sum()))  # fmt: skip
    system.held_out = part
    assert baselines_of([system], facts) is None


def test_the_best_baseline_is_never_the_majority_class():
    rows = (Baseline("majority class", 0.9, 0.9, None), Baseline("loudness", 0.4, 0.4, None))
    assert Baselines(rows).best == rows[1]
    assert Baselines(rows).majority == rows[0]
    assert Baselines(rows[:1]).best is None


def test_utterances_speakers_dialogues_hours_and_classes_are_counted(corpus):
    manifest, system, facts = corpus
    found = held_out_corpus([system], manifest.labels, facts)
    assert (found.utterances, found.of_manifest, found.speakers, found.dialogues) == (16, 16, 4, 4)
    assert found.hours == pytest.approx((15 * 0.5 + 0.75) / 3600)
    assert found.classes == dict.fromkeys(manifest.labels, 4)
    rows = replace(system.held_out, clusters=system.held_out.utterance_ids, speakers=("",) * 16)
    system.held_out = rows
    found = held_out_corpus([system], manifest.labels, replace(facts, seconds={}))
    assert (found.speakers, found.dialogues, found.hours) == (None, None, None)
