"""The table of what shortcuts add: rows of the same system on other folds, and the warning that speakers are shared."""

import pytest
from helpers.run_example import EPOCHS, TRUTH, write_fold, write_run

from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.latex import latex_page
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.report_page import html
from mmer_pipeline.report.shortcut_table import shared_speakers, shortcuts

WARNING = "SPEAKERS ARE SHARED between training and held-out parts (--folds random): wav2vec2 (speakers shared). "


def write(run, folds, flipped):
    """A run of three folds, of whose last predictions in fold 2 the first `flipped` say the other class."""
    for number in (1, 2, 3):
        epochs = [list(epoch) for epoch in EPOCHS[number]]
        if number == 2:
            epochs[-1] = [1 - said if i < flipped else said for i, said in enumerate(epochs[-1])]
        write_fold(run, number, TRUTH[number], epochs, system="wav2vec2", folds=folds)
    return run


@pytest.fixture
def runs(tmp_path):
    folds = [
        write(tmp_path / f"runs/{name}", name, flipped) for flipped, name in enumerate(["random", "speaker", "session"])
    ]
    return [*folds, write_run(tmp_path / "runs/roberta", system="roberta")]


def test_a_system_is_compared_with_its_last_epoch_and_left_out_sessions(runs):
    report = make_report(runs)
    table = shortcuts(report)
    (group,) = table.groups
    rows = [tuple(cell.text for cell in row) for row in group.rows]
    assert [row[:2] for row in rows] == [
        (held_out, epoch)
        for held_out in ("sessions", "speakers", "random parts of the utterances (speakers shared)")
        for epoch in ("last epoch", "best epoch on the held-out part")
    ]
    final = {
        s.runs[0].settings["folds"]: s.selections.final.summary["ua"].mean
        for s in report.systems
        if s.system == "wav2vec2"
    }
    assert rows[0][3] == "–"
    assert rows[4][3] == f"{100 * (final['random'] - final['session']):+.2f}".replace("-", "−")
    assert shortcuts(make_report(runs[2:])) is None  # folds of one kind


def test_shared_speakers_are_said_in_every_form(runs):
    report = make_report(runs)
    assert shared_speakers(report).startswith(WARNING)
    for form in (markdown(report), html(report)):
        assert "SPEAKERS ARE SHARED" in form
        assert "What shortcuts of the protocol add" in form
    assert "Speakers are shared" in latex_page(report)
    assert not shared_speakers(make_report(runs[1:]))
    assert "SPEAKERS ARE SHARED" not in html(make_report(runs[1:]))


def test_a_system_that_shares_speakers_is_last_and_no_answer(runs):
    report = make_report(runs)
    assert report.systems[-1].name == "random"
    assert "speakers shared" not in report.answer
    alone = make_report(runs[::2])
    assert [system.name for system in alone.systems] == ["session", "random"]
    assert "wav2vec2 reaches a UA of" in alone.answer
    assert "speakers shared" in make_report(runs[:1]).answer
