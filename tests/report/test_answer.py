"""The report's answer in one sentence: for each situation, the whole sentence."""

from dataclasses import replace

import pytest
from helpers.report_example import report_example

from mmer_pipeline.report.answer import answer
from mmer_pipeline.report.corpus_content import Baseline, Baselines, HeldOutCorpus
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.repeated_training import IMPORTED, INCOMPLETE, ONE_SEED
from mmer_pipeline.report.report_content import (
    Encoders,
    Hole,
    MetricDifference,
    MetricSummary,
    PairComparison,
    Report,
    Selection,
    Selections,
    System,
    TrainedAgain,
)
from mmer_pipeline.report.table_1_content import Table1

LABELS = ("happy", "angry", "neutral", "sad")
LOUDNESS = Baselines((Baseline("majority class", 0.3, 0.25, None), Baseline("loudness", 0.5, 0.48, None)))


def system(title, ua, reach=0.04, *, again=None, folds=5, imported=None):
    """A system with only what a sentence needs: its UA with its intervals."""
    found = None if again is None else TrainedAgain(ua, (ua - again, ua + again), 4.0, units=5, seeds=(3,))
    interval = None if reach is None else (ua - reach, ua + reach)
    summary = {name: MetricSummary(ua, 0.05, ua, interval, found) for name in ("wa", "ua")}
    score = {label: replace(report_example().systems[0].per_class["sad"]) for label in LABELS}
    return System(
        name=title.lower(), title=title, system=None, imported=imported, seeds=() if imported else (1,),
        encoders=Encoders(None, None), folds_expected=folds, utterances=500,
        selections=Selections(Selection((), summary), None, None), oracle_gap=None, per_class=score, confusion=(),
        speakers=(), reliability=None, lengths=None, curves=(), spelling=None, errors=(), runs=(),
    )  # fmt: skip


def pair(first, second, difference, low, high, p, again):
    """first − second in UA; `again` are the fields of the claim about systems."""
    interval = None if low is None else (low, high)
    found = MetricDifference(difference, interval, p, p, TrainedAgain(**again))
    return PairComparison(first.name, second.name, 500, 25, {"wa": found, "ua": found})


def trained_again(value, low, high, p, units=5, seeds=(3, 3)):
    return {"value": value, "interval_95": (low, high), "df": 4.0, "p": p, "p_holm": p, "units": units, "seeds": seeds}


def report(systems, pairs=(), corpus="calls", **more):
    corpus_facts = HeldOutCorpus(500, None, 10, 25, 0.5, dict.fromkeys(LABELS, 125))
    content = {"holes": (), "notes": (), "held_out": corpus_facts, **more}
    return Report(corpus, LABELS, tuple(systems), tuple(pairs), Table1((), comparable=False), **content)


