"""`mmer-pipe report`: which runs, where it writes, what it prints and what it refuses."""

import json
from pathlib import Path

import pytest
from helpers.command_line import invoke
from helpers.report_example import published_with_folds
from helpers.run_example import LABELS, TRUTH, write_run

FILES = [
    "methods.md", "methods.tex", "plots", "references.bib", "report.html", "report.json", "report.md",
    "table-column.tex", "table.tex",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _quick_plots(monkeypatch):
    """No pictures: they have tests of their own."""
    monkeypatch.setattr("mmer_pipeline.report.report_plots.figures", lambda _report: iter(()))
    monkeypatch.setattr("mmer_pipeline.report.report_page.html", lambda report: f"<p>{report.corpus}</p>")
    monkeypatch.setenv("COLUMNS", "80")


def call(*words, code=0):
    result = invoke("report", *words)
    assert result.exit_code == code, result.output
    return result


def written(directory):
    return sorted(path.name for path in Path(directory).iterdir() if not path.name.startswith("fold-"))


def theirs(path=Path("theirs.csv")):
    rows = [f"{k}u{i},{LABELS[truth]},sad" for k in TRUTH for i, truth in enumerate(TRUTH[k])]
    path.write_text("\n".join(["utterance_id,truth,prediction", *rows]) + "\n")
    return path


def test_a_single_run_is_reported_in_full_into_its_own_directory():
    write_run(Path("runs/a"))
    result = call()
    assert set(FILES) - {"plots"} <= set(written("runs/a"))
    assert "On made up, MMER (α = 0.1) reaches a UA of 75.0 %, 25.0 points above chance;" in result.stdout
    assert "3-fold cross-validation, sessions held out; no validation part; seed 1" in result.stdout
    assert "truth ╲" in result.stdout
    assert "Report: runs/a/report.html" in result.stderr
    assert json.loads(Path("runs/a/report.json").read_text())["systems"][0]["name"] == "a"


def test_all_evaluated_runs_are_compared_in_a_directory_of_their_own():
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), alpha=0.5, flipped=2)
    Path("runs/unfinished/fold-1").mkdir(parents=True)
    result = call()
    assert "report.md" in written("runs/report")
    assert "On made up, MMER (α = 0.1) leads by" in result.stdout
    assert "Differences to MMER (α = 0.1), the best" in result.stdout
    assert "(Holm)" in result.stdout
    assert "truth ╲" not in result.stdout  # no pages of details
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "# Speech emotion recognition: 2 systems on made up" in Path("runs/report/report.md").read_text()


@pytest.mark.parametrize("others", [(), (0.5,)])
def test_table_1_is_printed_where_the_corpus_is_its_own(monkeypatch, others):
    facts = {"corpus": "iemocap"}
    write_run(Path("runs/a"), alpha=0.2, facts=facts)
    for alpha in others:
        write_run(Path(f"runs/{alpha}"), alpha=alpha, facts=facts)
    assert "published" not in call().stdout
    monkeypatch.setattr("mmer_pipeline.report.published_results.comparable", lambda *_: True)
    monkeypatch.setattr("mmer_pipeline.report.published_results.TABLE_1", published_with_folds(3))
    shown = call().stdout
    assert shown.count("+22.36") == 1
    assert "oracle UA" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_named_runs_alone_are_reported_and_twice_is_once():
    for name, alpha in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        write_run(Path("runs") / name, alpha=alpha)
    report = json.loads(call("--run", "c", "--run", "a", "--run", "c", "--json").stdout)
    assert [system["name"] for system in report["systems"]] == ["c", "a"]


def test_the_output_directory_can_be_chosen():
    write_run(Path("runs/a"))
    call("--output", "somewhere/else")
    assert "table.tex" in written("somewhere/else")
    assert "report.md" not in written("runs/a")


def test_an_import_is_compared_with_the_runs():
    write_run(Path("runs/a"))
    report = json.loads(call("--import", theirs(), "--name", "Theirs 1", "--json").stdout)
    assert [system["title"] for system in report["systems"]] == ["MMER (α = 0.1)", "Theirs 1"]
    assert "report.md" in written("runs/report-with-imports")
    assert not Path("runs/report").exists()  # cv writes that one


def test_an_import_alone_needs_no_run():
    shown = " ".join(call("--import", theirs(), "--name", "Theirs").stdout.split())
    assert "of an unknown corpus, Theirs reaches a UA of 50.0 %, 0.0 points above chance; there are too few" in shown
    assert "report.md" in written("runs/report-with-imports")


def test_an_import_needs_a_name_of_its_own():
    write_run(Path("runs/a"))
    assert "found 1 files and 2 names" in call("--import", theirs(), "--name", "b", "--name", "c", code=2).stderr
    assert "The name a is already used" in call("--import", theirs(), "--name", "a", code=1).stderr


