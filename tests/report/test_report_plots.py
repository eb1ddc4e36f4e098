"""The plots: one of each kind, honest about what they compare, the same bytes for the same report."""

import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import pytest
from helpers.gate_example import gates_example, with_gates
from helpers.report_example import report_example, with_comparable
from matplotlib.text import Text
from PIL import Image

from mmer_pipeline.pages.plotting import HUES, svg
from mmer_pipeline.report import report_plots
from mmer_pipeline.report.gate_content import ClassGates
from mmer_pipeline.report.report_content import LengthBin, Reliability
from mmer_pipeline.report.report_plots import figures, slugs, write_plots
from mmer_pipeline.report.write_report import write_report
from mmer_pipeline.scoring.metrics import ReliabilityBin


@pytest.fixture
def report():
    return report_example()


def words(figure):
    """All text of a plot."""
    return [element.text for element in ElementTree.fromstring(svg(figure)).iter("{http://www.w3.org/2000/svg}text")]


def test_every_plot_is_written_as_png_svg_and_pdf(report, tmp_path):
    report = with_gates(report)
    report = replace(report, systems=(report.systems[0], report.systems[-1]))
    written = write_plots(report, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    stems = ("systems", "mmer-confusion", "mmer-curves", "mmer-reliability", "mmer-lengths", "mmer-gates",
             "theirs-b-confusion", "theirs-b-lengths")  # fmt: skip
    assert names == {f"plots/{stem}.{suffix}" for stem in stems for suffix in ("png", "svg", "pdf")}
    assert len(written) == len(names)
    for path in written:
        content = path.read_bytes()
        if path.suffix == ".svg":
            assert ElementTree.fromstring(content) is not None
        else:
            assert content.startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[path.suffix])


def test_a_plot_is_as_wide_as_a_column_and_its_letters_are_readable(report, tmp_path):
    for path in write_plots(replace(report, systems=report.systems[:1]), tmp_path):
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.width == pytest.approx(3.35 * 300, abs=1)
                assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        elif path.suffix == ".pdf":
            box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", path.read_bytes())
            assert float(box[1]) == pytest.approx(3.35 * 72, abs=0.1)
    for _, figure in figures(replace(report, systems=report.systems[:1])):
        sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
        assert min(sizes) >= 7
        assert max(sizes) <= 8


