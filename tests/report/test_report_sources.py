"""Where a report's content comes from besides runs: imported results, the manifest and the recordings."""

import json

import pytest
from helpers.run_example import LABELS, write_import, write_run

from mmer_pipeline.errors import UserError
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.run_results import read_systems
from mmer_pipeline.report.utterance_facts import read_utterance_facts


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "r")


def only(report):
    assert len(report.systems) == 1
    return report.systems[0]


def test_an_import_is_one_more_row_under_the_same_statistics(tmp_path, run):
    file = write_import(tmp_path / "theirs.csv", flipped=1)
    report = make_report([run], [Import(file, "theirs")])
    theirs, _ = report.systems  # the better one
    assert (theirs.name, theirs.title, theirs.system, theirs.imported) == (
        "theirs",
        "theirs",
        None,
        str(file),
    )
    assert (theirs.seeds, theirs.curves, theirs.runs, theirs.oracle_gap) == ((), (), (), None)
    assert theirs.selections.oracle is theirs.selections.validated is None
    final = theirs.selections.final
    assert [(row.seed, row.fold, row.held_out, row.epoch) for row in final.folds] == [
        (None, k, str(k), None) for k in (1, 2, 3)
    ]
    assert final.summary["wa"].pooled == pytest.approx(11 / 12)
    assert theirs.errors[0].utterance_id == "1u0"
    assert theirs.errors[0].probabilities == {"happy": 0.1, "sad": 0.9}
    (pair,) = report.pairs
    assert (pair.first, pair.second, pair.utterances) == ("theirs", "r", 12)
    assert report.table_1.rows[-1].ours == "theirs"


def test_an_import_without_probabilities_has_no_reliability_and_no_confident_errors(tmp_path, run):
    report = make_report([run], [Import(write_import(tmp_path / "t.csv", flipped=1, probabilities=False), "theirs")])
    assert (report.systems[0].reliability, report.systems[0].errors) == (None, ())


def test_an_import_alone_is_a_report_too(tmp_path):
    report = make_report([], [Import(write_import(tmp_path / "t.csv"), "theirs")])
    assert (report.corpus, report.labels) == ("unknown", tuple(LABELS))
    assert only(report).lengths is None
    assert json.dumps(report.as_json(), allow_nan=False)


def test_a_name_that_is_taken_is_refused(tmp_path, run):
    file = write_import(tmp_path / "t.csv")
    with pytest.raises(UserError, match="The name r is already used"):
        make_report([run], [Import(file, "r")])
    with pytest.raises(UserError, match="The name x is already used"):
        make_report([run], [Import(file, "x"), Import(file, "x")])


def of_a_corpus(tmp_path, tiny_corpus, digest=None):
    """A run over the two sessions of a corpus that lies there."""
    manifest = tiny_corpus(tmp_path)
    facts = {"manifest": str(manifest.path), "folds": ["1", "2"]}
    run = write_run(tmp_path / "r", folds=(1, 2), facts=facts, inputs={"manifest": digest or manifest.digest})
    return manifest, run, read_utterance_facts([read_systems([run])[0][0].runs[0].record])


def test_transcripts_and_lengths_come_from_the_manifest_and_the_recordings(tmp_path, tiny_corpus):
    manifest, _, facts = of_a_corpus(tmp_path, tiny_corpus)
    assert facts.notes == []
    for utterance in manifest.utterances:
        assert facts.transcripts[utterance.utterance_id] == utterance.transcript
        assert 0.4 <= facts.seconds[utterance.utterance_id] <= 1.2


def test_a_manifest_that_has_changed_gives_no_transcripts_and_the_report_says_so(tmp_path, tiny_corpus):
    _, run, facts = of_a_corpus(tmp_path, tiny_corpus, digest="0123456789abcdef")
    assert (facts.transcripts, facts.seconds) == ({}, {})
    assert "has changed since the runs were trained" in make_report([run]).notes[0]


def test_a_manifest_or_a_recording_that_is_gone_is_said_and_no_error(tmp_path, run, tiny_corpus):
    assert "No manifest at /nowhere/manifest.csv" in make_report([run]).notes[0]
    manifest, corpus_run, _ = of_a_corpus(tmp_path / "c", tiny_corpus)
    manifest.audio_path(manifest.utterances[0]).unlink()
    notes = make_report([corpus_run]).notes
    assert notes[0].startswith("The lengths of 1 utterances are unknown.")
