"""The report's content: three numbers kept apart, pooled values, pairs, holes, and the notes on unknowns."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.report_example import report_example
from helpers.run_example import EPOCHS, LABELS, TRUTH, write_fold, write_import, write_run
from sklearn.metrics import accuracy_score, recall_score

from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import encoder_name
from mmer_pipeline.report.build_report import _set_apart, _speakers, make_report
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.lengths import lengths_of
from mmer_pipeline.report.notes import UNKNOWN_DIALOGUES
from mmer_pipeline.report.report_content import ConfidentError, Encoders, Hole, LengthBin
from mmer_pipeline.report.run_results import HeldOut
from mmer_pipeline.report.utterance_facts import UtteranceFacts
from mmer_pipeline.scoring.metrics import HEADLINE, rates


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "r")


def only(report):
    assert len(report.systems) == 1
    return report.systems[0]


def test_final_is_the_last_epoch_and_oracle_the_best_one(run):
    system = only(make_report([run]))
    final, oracle = system.selections.final, system.selections.oracle
    assert [row.epoch for row in final.folds] == [3, 3, 3]
    assert [row.epoch for row in oracle.folds] == [1, 2, 2]  # the earliest of equals
    assert [row.wa for row in final.folds] == [0.5, 5 / 6, 1.0]
    assert oracle.summary["wa"].mean == 1.0
    assert oracle.summary["wa"].interval_95 is None
    assert system.oracle_gap.wa == pytest.approx(1 - np.mean([0.5, 5 / 6, 1.0]))


def test_mean_and_sample_deviation_are_over_folds_and_pooled_is_over_utterances(run, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.report.comparisons.FEWEST_CLUSTERS", 2)
    summary = only(make_report([run])).selections.final.summary
    truth = np.concatenate([TRUTH[n] for n in TRUTH])
    predicted = np.concatenate([EPOCHS[n][-1] for n in TRUTH])
    assert summary["wa"].mean == pytest.approx(np.mean([0.5, 5 / 6, 1.0]))
    assert summary["wa"].sd == pytest.approx(np.std([0.5, 5 / 6, 1.0], ddof=1))
    assert summary["wa"].pooled == pytest.approx(accuracy_score(truth, predicted))
    assert summary["ua"].pooled == pytest.approx(recall_score(truth, predicted, average="macro"))
    low, high = summary["wa"].interval_95
    assert low < summary["wa"].pooled < high


def test_without_a_validation_part_there_is_no_validated_number(run):
    system = only(make_report([run]))
    assert system.selections.validated is None
    assert system.curves[0].validated_epoch is None
    assert system.curves[0].validation_wa is None


def test_validated_takes_the_epoch_that_the_validation_part_prefers(tmp_path):
    validation = [([0, 1], [0, 0]), ([0, 1], [0, 1]), ([0, 1], [1, 0])]
    write_fold(tmp_path / "r", 1, TRUTH[1], EPOCHS[1], validation, validation="0.1")
    system = only(make_report([tmp_path / "r"]))
    chosen = system.selections.validated.folds[0]
    assert (chosen.epoch, chosen.wa) == (2, 0.75)
    curve = system.curves[0]
    assert (curve.validation_wa, curve.validated_epoch, curve.oracle_epoch) == ((0.5, 1.0, 0.0), 2, 1)


def test_seeds_are_pooled_and_an_utterance_of_several_seeds_is_one(tmp_path):
    runs = [write_run(tmp_path / "r"), write_run(tmp_path / "r-seed2", seed=2, flipped=2)]
    system = only(make_report(runs))
    assert (system.name, system.seeds, system.utterances) == ("r", (1, 2), 12)
    final = system.selections.final
    assert [(row.seed, row.fold) for row in final.folds] == [(s, k) for s in (1, 2) for k in (1, 2, 3)]
    values = [0.5, 5 / 6, 1.0, 0.5, 3 / 6, 1.0]
    assert final.summary["wa"].mean == pytest.approx(np.mean(values))
    assert final.summary["wa"].sd == pytest.approx(np.std(values, ddof=1))
    assert final.summary["wa"].pooled == pytest.approx((9 + 7) / 24)
    assert sum(map(sum, system.confusion)) == 24
    assert [row.utterances for row in system.speakers] == [4, 6, 2]
    assert [entry.run for entry in system.runs] == ["r", "r-seed2"]


def test_the_rates_of_all_speakers_are_those_of_each():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 4, (2, 400))
    names = np.tile([f"u{number}" for number in range(200)], 2)  # two seeds
    speakers = np.tile(generator.choice(["", "s2", "s10", "s1"], 200), 2)
    labels = ["happy", "angry", "neutral", "sad"]
    rows = _speakers(HeldOut(tuple(names), (1,) * 400, tuple(speakers), ("",) * 400, truth, predicted, None), 4)
    assert [row.speaker for row in rows] == ["s1", "s2", "s10"]  # one that is unknown has no row
    for row in rows:
        where = speakers == row.speaker
        expected = rates(truth[where], predicted[where], labels)
        assert (row.wa, row.ua) == (pytest.approx(expected["wa"]), pytest.approx(expected["ua"]))
        assert row.utterances == where.sum() / 2


def test_a_pair_is_compared_on_shared_utterances_each_counting_once(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "a-seed2", seed=2, flipped=2)]
    runs.append(write_run(tmp_path / "b", alpha=0.5, flipped=2, folds=(1, 2)))
    report = make_report(runs)
    (pair,) = report.pairs
    assert (pair.first, pair.second, pair.utterances, pair.clusters) == ("a", "b", 10, 5)
    # Of ten utterances the first gets 7 and 5 right (6 in the mean), the second 5.
    assert pair.metrics["wa"].difference == pytest.approx(0.1)
    assert 0 < pair.metrics["wa"].p <= pair.metrics["wa"].p_holm <= 1
    (note,) = [note for note in report.notes if note.startswith("No interval is given for trained models: 5 dialogues")]
    assert "with 5 dialogues they cannot fall below 0.062" in note
    assert pair.metrics["wa"].p == 1.0  # one dialogue alone differs, and swapping it is as extreme


def test_few_dialogues_of_one_system_are_said_without_any_pair(tmp_path, run):
    too_few = (
        "No interval is given for trained models: 6 dialogues are too few for a bootstrap, which needs at least 20."
    )
    assert too_few in make_report([run]).notes
    write_fold(tmp_path / "one", 1, [0, 1], [[0, 1]])
    assert "A single dialogue gives no interval and no p-value." in make_report([tmp_path / "one"]).notes


def test_a_fold_that_lacks_a_class_is_said(tmp_path):
    run = write_run(tmp_path / "r")
    write_fold(run, 3, [1, 1], [[1, 0]])
    notes = make_report([run]).notes
    assert "r: fold 3 has no happy; the UA of such a fold averages fewer classes." in notes


def test_unknown_dialogues_and_an_unknown_choice_of_the_epoch_are_said(tmp_path, run):
    notes = make_report([], [Import(write_import(tmp_path / f"{name}.csv"), name) for name in ("A", "B")]).notes
    assert f"A, B: {UNKNOWN_DIALOGUES}" in notes
    assert "A, B: imported; how its epoch was chosen is unknown." in notes
    notes = make_report([run], [Import(write_import(tmp_path / "c.csv"), "C")]).notes
    assert "dialogues are unknown" not in " ".join(notes)
    assert "C: imported; how its epoch was chosen is unknown." in notes


def test_the_asr_models_of_automatic_transcripts_are_named_with_their_word_error_rate(tmp_path):
    tiny = {"asr_model": "embedded/moonshine-tiny", "wer": 0.07314, "utterances": 5360}
    other = {"asr_model": "/models/whisper", "wer": None, "utterances": 0}
    runs = [
        write_run(tmp_path / "before"),  # its facts do not know of it
        write_run(tmp_path / "gold", alpha=0.2, facts={"asr_transcripts": None}),
        write_run(tmp_path / "a", transcripts="asr", facts={"asr_transcripts": tiny}),
        write_run(tmp_path / "b", test_transcripts="asr", facts={"asr_transcripts": tiny}),
        write_run(tmp_path / "c", transcripts="asr", alpha=0.3, facts={"asr_transcripts": other}),
    ]
    assert [note for note in make_report(runs).notes if "utomatic transcripts" in note] == [
        "Automatic transcripts are those of embedded/moonshine-tiny; their word error rate is 7.31 % over 5,360 "
        "utterances.",
        "Automatic transcripts are those of whisper; their word error rate is unknown.",
    ]


def test_holm_s_correction_is_over_all_pairs_of_a_metric(tmp_path):
    runs = [
        write_run(tmp_path / name, alpha=alpha, flipped=n)
        for n, (name, alpha) in enumerate([("a", 0.1), ("b", 0.2), ("c", 0.3)])
    ]
    pairs = make_report(runs).pairs
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    smallest = min(pairs, key=lambda pair: pair.metrics["wa"].p).metrics["wa"]
    assert smallest.p_holm == pytest.approx(min(1, 3 * smallest.p))


def test_systems_without_a_common_utterance_are_no_pair(tmp_path):
    runs = [write_run(tmp_path / "a", folds=(1,)), write_run(tmp_path / "b", alpha=0.5, folds=(2,))]
    assert make_report(runs).pairs == ()


def test_missing_folds_and_runs_are_holes(tmp_path):
    report = make_report([write_run(tmp_path / "a", folds=(1, 3)), tmp_path / "b"], failures={"b": {None: "no memory"}})
    assert report.holes == (
        Hole("a", 2, "not trained: mmer-pipe train --run a --fold 2"),
        Hole("b", None, "no memory"),
    )


def test_a_report_says_how_its_numbers_were_made(run):
    system = only(make_report([run]))
    assert system.runs[0].settings["epochs"] == 100
    assert "fold" not in system.runs[0].settings
    assert system.runs[0].inputs == {
        "labels": LABELS,
        "manifest": "m",
        "text_features": "t",
        "speech_features": "s",
    }
    fold = system.runs[0].folds[1]
    assert (fold.fold, fold.training_seconds, fold.utterances_per_second) == (2, 4.5, 20.0)
    assert fold.facts["device"] == "cpu"
    assert fold.gradient_norms is not None
    assert [norms.mean for norms in fold.gradient_norms] == [4.0, 3.0, 2.0]
    assert system.encoders == Encoders("roberta-base", "facebook/wav2vec2-base")
    assert system.title == "MMER (α = 0.1)"
    assert system.curves[1].ce == (1.0, 1.0, 1.0)
    assert system.curves[1].ctc == (2.0, 2.0, 2.0)
    assert system.curves[1].wa == pytest.approx([2 / 6, 1.0, 5 / 6])


def test_a_system_that_hears_no_recording_names_no_speech_encoder(tmp_path):
    system = only(make_report([write_run(tmp_path / "r", system="roberta", alpha=0.0)]))
    assert system.encoders == Encoders("roberta-base", None)
    assert system.spelling is None
    assert system.curves[0].ctc is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../shared/models/m", "m"),
        ("/models/m", "m"),
        ("models/big/m", "m"),
        ("a/b", "a/b"),
        ("roberta-base", "roberta-base"),
    ],
)
def test_an_encoder_is_named_by_its_hub_id_or_its_directory(name, shown):
    assert encoder_name(name) == shown


def test_the_same_runs_give_the_same_report_and_it_is_json(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)]
    texts = [json.dumps(make_report(runs).as_json(), allow_nan=False) for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_schema_of_report_json_is_kept(tmp_path):
    """Programs read it: names and order of all keys."""
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", alpha=0.5, flipped=2)]
    value = make_report(runs, failures={"b": {9: "failed"}}).as_json()
    system = value["systems"][0]
    assert {
        "report": list(value),
        "system": list(system),
        "fold": list(system["selections"]["final"]["folds"][0]),
        "summary": list(system["selections"]["final"]["summary"]["wa"]),
        "trained again": list(value["pairs"][0]["metrics"]["ua"]["trained_again"]),
        "curve": list(system["curves"][0]),
        "error": list(system["errors"][0]),
        "run": list(system["runs"][0]),
        "job": list(system["runs"][0]["folds"][0]),
        "pair": list(value["pairs"][0]),
        "difference": list(value["pairs"][0]["metrics"]["ua"]),
        "row": list(value["table_1"]["rows"][0]),
        "hole": list(value["holes"][0]),
    } == {
        "report": ["answer", "corpus", "labels", "systems", "pairs", "table_1", "holes", "notes", "validated_pairs",
                   "other_corpora", "against", "held_out", "baselines"],
        "system": ["name", "title", "system", "imported", "seeds", "encoders", "folds_expected", "utterances",
                   "selections", "oracle_gap", "per_class", "confusion", "speakers", "reliability", "lengths",
                   "curves", "spelling", "errors", "runs", "gates", "fused"],
        "fold": ["seed", "fold", "held_out", "epoch", "utterances", "wa", "ua", "wf1", "macro_f1"],
        "summary": ["mean", "sd", "pooled", "interval_95", "trained_again"],
        "trained again": ["value", "interval_95", "df", "p", "p_holm", "unit", "units", "seeds", "units_needed",
                          "seeds_needed", "why_not"],
        "curve": ["seed", "fold", "epochs", "ce", "ctc", "wa", "ua", "validation_wa", "oracle_epoch",
                  "validated_epoch"],
        "error": ["utterance_id", "fold", "speaker", "truth", "prediction", "probabilities", "transcript"],
        "run": ["run", "seed", "settings", "inputs", "folds", "speech_encoder"],
        "job": ["fold", "held_out", "utterances", "facts", "training_seconds", "utterances_per_second",
                "gradient_norms"],
        "pair": ["first", "second", "utterances", "clusters", "metrics"],
        "difference": ["difference", "interval_95", "p", "p_holm", "trained_again"],
        "row": ["group", "method", "folds", "modality", "published", "kind", "remark", "not_rebuilt", "ours",
                "same_kind", "difference", "paper_alpha"],
        "hole": ["run", "fold", "why"],
    }  # fmt: skip
    assert list(system["encoders"]) == ["text", "speech"]
    assert list(system["selections"]) == ["final", "validated", "oracle"]
    assert list(system["reliability"]["bins"][0]) == ["lower", "upper", "utterances", "confidence", "accuracy"]


def test_nothing_to_report_says_what_to_give():
    with pytest.raises(UserError, match="--run, or a file of predictions with --import"):
        make_report([])


def test_the_most_confident_errors_come_first_and_each_utterance_once(tmp_path):
    runs = [write_run(tmp_path / "r"), write_run(tmp_path / "r-seed2", seed=2)]
    errors = only(make_report(runs)).errors
    assert [entry.utterance_id for entry in errors] == ["1u1", "1u2", "2u4"]
    assert errors[0] == ConfidentError("1u1", 1, "s1", "happy", "sad", {"happy": 0.2, "sad": 0.8}, transcript=None)


def test_errors_by_length_are_in_bins_of_about_as_many_utterances():
    names = tuple(f"u{i}" for i in range(12))
    truth = np.zeros(24, dtype=int)
    predicted = np.array([0] * 10 + [1] * 2 + [0] * 9 + [1] * 3)  # the longest are wrong, in two seeds
    rows = HeldOut(names * 2, (1,) * 24, ("s",) * 24, ("d",) * 24, truth, predicted, None)
    bins = lengths_of(rows, UtteranceFacts(seconds={name: float(number) for number, name in enumerate(names, start=1)}))
    assert [entry.utterances for entry in bins] == [2, 2, 2, 2, 2, 2]
    assert [entry.error_rate for entry in bins] == [0, 0, 0, 0, 0.25, 1]
    assert (bins[0].from_seconds, bins[-1].to_seconds) == (1.0, 12.0)
    same = lengths_of(rows, UtteranceFacts(seconds=dict.fromkeys(names, 2.0)))
    assert same == (LengthBin(2.0, 2.0, 12, pytest.approx(5 / 24)),)
    assert lengths_of(rows, UtteranceFacts(seconds={"u0": 1.0})) is None


def test_every_metric_has_a_summary(run):
    assert tuple(only(make_report([run])).selections.final.summary) == HEADLINE


def test_systems_of_the_same_title_are_told_apart_by_their_names():
    example = report_example().systems[0]
    rows = [replace(example, name=name, title=title) for name, title in (("a", "MMER"), ("b", "MMER"), ("c", "cai"))]
    assert [row.title for row in _set_apart(rows)] == ["MMER [a]", "MMER [b]", "cai"]
