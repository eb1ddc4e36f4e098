"""The paper's Table 1: every row, the kind of its figure, and which of our systems and figures belongs to it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from helpers.report_example import report_example, without_last_fold

from mmer_pipeline.fusion import Fused
from mmer_pipeline.report.paper_table import table_1 as table_1_of
from mmer_pipeline.report.published_figures import CERTAINTY, TABLE_1, Fact, PublishedKind
from mmer_pipeline.report.published_results import comparable, table_1, with_ours
from mmer_pipeline.report.table_1_content import Table1Row
from mmer_pipeline.report.trained_runs import TrainedRun
from mmer_pipeline.settings import Settings

LABELS = ["happy", "angry", "neutral", "sad"]


def system(name, **settings):
    values = Settings(fold=1, **settings)
    run = TrainedRun(name, 1, vars(values), inputs={}, folds=())
    return replace(report_example().systems[0], name=name, title=f"title of {name}", system=values.system, runs=(run,))


def rows_of(*systems):
    return table_1(systems, comparable=False).rows


def beside(*systems):
    return {row.method: row.ours for row in rows_of(*systems) if row.ours}


@pytest.mark.real
def test_the_figures_are_those_of_the_paper(shared):
    text = (shared / "paper" / "mmer.txt").read_text()
    table = text[text.index("Table 1: Emotion") : text.index("5. Conclusion")]
    rows = re.findall(r"\| (\d+)-fold\s*\| (.*?) \| ([\d.]+) ?%", table)
    printed = [(int(folds), re.sub(r"[^at,]", "", modality), float(wa)) for folds, modality, wa in rows]
    assert printed == [(row.folds, row.modality, round(100 * row.figure, 2)) for row in TABLE_1]


def test_each_system_of_ours_stands_beside_its_published_row():
    found = beside(
        system("w", system="wav2vec2", alpha=0.0),
        system("r", system="roberta", alpha=0.0, finetune_text=True),
        system("c", system="cai", alpha=0.2),
        system("m0", alpha=0.0),
    )
    assert found == {
        "wav2vec 2.0": "w",
        "RoBERTa (base)": "r",
        "Cai et al. [28], run by the paper's authors": "c",
        "MMER (α = 0)": "m0",
    }


def test_a_row_takes_the_alpha_that_weighs_as_the_authors_code_does_and_no_other():
    """An α of 0.1 is the paper's 0.05, which no row has; it once took the row of 0.1."""
    assert beside(system("a", alpha=0.1), system("b", alpha=0.2)) == {"title of a": "a", "MMER (α = 0.1)": "b"}
    assert beside(system("a", alpha=0.1)) == {"title of a": "a"}
    assert beside(system("c", system="cai", alpha=0.1)) == {"title of c": "c"}
    assert beside(system("a", alpha=0.02, test_transcripts="gold")) == {"MMER (α = 0.01)": "a"}


def test_of_two_systems_of_a_row_it_takes_the_one_that_is_more_like_the_authors_code():
    paper, reference = system("a", alpha=0.2), system("b", alpha=0.2, text_self_attention=True, spec_augment=False)
    for order in ((paper, reference), (reference, paper)):
        assert beside(*order)["MMER (α = 0.1)"] == "b"


def test_a_row_of_ours_names_the_alpha_of_the_paper():
    paper = {row.ours: row.paper_alpha for row in rows_of(system("a", alpha=0.1), system("b", alpha=0.0)) if row.ours}
    assert paper == {"a": 0.05, "b": None}