def test_files_without_a_name_are_named_after_themselves():
    write_run(Path("runs/a"))
    Path("svm").mkdir()
    report = call("--import", theirs(), "--import", theirs(Path("svm/results.csv")), "--name", "Theirs", "--json")
    assert [system["name"] for system in json.loads(report.stdout)["systems"]] == ["a", "Theirs", "svm"]


def test_a_column_of_an_imported_file_can_be_named():
    write_run(Path("runs/a"))
    Path("x.csv").write_text(theirs().read_text().replace("prediction", "answer"))
    assert "missing columns: prediction" in call("--import", "x.csv", code=1).stderr
    shown = call("--import", "x.csv", "--import-column", "prediction=answer").stdout
    assert "over x (imported)" in shown
    assert "expected ROLE=COLUMN" in call("--import", "x.csv", "--import-column", "answer", code=1).stderr
    twice = ("--import-column", "truth=a", "--import-column", "truth=b")
    assert "--import-column truth is given twice: a and b" in call("--import", "x.csv", *twice, code=1).stderr


def test_holes_are_named_on_the_terminal():
    write_run(Path("runs/a"), folds=(1, 2))
    shown = " ".join(call().stdout.split())
    assert "2 of 3 folds: THE NUMBERS ARE NOT A CROSS-VALIDATION" in shown
    assert "1 fold or run is missing; with what is there of made up, MMER" in shown
    assert "a, fold 3: not trained: mmer-pipe train --run a --fold 3" in shown


def test_runs_of_different_corpora_are_listed_and_not_mixed():
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), facts={"corpus": "another"})
    assert "mmer-pipe report --run NAME --run NAME" in call(code=1).stderr
    call("--run", "a")


def test_nothing_trained_says_what_comes_first():
    assert "No trained fold in runs" in call(code=1).stderr
    assert "There is no run x in runs. Runs: none." in call("--run", "x", code=1).stderr


def test_html_is_what_the_page_s_writer_makes_of_the_report():
    write_run(Path("runs/a"))
    call()
    assert Path("runs/a/report.html").read_text() == "<p>made up</p>"


def test_a_run_brings_its_other_seeds_and_one_that_is_not_there_is_refused():
    for name, seed in (("a", 1), ("a-seed2", 2), ("a-seed10", 10)):
        write_run(Path("runs") / name, seed=seed)
    write_run(Path("runs/b"), alpha=0.5)
    call("--run", "a")
    (system,) = json.loads(Path("runs/report/report.json").read_text())["systems"]
    assert system["seeds"] == [1, 2, 10]
    message = call("--run", "a", "--run", "nope", code=1).stderr
    assert "There is no run nope in runs. Runs: a, a-seed10, a-seed2, b." in message


def test_seeds_that_are_named_are_all_that_are_reported():
    for name, seed in (("a", 1), ("a-seed2", 2), ("a-seed3", 3)):
        write_run(Path("runs") / name, seed=seed)
    assert json.loads(call("--run", "a", "--run", "a-seed3", "--json").stdout)["systems"][0]["seeds"] == [1, 3]
    assert json.loads(call("--run", "a-seed2", "--json").stdout)["systems"][0]["seeds"] == [2]


def test_systems_that_were_trained_otherwise_are_noted():
    write_run(Path("runs/a"))
    write_run(Path("runs/b"), alpha=0.5, schedule="linear")
    assert "b: schedule linear, unlike a" in " ".join(call().stdout.split())


def test_one_system_can_be_the_reference_of_all_comparisons():
    for name, alpha in (("a", 0.1), ("b", 0.5), ("c", 0.2)):
        write_run(Path("runs") / name, alpha=alpha, flipped=int(10 * alpha) - 1)
    report = json.loads(call("--against", "b", "--json").stdout)
    assert [(pair["first"], pair["second"]) for pair in report["pairs"]] == [("b", "a"), ("b", "c")]
    assert "--against x: there is no such system in this report. Its systems: a, c, b." in " ".join(
        call("--against", "x", code=1).stderr.split()
    )


def test_both_claims_fit_a_terminal():
    for number, name in enumerate(("a", "a-seed2", "b", "b-seed2")):
        write_run(Path("runs") / name, alpha=0.5 if "b" in name else 0.1, flipped=number, seed=2 if "2" in name else 1)
    shown = call().stdout
    words = " ".join(shown.split())
    assert "Trained again: with other seeds, on other speakers." in words
    assert "the best, in percentage points, between means of systems trained again" in words
    table = [line for line in shown.splitlines() if line.startswith(("┃", "│", "┏", "└"))]
    assert max(map(len, table)) <= 80


def test_eight_systems_do_not_flood_the_terminal_with_pairs():
    for number in range(8):
        write_run(Path(f"runs/s{number}"), alpha=number / 10, flipped=number % 3)
    shown = call().stdout
    assert "correction over 28 pairs" in " ".join(shown.split())
    differences = shown[shown.index("Differences to") :]
    assert sum(line.startswith("│ MMER") for line in differences.splitlines()) == 2 * 7
    assert len(json.loads(Path("runs/report/report.json").read_text())["pairs"]) == 28
