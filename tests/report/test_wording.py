"""Names and number formats of the report."""

from dataclasses import replace

from helpers.report_example import report_example, with_system

from mmer_pipeline.report.provenance_tables import system_facts
from mmer_pipeline.report.trained_runs import JobFacts
from mmer_pipeline.report.wording import (
    chance,
    duration,
    folds_and_seeds,
    folds_line,
    interval,
    p_value,
    plain,
    protocol,
    signed,
    signed_interval,
)


def test_number_formats():
    assert (signed(0.0268), signed(-0.0268), signed(-0.00001)) == ("+2.68", "−2.68", "0.00")
    assert interval((0.7, 0.812)) == "70.0–81.2"
    assert signed_interval((-0.01, 0.02)) == "−1.0, +2.0"
    assert [p_value(p) for p in (0.0312, 0.0002, 1e-7, 1.0, None)] == ["0.031", "0.0002", "<0.0001", "1.000", "–"]
    assert (duration(4.5), duration(4210.3)) == ("0:00:04", "1:10:10")
    assert [plain(value) for value in (None, True, 1e-5, 100, ["a", "b"])] == ["–", "yes", "1e-05", "100", "a b"]


def test_chance_counts_the_classes_that_occur():
    report = report_example()
    assert chance(report) == 1 / 4
    for number in range(len(report.systems)):
        report = with_system(report, number, without_sad)
    assert chance(report) == 1 / 3


def without_sad(system):
    return replace(system, per_class={**system.per_class, "sad": replace(system.per_class["sad"], support=0)})


def test_one_fold_is_one_held_out_part():
    system = report_example().systems[0]
    final = replace(system.selections.final, folds=system.selections.final.folds[:1])
    one = replace(system, folds_expected=1, seeds=(1,), selections=replace(system.selections, final=final))
    assert folds_line(one) == "one held-out part"
    assert (protocol([1]), protocol([5, 1, 10])) == (
        "one held-out part",
        "one held-out part or 5 or 10-fold cross-validation",
    )


def test_several_seeds_and_missing_folds_are_counted():
    mmer, _, _, roberta, theirs = report_example().systems
    assert [folds_and_seeds(system) for system in (mmer, roberta, theirs)] == ["5 × 2", "9 of 5 × 2", "5"]
    assert folds_line(mmer) == "10 of 10 folds (5 × 2 seeds)"
    assert folds_line(roberta) == "9 of 10 folds (5 × 2 seeds): THE NUMBERS ARE NOT A CROSS-VALIDATION"


def test_the_facts_of_a_system_are_those_that_are_known():
    report = report_example()
    mmer, theirs = (dict(system_facts(report, system)) for system in (report.systems[0], report.systems[-1]))
    assert mmer["run"] == "mmer, seeds 1, 2"
    assert mmer["trained"] == "9,436,356 parameters"
    assert "WER 43.21 %, CER 19.87 %" in mmer["spelling"]
    assert list(theirs) == ["imported", "held out"]


def test_only_systems_with_a_ctc_head_say_how_many_utterances_have_no_ctc_target():
    report = report_example()
    said = {system.name: "without CTC target" in dict(system_facts(report, system)) for system in report.systems}
    heads = {system.name: system.spelling is not None for system in report.systems}
    assert said == heads
    assert set(said.values()) == {True, False}


def test_facts_of_an_older_run_are_read():
    facts = {"device": "cpu", "platform": "p", "python": "3", "git_commit": None, "versions": {}}
    read = JobFacts.read(facts)
    assert (read.hardware, read.trained_parameters, read.without_ctc_target, read.revisions) == (None, None, None, {})
