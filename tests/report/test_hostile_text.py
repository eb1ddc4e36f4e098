"""Names and words that try to run or load something, in every file of a report that a person opens."""

import json
import re

import pytest
from helpers import run_example
from helpers.hostile_text import HOSTILE, assert_inert, assert_inert_drawing, assert_inert_latex
from helpers.run_example import EPOCHS, TRUTH, write_fold
from markdown_it import MarkdownIt

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.report.write_report import write_report
from mmer_pipeline.runs import write_predictions

RUN = "[b](javascript:x) <b onclick=x>"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report in which every name and every text that comes from a corpus, a run or an import is hostile."""
    directory = tmp_path_factory.mktemp("hostile")
    labels = [f"{HOSTILE} {name}" for name in ("happy", "sad")]
    manifest = _manifest(directory / "manifest.csv", labels)

    def predictions(path, number, predicted):
        rows = [
            [f"{HOSTILE} {number}u{i}", str(number), f"{HOSTILE} s{number}", f"{HOSTILE} d{number}{i // 2}",
             labels[predicted.truth[i]], labels[predicted.predicted[i]],
             *(f"{value:.6f}" for value in predicted.probabilities[i]), "", f"{0.3 + i / 50:.6f}"]
            for i in range(len(predicted.truth))
        ]  # fmt: skip
        write_predictions(path, labels, rows, with_gate=True)

    facts = {"corpus": HOSTILE, "manifest": str(manifest.path), "folds": [HOSTILE, "2", "3"], "device": HOSTILE,
             "platform": HOSTILE, "git_commit": HOSTILE, "versions": {HOSTILE: HOSTILE}, "hardware": HOSTILE,
             "revisions": {"text": HOSTILE}}  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_example, "LABELS", labels)
        patched.setattr(run_example, "_write_predictions", predictions)
        for number in TRUTH:
            write_fold(directory / RUN, number, TRUTH[number], EPOCHS[number], facts=facts, epochs=3,
                       inputs={"labels": labels, "manifest": manifest.digest},
                       text_encoder="<script>alert(1)</script>")  # fmt: skip
    (directory / "theirs.csv").write_text(
        (directory / RUN / "fold-1" / "predictions.csv").read_text().replace("probability_", "prob_")
    )
    name = HOSTILE[:150]
    report = make_report([directory / RUN], [Import(directory / "theirs.csv", name)])
    assert {system.name for system in report.systems} == {RUN, name}
    assert report.systems[0].errors
    write_report(report, directory / "report")
    return directory / "report"


def _manifest(path, labels):
    rows = [
        Utterance(f"{HOSTILE} {number}u{i}", f"{number}{i}.wav", 0.0, 1.0, f"{HOSTILE} s{number}", str(number),
                  f"{HOSTILE} d{number}{i // 2}", labels[truth], f"{HOSTILE} said {i}")
        for number in TRUTH
        for i, truth in enumerate(TRUTH[number])
    ]  # fmt: skip
    label_map = LabelMap(HOSTILE, {label: (label,) for label in labels}, ())
    write_manifest(path, rows, root=path.parent, corpus=HOSTILE, label_map=label_map)
    return read_manifest(path)


def test_the_page_runs_and_loads_nothing(written):
    source = (written / paths.REPORT_HTML).read_text()
    assert_inert(source)
    assert "7*7" in source
    assert HOSTILE not in source


@pytest.mark.parametrize("name", [paths.REPORT_MARKDOWN, paths.METHODS_MARKDOWN])
def test_markdown_runs_and_loads_nothing_but_the_report_s_own_plots(written, name):
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render((written / name).read_text())
    assert_inert(re.sub(r'<img src="plots/[\w.=-]+" alt="[\w.=-]*" />', "", rendered), links=False)


@pytest.mark.parametrize("name", [paths.REPORT_LATEX, paths.REPORT_LATEX_COLUMN, paths.METHODS_LATEX])
def test_latex_reads_no_file(written, name):
    text = (written / name).read_text()
    assert_inert_latex(text)
    assert "textbackslash" in text


def test_plots_run_nothing(written):
    drawings = list((written / paths.PLOTS_NAME).glob("*.svg"))
    assert drawings
    for path in drawings:
        assert_inert_drawing(path.read_text())


def test_json_has_the_names_as_they_are(written):
    assert json.loads((written / paths.REPORT_JSON).read_text())["corpus"] == HOSTILE