MMER, ROBERTA = system("MMER", 0.614), system("RoBERTa", 0.6)
ONE = {"why_not": f"mmer: {ONE_SEED}; roberta: {ONE_SEED}"}
SITUATIONS = {
    "clear winner": (
        report([MMER, ROBERTA],
               [pair(MMER, ROBERTA, 0.05, 0.03, 0.07, 0.001, trained_again(0.05, 0.01, 0.09, 0.02))]),
        "On calls, MMER leads by 5.0 points of UA over RoBERTa, which also holds for systems trained again and "
        "tested on other speakers (p = 0.020, 95 % interval +1.0 to +9.0).",
    ),
    "clearest winner": (
        report([MMER, ROBERTA],
               [pair(MMER, ROBERTA, 0.05, 0.03, 0.07, 0.001, trained_again(0.05, 0.04, 0.06, 1e-6))]),
        "On calls, MMER leads by 5.0 points of UA over RoBERTa, which also holds for systems trained again and "
        "tested on other speakers (p < 0.0001, 95 % interval +4.0 to +6.0).",
    ),
    "tie": (
        report([MMER, ROBERTA],
               [pair(MMER, ROBERTA, 0.014, 0.002, 0.026, 0.03, trained_again(0.014, -0.011, 0.039, 0.2))]),
        "On calls, MMER leads by 1.4 points of UA over RoBERTa; with 5 folds and 3 seeds this cannot be told apart "
        "from luck: trained again, MMER may be up to 3.9 points ahead or up to 1.1 points behind.",
    ),
    "one fold": (
        report([system("MMER", 0.614, folds=1), system("RoBERTa", 0.6, folds=1)],
               [replace(pair(MMER, ROBERTA, 0.014, None, None, 0.5, {"why_not": "there is one part"}), clusters=5)]),
        "On one held-out part of calls, MMER leads by 1.4 points of pooled UA over RoBERTa; with 5 dialogues this "
        "cannot be told apart from luck, even for these trained models (p = 0.500), and there are too few for "
        "an interval.",
    ),
    "one seed": (
        report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.05, 0.03, 0.07, 0.001, ONE)]),
        "On calls, MMER leads by 5.0 points of pooled UA over RoBERTa (p = 0.001, 95 % interval +3.0 to +7.0), which "
        "holds for these trained models only, as there is one seed.",
    ),
    "one seed, tie": (
        report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.014, -0.011, 0.039, 0.2, ONE)]),
        "On calls, MMER leads by 1.4 points of pooled UA over RoBERTa; with 25 dialogues this cannot be told apart "
        "from luck, even for these trained models: MMER may be up to 3.9 points ahead or up to 1.1 points behind.",
    ),
    "at chance": (
        report([system("MMER", 0.271), system("RoBERTa", 0.26)],
               [pair(MMER, ROBERTA, 0.011, -0.02, 0.04, 0.4, ONE)]),
        "On calls, no system has been shown to be better than chance (a UA of 25.0 %): the best, MMER, reaches 27.1 % "
        "(95 % interval 23.1 to 31.1, these models).",
    ),
    "hole": (
        report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.05, 0.03, 0.07, 0.001, {"why_not": f"mmer: {INCOMPLETE}"})],
               holes=(Hole("mmer", 3, "not trained"), Hole("mmer", 4, "not trained"))),
        "2 folds or runs are missing; with what is there of calls, MMER leads by 5.0 points of pooled UA over RoBERTa "
        "(p = 0.001, 95 % interval +3.0 to +7.0), which holds for these trained models only, as folds are missing.",
    ),
    "imported": (
        report([system("Theirs", 0.65, imported="theirs.csv"), MMER],
               [pair(system("Theirs", 0.65), MMER, 0.036, 0.01, 0.06, 0.01, {"why_not": f"theirs: {IMPORTED}"})]),
        "On calls, Theirs (imported) leads by 3.6 points of pooled UA over MMER (p = 0.010, 95 % interval +1.0 to "
        "+6.0), which holds for these trained models only, as one is imported.",
    ),
    "other corpus": (
        report([system("MMER", 0.614, again=0.08)], corpus="demo-synthetic", baselines=LOUDNESS),
        "On demo-synthetic, MMER reaches a UA of 61.4 % (95 % interval 53.4 to 69.4, trained again), 36.4 points above "
        "chance and 13.4 above the best cheap baseline, loudness.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "sentence"), SITUATIONS.values(), ids=SITUATIONS)
def test_the_sentence_of_each_situation(content, sentence):
    assert answer(content) == sentence


@pytest.mark.parametrize(("content", "sentence"), SITUATIONS.values(), ids=SITUATIONS)
def test_the_order_of_systems_and_of_a_pair_does_not_change_the_sentence(content, sentence):
    turned = tuple(entry.reversed() for entry in content.pairs)
    assert answer(replace(content, systems=content.systems[::-1], pairs=turned)) == sentence


def test_a_difference_that_is_shown_as_zero_is_not_called_none():
    content = report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.0002, -0.02, 0.021, 0.97, ONE)])
    assert answer(content) == (
        "On calls, MMER and RoBERTa are less than 0.1 points of pooled UA apart; with 25 dialogues this cannot be told "
        "apart from luck, even for these trained models: MMER may be up to 2.1 points ahead or up to 2.0 points "
        "behind."
    )