def test_the_same_report_gives_the_same_bytes(report, tmp_path):
    report = replace(report, systems=report.systems[:1])
    first, second = (write_plots(report, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_users_matplotlib_settings_have_no_say(report):
    expected = svg(report_plots.systems(report))
    with matplotlib.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path", "text.usetex": True}):
        assert svg(report_plots.systems(report)) == expected


def test_no_published_figure_is_drawn_among_our_final_ones(report):
    """Most are oracle figures: they belong into Table 1, with their kind."""
    assert "published" not in " ".join(words(report_plots.systems(with_comparable(report))))


def test_the_systems_plot_says_pooled_values_and_chance(report):
    said = words(report_plots.systems(report))
    assert "chance, UA (25)" in said
    for system in report.systems:
        for metric in ("wa", "ua"):
            assert f"{100 * system.selections.final.summary[metric].pooled:.2f}" in said


def test_a_confusion_cell_says_count_and_share(report):
    counts = ((6, 2, 0, 0), (0, 8, 0, 0), (0, 0, 0, 0), (0, 0, 1, 3))  # nobody was neutral
    system = replace(report.systems[0], confusion=counts)
    said = words(report_plots.confusion(report, system))
    assert said.count("75.0 %") == 2
    assert said.count("25.0 %") == 2
    assert said.count("0.0 %") == 11
    assert {"6", "2", "8", "1", "3"} <= set(said)


def test_curves_mark_the_epochs_that_are_there(report):
    mmer, cai = report.systems[:2]
    assert {"final epoch", "oracle epoch", "validated epoch", "CTC loss, training"} <= set(
        words(report_plots.curves(report, mmer))
    )
    assert "validated epoch" not in words(report_plots.curves(report, cai))
    assert "CTC loss, training" not in words(report_plots.curves(report, report.systems[2]))


def test_one_fold_of_one_epoch_is_drawn(report):
    system = report.systems[1]
    final, line = system.selections.final, system.curves[0]
    short = {key: getattr(line, key)[:1] for key in ("epochs", "ce", "ctc", "wa", "ua")}
    summary = {**final.summary, "wa": replace(final.summary["wa"], interval_95=None)}
    system = replace(
        system,
        curves=(replace(line, **short, oracle_epoch=1),),
        selections=replace(system.selections, final=replace(final, summary=summary)),
    )
    assert len(list(figures(replace(report, systems=(system,))))) == 5


def test_reliability_and_lengths_say_their_numbers(report):
    system = replace(
        report.systems[1],
        reliability=Reliability(0.1234, (ReliabilityBin(0.4, 0.5, 70_001, confidence=0.44, accuracy=1.0),)),
        lengths=(LengthBin(1.0, 2.0, utterances=7, error_rate=0.0),),
    )
    said = words(report_plots.reliability(report, system))
    assert "70001" in said
    assert any("ECE 12.34 %" in text for text in said)
    assert {"1.0–2.0 s", "0.0 % of 7"} <= set(words(report_plots.lengths(report, system)))


def test_gates_by_class_show_the_range_and_the_median(report):
    report = with_gates(report)
    figure = report_plots.gates(report, report.systems[0])
    assert {"happy", "angry", "neutral", "sad", "0.560", "0.527", "0.532", "0.509"} <= set(words(figure))
    (axes,) = figure.axes
    ranges = [line for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert [tuple(line.get_xdata()) for line in ranges] == [
        (entry.percentile_10, entry.percentile_90) for entry in report.systems[0].gates.per_class.values()
    ]
    medians = [float(line.get_xdata()[0]) for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert medians == [entry.median for entry in report.systems[0].gates.per_class.values()]
    assert report_plots.gates(report, report.systems[1]) is None


def test_gates_that_are_all_the_same_and_many_long_classes_are_drawn(report):
    same = ClassGates(1, 0.5, 0.5, 0.5, 0.5)
    names = [f"a long name of class {number} & <i>" for number in range(12)]
    system = replace(report.systems[0], gates=replace(gates_example(), per_class=dict.fromkeys(names, same)))
    figure = report_plots.gates(replace(report, systems=(system,)), system)
    assert words(figure).count("a long name o…") == 12
    low, high = figure.axes[0].get_xlim()
    assert low < 0.5 < high


def test_with_several_seeds_reliability_counts_predictions(report):
    system = report.systems[0]
    assert "predictions" in words(report_plots.reliability(report, system))
    assert "utterances" in words(report_plots.reliability(report, replace(system, seeds=(1,))))


def test_many_systems_and_many_classes_are_drawn(report):
    systems = [
        replace(report.systems[0], name=f"mmer-{number}", title=f"$MMER_{number}$ & <i>") for number in range(14)
    ]
    systems[13] = replace(systems[13], confusion=((10_000,) * 9,) * 9)
    labels = tuple(f"a long name of class {number}" for number in range(9))
    report = replace(report, systems=tuple(systems), labels=labels)
    assert "$MMER_13$ & <i>" in words(report_plots.systems(report))
    assert len(words(report_plots.confusion(report, systems[13]))) > 2 * 81
    assert report_plots.hue(report, systems[0]) == report_plots.hue(report, systems[len(HUES)])


def test_file_names_are_safe_and_never_shared(report):
    names = ["a b", "a-b", "A/B", "../..", "…", "mmer_α=0.1"]
    given = slugs(replace(report, systems=tuple(replace(report.systems[0], name=name) for name in names)))
    assert list(given.values()) == ["a-b", "a-b-2", "A-B-3", "system", "system-2", "mmer_-=0.1"]


def test_pyplot_is_not_imported():
    code = "import sys, mmer_pipeline.report.report_plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pictures_of_systems_that_are_no_longer_in_the_report_are_removed(report, tmp_path, monkeypatch):
    monkeypatch.setattr(report_plots, "figures", lambda report: [("systems", report_plots.systems(report))])
    monkeypatch.setattr("mmer_pipeline.report.report_page.html", lambda _: "")
    plots = tmp_path / "plots"
    plots.mkdir()
    for name in ("gone-confusion.pdf", "notes.txt"):
        (plots / name).touch()
    write_report(report, tmp_path)
    assert not (plots / "gone-confusion.pdf").exists()
    assert (plots / "notes.txt").exists()
    assert (plots / "systems.pdf").exists()
