"""The head of the report: the corpus, its classes and the protocol, a line each."""

from dataclasses import replace

from helpers.report_example import report_example, with_system

from mmer_pipeline.report.corpus_content import HeldOutCorpus
from mmer_pipeline.report.head import head, protocol_line
from mmer_pipeline.report.methods import methods

CORPUS = HeldOutCorpus(1200, 1200, 24, 48, 1.53, {"happy": 600, "angry": 300, "neutral": 300, "sad": 0})


def with_settings(report, number, **settings):
    def change(system):
        runs = tuple(replace(run, settings={**run.settings, **settings}) for run in system.runs)
        return replace(system, runs=runs)

    return with_system(report, number, change)


def test_utterances_speakers_dialogues_hours_and_class_balance_are_in_the_head():
    lines = head(replace(report_example(), held_out=CORPUS))
    assert lines["Corpus"] == "ravdess: 1,200 utterances, 24 speakers, 48 dialogues, 1.5 hours"
    assert lines["Classes"] == "happy 600 (50 %), angry 300 (25 %), neutral 300 (25 %), sad 0 (0 %)"
    assert "speech (moonshine-tiny-encoder)" in lines["Systems"]
    by_speaker = head(replace(report_example(), held_out=replace(CORPUS, dialogues_are_speakers=True)))
    assert "24 speakers, no dialogues (each speaker counts as one)" in by_speaker["Corpus"]


def test_what_is_unknown_is_left_out_and_a_part_is_not_called_the_corpus():
    part = replace(CORPUS, of_manifest=13000, speakers=None, dialogues=None, hours=None)
    lines = head(replace(report_example(), held_out=part))
    assert lines["Corpus"] == "ravdess: 1,200 of 13,000 utterances held out, dialogues unknown"
    assert head(report_example())["Corpus"] == "ravdess: 672 held-out utterances"


def test_the_protocol_is_one_line():
    report = replace(report_example(), systems=report_example().systems[1:3])
    assert protocol_line(report) == (
        "5-fold cross-validation, sessions held out; no validation part; seeds 1, 2; last epoch (8), no selection"
    )
    report = with_settings(report, 0, folds="call_centre", validation="0.1")
    report = with_settings(report, 1, folds="call_centre", validation="0.1")
    assert protocol_line(report) == (
        "5-fold cross-validation, parts by call_centre held out; validation on 0.1 of the training part; seeds 1, 2; "
        "last epoch (8), no selection"
    )


def test_grouped_speakers_are_no_column():
    report = replace(report_example(), systems=report_example().systems[1:2])
    report = with_settings(report, 0, folds="5", validation="session")
    assert protocol_line(report).startswith(
        "5-fold cross-validation, groups of speakers held out; "
        "validation on the group of speakers after the held-out one;"
    )
    assert "the folds hold out groups of speakers" in dict(methods(report))["Data and protocol"]


def test_protocols_that_differ_are_both_named():
    report = replace(report_example(), systems=report_example().systems[:2])
    assert "one speaker of the session after the held-out one or no validation part" in protocol_line(report)


def test_imports_alone_have_no_seeds_and_no_epoch():
    report = replace(report_example(), systems=report_example().systems[-1:])
    assert protocol_line(report) == "5-fold cross-validation; imported predictions"


def test_a_system_that_is_fitted_at_once_has_no_last_epoch():
    report = replace(report_example(), systems=report_example().systems[1:3])
    probe = with_system(report, 0, lambda system: replace(system, system="probe"))
    assert "last epoch (8), no selection" in protocol_line(probe)
    probes = with_system(probe, 1, lambda system: replace(system, system="svm"))
    assert protocol_line(probes).endswith("seeds 1, 2; no selection")