def test_the_best_of_three_is_compared_with_the_second_and_with_a_reference_if_there_is_one():
    third = system("wav2vec2", 0.5)
    systems = [MMER, ROBERTA, third]
    pairs = [pair(MMER, ROBERTA, 0.014, 0.001, 0.026, 0.09, ONE), pair(MMER, third, 0.11, 0.08, 0.14, 0.001, ONE),
             pair(ROBERTA, third, 0.1, 0.07, 0.13, 0.001, ONE)]  # fmt: skip
    assert answer(report(systems, pairs)) == (
        "On calls, MMER leads by 1.4 points of pooled UA over RoBERTa, the second of 3 systems; with 25 dialogues this "
        "cannot be told apart from luck, even for these trained models (p = 0.090, corrected for 3 pairs)."
    )
    against = report(systems, [pairs[1].reversed(), pairs[2].reversed()], against="wav2vec2")
    assert answer(against).startswith(
        "On calls, MMER leads by 11.0 points of pooled UA over wav2vec2 (the reference) (p = "
    )


def test_a_single_dialogue_says_nothing_about_others():
    alone = replace(pair(MMER, ROBERTA, 0.014, None, None, None, ONE), clusters=1)
    assert answer(report([MMER, ROBERTA], [alone])) == (
        "On calls, MMER leads by 1.4 points of pooled UA over RoBERTa; a single dialogue cannot tell this from luck."
    )


def test_utterances_of_unknown_dialogues_are_not_called_dialogues():
    content = report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.014, -0.01, 0.04, 0.3, ONE)])
    content = replace(content, held_out=replace(content.held_out, dialogues=None))
    assert "with 25 utterances of unknown dialogues this cannot be told apart" in answer(content)


def test_systems_without_a_common_utterance_are_not_compared():
    assert answer(report([MMER, ROBERTA])) == (
        "On calls, MMER has the highest UA (61.4 %), but it shares no utterance with RoBERTa, so that the two cannot "
        "be compared."
    )


def test_a_baseline_that_is_as_good_as_the_best_system_is_in_the_sentence():
    loud = Baselines((Baseline("loudness", 0.7, 0.7, None),))
    content = report([MMER, ROBERTA], [pair(MMER, ROBERTA, 0.05, 0.03, 0.07, 0.001, ONE)], baselines=loud)
    assert answer(content).endswith("as there is one seed; loudness alone reaches 70.0 %.")
    assert answer(report([MMER], baselines=loud)) == (
        "On calls, MMER reaches a UA of 61.4 % (95 % interval 57.4 to 65.4, these models), 36.4 points above chance; "
        "loudness alone reaches 70.0 %."
    )


def test_a_single_system_at_chance_is_not_praised():
    assert answer(report([system("MMER", 0.271)])) == (
        "On calls, MMER has not been shown to be better than chance (a UA of 25.0 %): it reaches 27.1 % (95 % interval "
        "23.1 to 31.1, these models)."
    )


def test_a_system_below_chance_and_one_without_an_interval_are_described_as_they_are():
    assert answer(report([system("MMER", 0.22, None)])) == (
        "On calls, MMER reaches a UA of 22.0 %, 3.0 points below chance; there are too few dialogues to say how "
        "certain that is."
    )


def test_no_system_is_at_chance_only_if_none_is_better():
    uncertain, certain = system("MMER", 0.4, again=0.2), system("RoBERTa", 0.38)
    content = report([uncertain, certain], [pair(uncertain, certain, 0.02, -0.02, 0.06, 0.4, ONE)])
    assert answer(content).startswith("On calls, MMER leads by 2.0 points of pooled UA over RoBERTa;")


def test_the_sentence_comes_first_in_every_format():
    content = replace(report_example(), answer="It is so.")
    assert next(iter(content.as_json().items())) == ("answer", "It is so.")
    assert markdown(content).splitlines()[2] == "**It is so.**"
