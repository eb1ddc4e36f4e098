"""The benchmarks run from end to end; on a few utterances their figures mean nothing."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.command_line import succeed
from helpers.embedded_models import needs

from benchmarks import __main__ as command
from benchmarks import (
    clipping,
    few_dialogues,
    folds,
    kernels,
    measure,
    precision,
    predict,
    reading,
    report,
    shapes,
    significance,
    simulated_results,
    training,
)
from mmer_pipeline.encoders.embedded import MODELS
from mmer_pipeline.scoring import statistics


@pytest.fixture
def bench(tmp_path):
    return measure.Bench(torch.device("cpu"), ("tiny",), 1, True, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (training, 4),
        (reading, 2),
        (kernels, 3),
        (precision, 1),
        (folds, 2),
        (predict, 3),
        (report, 1),
        (significance, 4),
        (few_dialogues, 8),
        (clipping, 13),
    ],
)
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a profiler, and of a terminal's child processes
def test_a_benchmark_runs_and_yields_its_figures(module, count, bench, request, monkeypatch):
    if module is clipping:
        request.getfixturevalue("shared")
    if module is predict:
        for name in MODELS:
            needs(name)
        monkeypatch.setattr(predict, "median_process", lambda command, _rounds: measure.process(*command))
    if module is folds:  # whose workers are processes all the same
        monkeypatch.setattr(folds, "process", lambda _module, _cli, *command: succeed(*command))
    figures = list(module.figures(bench))
    assert len(figures) == count
    for figure in figures:
        assert math.isfinite(figure.value)
        assert figure.value >= 0
        assert (figure.baseline is None) == (figure.ratio is None)
        assert bool(figure.target) == (figure.met is not None)
        json.dumps(asdict(figure))


def test_the_simulated_tests_are_those_of_the_report():
    """For one experiment, and all its seeds: the p-value and the interval that the report would give."""
    results = simulated_results.simulate(
        simulated_results.Setting(folds=5, luck=0.02, spread=0.02), 2, np.random.default_rng(0)
    )
    counts = [confusions(results.correct[0, system].sum(axis=0), 5 * results.support) for system in (0, 1)]
    assert significance.swaps(results, 5)[0] == pytest.approx(statistics.compare(*counts)["ua"].p)
    low, high = significance.bootstrap(results, 5)
    assert (low[0], high[0]) == pytest.approx(statistics.bootstrap_intervals(counts[0])["ua"])


def confusions(correct, support):
    """[K, C, C] with the wrong utterances of each class in the next one."""
    diagonal = np.eye(support.shape[1], dtype=int)
    return (correct[..., None] * diagonal + (support - correct)[..., None] * np.roll(diagonal, 1, axis=1)).astype(float)


def test_simulated_systems_are_as_good_as_they_are_said_to_be():
    results = simulated_results.simulate(
        simulated_results.Setting(folds=5, luck=0.03, spread=0.0), 60, np.random.default_rng(0)
    )
    assert results.ua.mean() == pytest.approx(simulated_results.TRUE_UA, abs=0.003)
    within = results.ua.std(axis=-1, ddof=1)  # over seeds: luck, and the noise of about 1,100 utterances
    assert (within**2).mean() ** 0.5 == pytest.approx((0.03**2 + 0.01**2) ** 0.5, rel=0.1)
    assert results.support.sum() == 5531


def test_utterances_are_as_long_as_iemocap_s():
    seconds = shapes.utterance_seconds(5531)
    assert np.median(seconds) == pytest.approx(3.5, rel=1e-3)
    assert np.log(seconds).std() == pytest.approx(0.65, rel=0.01)
    assert seconds.max() <= 34
    tokens = shapes.token_counts(seconds)
    assert (tokens.sum() - 2 * 5531) / seconds.sum() == pytest.approx(3.2, rel=0.01)
    said = [shapes.transcript(length, np.random.default_rng(0)) for length in seconds[:200]]
    assert sum(map(len, said)) / seconds[:200].sum() == pytest.approx(12, rel=0.1)


def test_the_size_paper_has_the_paper_s_encoders(tmp_path):
    """The parameters that the README gives for wav2vec2-base."""
    from mmer_pipeline.encoders.encoder_files import resolve_encoder
    from mmer_pipeline.encoders.speech import speech_outline

    with torch.random.fork_rng():
        directory = shapes.SIZES["paper"].write_speech_encoder(tmp_path)
    outline = speech_outline(resolve_encoder(str(directory)))
    assert sum(p.numel() for p in outline.parameters()) == 94_371_712


def test_a_child_process_is_measured_separately():
    big, small = (
        measure.process("-c", f"x = bytearray({size} << 20); x[::4096] = x[::4096]; print('said')") for size in (300, 1)
    )
    assert big.output == "said\n"
    assert big.peak_bytes - small.peak_bytes == pytest.approx(299 << 20, rel=0.1)
    with pytest.raises(RuntimeError, match="ended with 3"):
        measure.process("-c", "raise SystemExit(3)")


def test_two_implementations_are_measured_in_turn_after_a_warm_up(bench):
    order = []
    pair = measure.in_turn(lambda: order.append("ours"), lambda: order.append("baseline"), bench)
    assert order == ["baseline", "ours"] * 2
    assert pair.ours > 0
    assert pair.ratio == pytest.approx(pair.baseline / pair.ours)


def test_the_command_prints_a_table_and_writes_the_figures_with_the_machine(tmp_path, monkeypatch):
    class Module:
        @staticmethod
        def figures(_):
            yield measure.Figure("something", "tiny", 1234.5, "s", 2469.0, 2.0, "3 ×", False, "a note")

    monkeypatch.setattr(command, "import_module", lambda _: Module)
    result = CliRunner().invoke(command.main, ["reading", "--output", str(tmp_path / "out"), "--device", "cpu"])
    assert result.exit_code == 1  # a target was missed
    assert "1,234 s" in result.output
    assert "3 × missed" in result.output
    written = json.loads((tmp_path / "out" / "reading.json").read_text())
    assert written["figures"][0]["ratio"] == 2.0
    assert written["machine"]["versions"]["torch"] == torch.__version__
