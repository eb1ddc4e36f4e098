"""The acoustic gate of a system's utterances: hand-computed figures, and what is listed as highest and lowest."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.gate_example import gates_example, with_gates, write_gates
from helpers.report_example import TRANSCRIPTS, report_example
from helpers.run_example import LABELS, write_import, write_run

from mmer_pipeline import paths
from mmer_pipeline.report import single_system_tables
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.gate_content import ClassGates, GatedUtterance
from mmer_pipeline.report.gates import EXTREMES, gates_of
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.report_page import html
from mmer_pipeline.report.run_results import HeldOut
from mmer_pipeline.report.table_rendering import as_markdown
from mmer_pipeline.report.utterance_facts import UtteranceFacts
from mmer_pipeline.report.wording import GATE_COMPARISON, GATE_MEANING, gate, signed_gate


def held_out(gates, names=None, folds=None, truth=None, predicted=None, probabilities=None):
    """Rows with these gates; without more, they are `u0`, `u1` … of fold 1, happy and recognised."""
    count = len(gates)
    truth = np.array(truth or [0] * count)
    predicted = truth if predicted is None else np.array(predicted)
    return HeldOut(
        utterance_ids=tuple(names or (f"u{number}" for number in range(count))),
        folds=tuple(folds or [1] * count),
        speakers=("s",) * count,
        clusters=("d",) * count,
        truth=truth,
        predicted=predicted,
        probabilities=np.eye(2)[predicted] if probabilities is None else np.array(probabilities),
        gates=np.array(gates),
    )


def of(rows, **transcripts):
    return gates_of(rows, LABELS, UtteranceFacts(transcripts=transcripts))


def names(utterances):
    return [entry.utterance_id for entry in utterances]


def test_mean_and_percentiles_of_a_class_are_the_hand_computed_ones():
    rows = held_out([0.8, 0.1, 0.2, 0.6, 0.3, 0.4], truth=[0, 1, 0, 0, 1, 0])
    found = of(rows).per_class
    # happy: 0.2, 0.4, 0.6, 0.8. The 10th percentile is at place 0.1 · 3 = 0.3: 0.2 + 0.3 · 0.2.
    assert found["happy"] == ClassGates(4, *map(pytest.approx, (0.5, 0.26, 0.5, 0.74)))
    # sad: 0.1, 0.3.
    assert found["sad"] == ClassGates(2, *map(pytest.approx, (0.2, 0.12, 0.2, 0.28)))


def test_a_class_of_one_utterance_is_that_utterance_and_one_of_none_is_left_out():
    assert of(held_out([0.3], truth=[1])).per_class == {"sad": ClassGates(1, 0.3, 0.3, 0.3, 0.3)}


def test_the_highest_and_lowest_ten_come_in_order():
    values = [0.01 * place for place in (7, 24, 3, 11, 0, 18, 14, 22, 5, 9, 16, 1, 20, 12, 23, 2, 8, 19, 4, 15, 21, 10,
                                         6, 17, 13)]  # fmt: skip
    found = of(held_out(values))
    assert len(found.highest) == len(found.lowest) == EXTREMES == 10
    assert [entry.gate for entry in found.highest] == pytest.approx([0.01 * place for place in range(24, 14, -1)])
    assert [entry.gate for entry in found.lowest] == pytest.approx([0.01 * place for place in range(10)])
    assert found.highest[0].utterance_id == "u1"
    assert found.highest[0].above_fold == pytest.approx(0.24 - 0.12)


def test_high_and_low_are_relative_to_the_models_own_utterances():
    """The model of fold 2 lets more speech through as a whole; that makes none of its utterances the highest."""
    rows = held_out([0.3, 0.1, 0.2, 0.81, 0.79, 0.8], folds=[1, 1, 1, 2, 2, 2])
    found = of(rows)
    assert [(entry.utterance_id, entry.above_fold) for entry in found.highest] == [
        ("u0", pytest.approx(0.1)),
        ("u3", pytest.approx(0.01)),
        ("u2", 0.0),
    ]
    assert names(found.lowest) == ["u1", "u4", "u5"]
    assert [entry.gate for entry in found.highest] == [0.3, 0.81, 0.2]


def test_equals_keep_the_order_of_the_runs_and_are_never_both_high_and_low():
    found = of(held_out([0.5] * 25))
    assert names(found.highest) == [f"u{number}" for number in range(10)]
    assert names(found.lowest) == [f"u{number}" for number in range(10, 20)]
    found = of(held_out([0.4, 0.6, 0.4, 0.6, 0.5]))
    assert (names(found.highest), names(found.lowest)) == (["u1", "u3"], ["u0", "u2"])
    # The distances 0.1 of two folds are equal, whatever the arithmetic makes of them.
    found = of(held_out([0.7, 0.5, 0.3, 0.1], folds=[1, 1, 2, 2]))
    assert (names(found.highest), names(found.lowest)) == (["u0", "u2"], ["u1", "u3"])


def test_a_single_utterance_is_neither_high_nor_low():
    found = of(held_out([0.5]))
    assert (found.highest, found.lowest) == ((), ())


def test_each_utterance_counts_once_with_its_mean_over_seeds():
    """Seed 1 and seed 2 of fold 1; fold 2 has one seed only."""
    rows = held_out(
        [0.2, 0.4, 0.3, 0.7, 0.6, 0.8],
        names=["a", "b", "c", "a", "b", "d"],
        folds=[1, 1, 2, 1, 1, 2],
        truth=[0, 0, 1, 0, 0, 1],
        predicted=[0, 0, 1, 1, 0, 1],
        probabilities=[[0.6, 0.4], [0.9, 0.1], [0, 1], [0.3, 0.7], [0.8, 0.2], [0, 1]],
    )
    found = of(rows, a="Kids are talking")
    assert found.per_class["happy"] == ClassGates(2, *map(pytest.approx, (0.475, 0.455, 0.475, 0.495)))
    assert [(entry.utterance_id, entry.gate) for entry in found.highest] == [("d", 0.8), ("b", pytest.approx(0.5))]
    # Of "a", the seeds say 0.6 happy and 0.7 sad: (0.6 + 0.3) / 2 against (0.4 + 0.7) / 2.
    assert found.lowest[1] == GatedUtterance(
        "a", 1, "s", "happy", "sad", pytest.approx(0.45), pytest.approx(-0.025), "Kids are talking"
    )


def test_gates_are_read_from_the_predictions_of_all_folds_and_seeds(tmp_path):
    runs = [write_run(tmp_path / "r"), write_run(tmp_path / "r-seed2", seed=2)]
    for run, more in zip(runs, (0.0, 0.2), strict=True):
        write_gates(run, 1, [0.1 + more, 0.2 + more, 0.3 + more, 0.4 + more])
        write_gates(run, 2, [0.5 + more] * 6)
        write_gates(run, 3, [0.6 + more, 0.4 + more])
    report = make_report(runs)
    (system,) = report.systems
    assert [entry.utterances for entry in system.gates.per_class.values()] == [6, 6]
    # happy is 1u0, 1u1, 1u2, 2u0, 2u5, 3u1, each 0.1 above its gate of the first seed.
    assert system.gates.per_class["happy"].mean == pytest.approx((0.1 + 0.2 + 0.3 + 0.5 + 0.5 + 0.4) / 6 + 0.1)
    assert names(system.gates.highest) == ["1u3", "3u0", "1u2", "2u0", "2u1", "2u2"]
    assert names(system.gates.lowest) == ["1u0", "3u1", "1u1", "2u3", "2u4", "2u5"]
    value = json.loads(json.dumps(report.as_json(), allow_nan=False))["systems"][0]["gates"]
    assert list(value) == ["per_class", "highest", "lowest"]
    assert list(value["per_class"]["sad"]) == ["utterances", "mean", "percentile_10", "median", "percentile_90"]
    assert value["highest"][0] == {
        "utterance_id": "1u3",
        "fold": 1,
        "speaker": "s1",
        "truth": "sad",
        "prediction": "sad",
        "gate": 0.5,
        "above_fold": 0.15,
        "transcript": None,
    }


@pytest.mark.parametrize("folds", [(), (1, 2)], ids=["all folds", "one fold"])
def test_predictions_older_than_the_column_have_no_gates(tmp_path, folds):
    run = write_run(tmp_path / "r")
    for fold in folds:
        write_gates(run, fold, [0.5] * (4 if fold == 1 else 6))
    report = make_report([run])
    assert report.systems[0].gates is None
    assert report.as_json()["systems"][0]["gates"] is None
    assert "gate" not in markdown(report).partition("## How the numbers were made")[0].lower()
    assert "Acoustic gate" not in html(report)


def test_a_fold_whose_gates_are_empty_has_none(tmp_path):
    run = write_run(tmp_path / "r", folds=(1,))
    write_gates(run, 1, ["", "", "", ""])
    assert paths.fold(run, 1).predictions.read_text().splitlines()[0].endswith(",gate")
    assert make_report([run]).systems[0].gates is None


def test_an_import_has_no_gates(tmp_path):
    file = write_import(tmp_path / "theirs.csv")
    lines = file.read_text().splitlines()
    file.write_text("\n".join([f"{lines[0]},gate", *(f"{line},0.5" for line in lines[1:])]))
    assert make_report([], [Import(file, "theirs")]).systems[0].gates is None


def test_the_tables_show_fractions_with_three_decimals():
    system = with_gates(report_example()).systems[0]
    text = as_markdown(single_system_tables.gates(system))
    assert "| class | utterances | mean | 10 % | median | 90 % |" in text
    assert "| sad | 168 | 0.508 | 0.484 | 0.509 | 0.534 |" in text
    rows = single_system_tables.gate_extremes(system).rows
    assert [cell.text for cell in rows[0]] == ["0-03-01-04-02-02-02-24", "0.590", "+0.060", "happy", "happy", "1",
                                               "Actor_24", TRANSCRIPTS[0]]  # fmt: skip
    assert [cell.text for cell in rows[10]][1:3] == ["0.460", "−0.070"]
    assert rows[4][-1].text == rows[1][-2].text == "–"
    assert (gate(1.0), gate(0.0), signed_gate(0.0002), signed_gate(-0.0002)) == ("1.000", "0.000", "0.000", "0.000")


def test_averages_over_seeds_are_mentioned_where_there_are_several_seeds():
    system = with_gates(report_example()).systems[0]
    for table in (single_system_tables.gates, single_system_tables.gate_extremes):
        assert "over seeds" in table(system).caption
        assert "over seeds" not in table(replace(system, seeds=(1,))).caption


def test_markdown_says_what_a_gate_means_and_what_not_to_compare():
    text = markdown(with_gates(report_example()))
    assert text.count("### Acoustic gate\n") == text.count("### Highest and lowest gates\n") == 1
    assert GATE_MEANING in text
    assert GATE_COMPARISON in text
    assert "| **Highest: most speech-driven** |" in text
    assert "| **Lowest: most text-driven** |" in text


def test_names_and_transcripts_that_are_markup_stay_text():
    report = with_gates(report_example())
    part = markdown(report).partition("### Highest and lowest gates")[2].partition("\n## ")[0]
    table = [line for line in part.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2 + 20
    assert {line.replace("\\|", "").count("|") for line in table} == {9}
    assert "1-Ses05M_script03_2\\_\\<i>M042\\</i>\\|&" in part
    page = html(report)
    assert "Ses05M_script03_2_&lt;i&gt;M042&lt;/i&gt;|&amp;" in page
    assert "<i>" not in page


def test_only_the_system_that_has_gates_shows_them():
    page = html(with_gates(report_example()))
    assert page.count("<h4>Acoustic gate</h4>") == 1
    assert page.index('id="system-mmer"') < page.index("<h4>Acoustic gate</h4>") < page.index('id="system-cai"')
    assert GATE_COMPARISON in page


def test_the_example_is_as_a_report_would_have_it():
    found = gates_example()
    assert [entry.above_fold for entry in found.highest] == sorted(
        (entry.above_fold for entry in found.highest), reverse=True
    )
    assert [entry.above_fold for entry in found.lowest] == sorted(entry.above_fold for entry in found.lowest)
