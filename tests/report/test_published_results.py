"""The paper's Table 1: every row, and which of ours stands beside it."""

import re
from dataclasses import replace

import pytest
from helpers.report_example import report_example

from mmer_pipeline.report.published_results import TABLE_1, comparable, table_1
from mmer_pipeline.report.trained_runs import TrainedRun
from mmer_pipeline.settings import Settings

LABELS = ["happy", "angry", "neutral", "sad"]


def system(name, **settings):
    values = Settings(fold=1, **settings)
    run = TrainedRun(name, 1, vars(values), inputs={}, folds=())
    return replace(report_example().systems[0], name=name, title=f"title of {name}", system=values.system, runs=(run,))


def beside(*systems):
    return {row.method: row.ours for row in table_1(systems) if row.ours}


@pytest.mark.real
def test_the_figures_are_those_of_the_paper(shared):
    text = (shared / "paper" / "mmer.txt").read_text()
    table = text[text.index("Table 1: Emotion") : text.index("5. Conclusion")]
    rows = re.findall(r"\| (\d+)-fold\s*\| (.*?) \| ([\d.]+) ?%", table)
    printed = [(int(folds), re.sub(r"[^at,]", "", modality), float(wa)) for folds, modality, wa in rows]
    assert printed == [(row.folds, row.modality, round(100 * row.wa, 2)) for row in TABLE_1]


def test_each_system_of_ours_stands_beside_its_published_row():
    found = beside(
        system("w", system="wav2vec2", alpha=0.0),
        system("r", system="roberta", alpha=0.0, finetune_text=True),
        system("c", system="cai"),
        system("m0", alpha=0.0),
    )
    assert found == {
        "wav2vec 2.0": "w",
        "RoBERTa (base)": "r",
        "Cai et al. [28], run by the paper's authors": "c",
        "MMER (α = 0)": "m0",
    }


def test_the_alpha_that_weighs_as_the_authors_code_does_is_preferred():
    assert beside(system("a", alpha=0.1), system("b", alpha=0.2)) == {"title of a": "a", "MMER (α = 0.1)": "b"}
    assert beside(system("a", alpha=0.1)) == {"MMER (α = 0.1)": "a"}
    assert beside(system("a", alpha=0.1, test_transcripts="gold")) == {"MMER (α = 0.1)": "a"}


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
    (row,) = [row for row in table_1([system("x", **{"gate": False, "alpha": 0.7} | settings)]) if row.ours]
    assert row.modality == modality


def test_ablations_and_frozen_text_have_rows_of_their_own_in_their_group():
    rows = table_1([system("frozen", system="roberta", alpha=0.0), system("no-gate", gate=False)])
    ours = [row for row in rows if row.ours]
    shown = [(row.group, row.method, row.modality, row.published_wa, row.ours) for row in ours]
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