@pytest.mark.parametrize(
    ("method", "metric", "selection", "split", "name"),
    [
        ("Wu et al. [31]", "wa", "unknown", "unknown", "WA"),
        ("Wang et al. [35]", "ua", "oracle", "random", "oracle UA"),
        ("Chen et al. [38]", "unknown", "oracle", "session", "oracle"),
        ("Makiuchi et al. [40]", "unknown", "final", "session", "final"),
        ("Padi et al. [39]", "unknown", "unknown", "unknown", "unknown"),
        ("Pappagari et al. [36]", "f1", "unknown", "unknown", "F-score"),
        ("RoBERTa (base)", "wa", "unknown", "session", "WA"),
        ("MMER (α = 0.1)", "ua", "oracle", "session", "oracle UA"),
    ],
)
def test_the_kind_of_a_published_figure(method, metric, selection, split, name):
    (kind,) = [row.kind for row in TABLE_1 if row.method == method]
    assert (kind.metric.value, kind.selection.value, kind.split.value, kind.name) == (metric, selection, split, name)


def test_every_known_fact_has_a_source_and_a_certainty_and_no_other_has():
    facts = [fact for row in TABLE_1 for fact in (row.kind.metric, row.kind.selection, row.kind.split)]
    assert {fact.known for fact in facts} == {True, False}
    for fact in facts:
        assert fact.certainty == (CERTAINTY[fact.source] if fact.known else None)
        assert (fact.source is not None) == fact.known


def of_kind(metric, selection, split="session"):
    kind = PublishedKind(Fact(metric), Fact(selection), Fact(split))
    return Table1Row("Proposed", "MMER", 5, "a,t", 0.5, kind)


def test_ours_of_the_same_kind_has_its_metric_and_selection():
    ours = report_example().systems[0]
    for metric in ("wa", "ua"):
        best = [max(getattr(curve, metric)) for curve in ours.curves]
        oracle = with_ours(of_kind(metric, "oracle"), ours, comparable=True)
        assert oracle.same_kind.mean == pytest.approx(np.mean(best))
        assert oracle.same_kind.sd == pytest.approx(np.std(best, ddof=1))
        assert oracle.difference == pytest.approx(np.mean(best) - 0.5)
        final = with_ours(of_kind(metric, "final"), ours, comparable=True)
        summary = ours.selections.final.summary[metric]
        assert (final.same_kind.mean, final.same_kind.sd) == pytest.approx((summary.mean, summary.sd))
        assert oracle.same_kind.mean > final.same_kind.mean
    assert with_ours(of_kind("wa", "oracle"), ours, comparable=True).same_kind.mean == pytest.approx(
        ours.selections.oracle.summary["wa"].mean
    )


@pytest.mark.parametrize(
    "kind", [("unknown", "oracle"), ("ua", "unknown"), ("ua", "oracle", "unknown"), ("ua", "oracle", "random"),
             ("f1", "final"), ("ua", "validated")],
)  # fmt: skip
def test_there_is_no_figure_of_a_kind_that_is_unknown_or_not_ours(kind):
    row = with_ours(of_kind(*kind), report_example().systems[0], comparable=True)
    assert (row.ours, row.same_kind, row.difference) == ("mmer", None, None)


def test_folds_by_speaker_are_not_of_the_kind_of_folds_by_session():
    ours = report_example().systems[0]
    by_speaker = replace(
        ours, runs=tuple(replace(run, settings={**run.settings, "folds": "speaker"}) for run in ours.runs)
    )
    assert with_ours(of_kind("ua", "oracle"), by_speaker, comparable=True).same_kind is None
    assert with_ours(of_kind("ua", "oracle", "speaker"), by_speaker, comparable=True).same_kind is not None


def test_nothing_is_subtracted_on_another_corpus_or_where_folds_are_missing():
    ours = report_example().systems[0]
    assert with_ours(of_kind("ua", "oracle"), ours, comparable=False).difference is None
    assert with_ours(of_kind("ua", "oracle"), without_last_fold(ours), comparable=True).difference is None


OTHER_TEXTS = [
    *({"text_disjoint": True}, {"annotations": "keep"}, {"annotations": "mask"}),
    *({"transcripts": "asr"}, {"transcripts": "none"}, {"test_transcripts": "asr"}),
]


@pytest.mark.parametrize("change", OTHER_TEXTS)
def test_other_texts_than_the_paper_s_take_none_of_its_rows(change):
    assert beside(system("m", alpha=0.2, **change)) == {"title of m": "m"}


def test_what_stands_in_the_text_is_nothing_to_a_system_that_reads_none():
    assert beside(system("w", system="wav2vec2", alpha=0.0, annotations="keep")) == {"wav2vec 2.0": "w"}


@pytest.mark.parametrize(
    ("settings", "modality"),
    [
        ({"pooled": "text", "alpha": 0.0}, "t"),
        ({"pooled": "text"}, "a,t"),
        ({"pooled": "speech", "alpha": 0.0}, "a"),
        ({"pooled": "fused", "alpha": 0.0}, "a,t"),
        ({"system": "cai"}, "a,t"),
    ],
)
def test_the_modality_is_what_reaches_the_heads(settings, modality):
    (row,) = [row for row in rows_of(system("x", **{"gate": False, "alpha": 0.7} | settings)) if row.ours]
    assert row.modality == modality


def test_ablations_and_frozen_text_have_rows_of_their_own_in_their_group():
    rows = rows_of(system("frozen", system="roberta", alpha=0.0), system("no-gate", gate=False))
    ours = [row for row in rows if row.ours]
    shown = [(row.group, row.method, row.modality, row.published, row.ours) for row in ours]
    assert shown == [
        ("Baselines", "title of frozen", "t", None, "frozen"),
        ("Proposed", "title of no-gate", "a,t", None, "no-gate"),
    ]
    assert [row.folds for row in ours] == [5, 5]
    assert len(rows) == len(TABLE_1) + 2
    assert [row.group for row in rows] == sorted((row.group for row in rows), key=[row.group for row in TABLE_1].index)


def test_only_iemocap_in_the_paper_s_classes_is_compared():
    assert comparable("iemocap", LABELS, 5531)
    assert not comparable("ravdess", LABELS, 5531)
    assert not comparable("iemocap", LABELS[:3], 5531)
    assert not comparable("iemocap", LABELS, 320)  # as the demo's, which only has IEMOCAP's shape


def test_a_row_takes_an_honest_run_and_its_figure_of_the_same_kind_from_random_folds():
    honest, shared = system("wang", system="wang"), system("wang-random", system="wang", folds="random")
    (row,) = (row for row in rows_of(shared, honest) if row.method == "Wang et al. [35]")
    assert row.ours == "wang"
    assert row.same_kind.mean == pytest.approx(np.mean([max(curve.ua) for curve in shared.curves]))
    assert all(entry.ours != "wang-random" for entry in rows_of(shared, honest))
    (alone,) = (row for row in rows_of(honest) if row.method == "Wang et al. [35]")
    assert (alone.ours, alone.same_kind) == ("wang", None)


def test_a_row_that_is_a_fusion_takes_the_fusion_of_its_systems():
    speech, text = system("makiuchi-speech", system="makiuchi-speech"), system("makiuchi-text", system="makiuchi-text")
    fused = Fused(("makiuchi-speech", "makiuchi-text"), ("speech", "text"), ((0.6, 0.4),), None)
    both = replace(speech, name="both", runs=(), system=None, fused=fused)
    other = replace(both, name="other", fused=replace(fused, members=("makiuchi-speech", "mmer")))
    assert beside(speech, text, system("mmer"), both, other)["Makiuchi et al. [40]"] == "both"


def test_rows_without_a_counterpart_say_why():
    assert {row.method: row.not_rebuilt for row in TABLE_1 if row.not_rebuilt}.keys() == {
        "Sajjad et al. [32]",
        "Liu et al. [34]",
        "Peng et al. [37]",
    }
    report = replace(report_example(), table_1=table_1([], comparable=False))
    assert "Not rebuilt. Sajjad et al. [32]: " in " ".join(table_1_of(report).notes)
