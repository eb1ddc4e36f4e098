"""The report's page: complete, escaped, one file, and readable in a real browser on a phone and on a desktop."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.gate_example import with_gates
from helpers.page_checks import (
    CONTRAST,
    LABELS_OF_PLOTS,
    OVERFLOW,
    OVERLAPS,
    TABLES,
    Page,
    assert_readable,
    browser,
    in_all_windows,
    opened,
)
from helpers.report_example import TEXT, TRANSCRIPTS, report_example, with_comparable, with_system, without_last_fold

from mmer_pipeline.corpora.synthetic import CORPUS_NAME
from mmer_pipeline.pages.page import DARK_HUES
from mmer_pipeline.pages.plotting import HUES
from mmer_pipeline.report.paper_table import KIND_NOTE, SAME_KIND_NOTE
from mmer_pipeline.report.report_content import MetricDifference
from mmer_pipeline.report.report_page import PAPER, html
from mmer_pipeline.report.wording import ALPHA_NOTE, claims_note

chromium = pytest.fixture(scope="module")(browser)


@pytest.fixture(scope="module")
def source():
    return html(with_gates(report_example()))


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def on_iemocap(report):
    """The report as if of the corpus of the published figures, which is then shown with them."""
    return replace(report, corpus="iemocap")


@pytest.fixture(scope="module")
def with_table_1():
    return html(on_iemocap(report_example()))


def one_system(number):
    """The example with one of its systems alone: quicker to draw."""
    report = report_example()
    system = report.systems[number]
    rows = tuple(
        row if row.ours == system.name else replace(row, ours=None, same_kind=None, paper_alpha=None)
        for row in report.table_1.rows
    )
    return replace(report, systems=(system,), pairs=(), holes=(), table_1=replace(report.table_1, rows=rows))


def test_the_same_report_gives_the_same_page():
    assert html(one_system(0)) == html(one_system(0))


def test_the_page_loads_nothing(source, page):
    assert not page.all("script", "img", "iframe", "object", "embed", "video", "audio")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert "url(http" not in source.replace(" ", "")
    assert "@import" not in source
    addresses = {attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")}
    assert addresses == set()
    assert "http" not in source


def test_what_others_wrote_is_shown_and_never_markup(page):
    assert not page.all("b", "i", "script")
    for text in (*filter(None, TRANSCRIPTS), TEXT, "theirs <b>&|", "outputs/their <i>predictions</i>.csv",
                 "wav2vec2-<seed3>"):  # fmt: skip
        assert text in page.text


def test_every_anchor_leads_somewhere_and_no_id_stands_twice(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = {attributes[name].lstrip("#") for _, attributes in page.elements for name in ("href", "xlink:href")
               if attributes.get(name, "").startswith("#")}  # fmt: skip
    pointed |= {attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes}
    assert pointed <= set(ids)


def test_headings_go_down_one_step_at_a_time_and_header_cells_have_a_scope(page):
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attributes for attributes in page.all("th"))


@pytest.mark.parametrize(("hues", "page_colour"), [(HUES, "#ffffff"), (DARK_HUES, "#14171c")])
def test_every_colour_of_a_plot_stands_out_from_the_page(source, hues, page_colour):
    def lightness(colour):  # WCAG's relative luminance
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05

    assert f"--page: {page_colour}" in source
    for hue in hues:
        low, high = sorted((lightness(hue), lightness(page_colour)))
        assert high / low >= 4.5


def test_holes_stand_before_the_results_with_the_command_that_mends_them(page):
    hole = page.text.index("Incomplete cross-validation: 2 folds or runs are missing")
    assert hole < page.text.index("Which system is better")
    assert "mmer-pipe train --run roberta-seed2 --fold 3 --restart" in page.text


def test_a_whole_cross_validation_has_no_alarm():
    assert "Incomplete" not in html(one_system(2))


def test_published_figures_are_subtracted_only_where_comparable_and_only_from_the_same_kind():
    report = on_iemocap(one_system(0))
    text = html(report)
    assert PAPER in text
    assert "Not comparable" in text
    assert "ours − published" not in text
    oracle_ua = np.mean([max(curve.ua) for curve in report.systems[0].curves])
    final_wa = report.systems[0].selections.final.summary["wa"].mean
    text = html(with_comparable(report))
    assert "Not comparable" not in text
    assert f"{100 * (oracle_ua - 0.7764):+.2f}<small>oracle UA</small>" in text
    assert f"{100 * (final_wa - 0.7764):+.2f}" not in text


def test_the_published_figure_is_not_subtracted_from_missing_folds():
    text = html(with_comparable(with_system(on_iemocap(one_system(0)), 0, without_last_fold)))
    assert "ours − published" in text
    assert "<small>oracle UA</small>" not in text


def test_table_1_says_which_of_ours_stands_in_a_row_and_what_our_alpha_is(with_table_1):
    table = with_table_1[with_table_1.index('aria-labelledby="t-table-1"') :]
    assert "<small>/ MMER (α = 0.1)</small>" not in table  # it is the row's own name
    assert "<small>/ Cai et al. (α = 0.1)</small>" in table
    assert ALPHA_NOTE in Page(with_table_1).text


def test_table_1_says_what_each_published_figure_is_and_how_that_is_known(with_table_1):
    table = with_table_1[with_table_1.index('aria-labelledby="t-table-1"') :]
    assert "oracle UA<small>(sessions held out; likely: inferred)</small>" in table
    assert "oracle UA<small>(speakers shared; sure: abstract, code)</small>" in table
    assert "validated<small>(metric, split unknown; likely: secondary)</small>" in table
    for note in (KIND_NOTE, SAME_KIND_NOTE, "Morais et al. [30]: speech only (abstract)"):
        assert note in Page(with_table_1).text


def test_published_figures_are_not_shown_for_another_corpus_or_a_synthetic_one(source):
    for text in (source, html(replace(one_system(0), corpus=CORPUS_NAME))):
        assert "Table 1" not in text
        assert "published value" not in text
        assert "IEMOCAP" not in text


def test_nothing_is_known_of_what_an_import_reads():
    report = on_iemocap(one_system(-1))
    rows = tuple(replace(row, modality="" if row.ours else row.modality) for row in report.table_1.rows)
    assert '<td class="extra">–</td><td class="extra">5</td>' in html(
        replace(report, table_1=replace(report.table_1, rows=rows))
    )


def test_each_system_has_its_folds_and_seeds_in_the_main_table(page):
    main = page.text[page.text.index("Which system is better") : page.text.index("Are the differences real")]
    assert "5 × 2" in main
    assert "9 of 5 × 2" in main


def test_counts_of_several_seeds_are_of_predictions(source):
    classes = source[source.index('aria-labelledby="t-mmer-classes"') :]
    assert '<th scope="col" class="n">predictions</th>' in classes[: classes.index("</thead>")]


def test_one_held_out_part_is_called_no_cross_validation():
    report = one_system(2)
    report = with_system(report, 0, lambda system: replace(system, folds_expected=1))
    text = Page(html(report)).text
    assert "Speech emotion recognition: results on ravdess" in text
    assert "one held-out part" in text


def test_what_interval_and_p_are_about_is_said_under_the_pairs_and_in_the_glossary(source):
    assert source.count(claims_note(report_example())) == 2


def test_the_caption_says_what_is_not_known_of_an_import(page):
    assert "(imported) was chosen is unknown." in page.text
    assert "(imported)" not in html(one_system(0))


def test_settings_that_differ_come_before_all_settings(page):
    changed = page.text[page.text.index("Settings that differ from the default") : page.text.index("All settings")]
    assert "learning_rate" in changed
    assert "weight_decay" not in changed
    assert "weight_decay" in page.text


def test_several_devices_are_counted(page):
    assert "NVIDIA H200 (31 jobs); cpu (8 jobs)" in page.text


def test_pairs_without_intervals_and_p_values_make_a_page():
    """As from a single dialogue."""
    report = report_example()
    pairs = tuple(
        replace(pair, metrics={name: MetricDifference(found.difference, None, None, None)
                               for name, found in pair.metrics.items()})
        for pair in report.pairs
    )  # fmt: skip
    report = replace(report, pairs=pairs)
    assert "Are the differences real?" in html(report)


def test_imports_alone_make_a_page():
    page = Page(html(one_system(-1)))
    assert "all are imported predictions" in page.text


# The same page in Chromium.


@in_all_windows
def test_in_a_browser_all_can_be_read(chromium, source, tmp_path, size, scheme):
    with opened(chromium, tmp_path / "report.html", source, size, scheme) as view:
        assert_readable(view, scheme)
        view.evaluate("() => document.querySelector('nav a[href=\"#system-cai\"]').click()")
        assert 0 <= view.evaluate("() => document.getElementById('system-cai').getBoundingClientRect().top") < 100


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ("main { width: 90rem; max-width: none; }", OVERFLOW),
        (".scroll { overflow: visible; }", TABLES),
        (".errors li { margin-bottom: -3rem; }", OVERLAPS),
        ("figure svg text { font-size: 14px !important; }", LABELS_OF_PLOTS),
        (":root { --soft: #999; }", CONTRAST),
        (":root { --hue-1: #002; }", CONTRAST),
    ],
)
def test_the_checks_in_a_browser_see_a_broken_page(chromium, source, tmp_path, broken, check):
    with opened(
        chromium, tmp_path / "report.html", source.replace("</style>", f"{broken}</style>"), (390, 844), "light"
    ) as view:
        found = view.evaluate(check)
    assert found[0] > found[1] if check is OVERFLOW else found[0] if check is CONTRAST else found


# Pixels from the top of the page to its details, everything folded, and the tables before them that are cut off.
BEFORE_DETAILS = """() => {
  document.querySelectorAll('details').forEach(one => one.open = false);
  const top = document.getElementById('details').getBoundingClientRect().top + scrollY;
  const tables = [...document.querySelectorAll('.scroll')].filter(box => !box.closest('details'));
  return [top, tables.filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.ariaLabel || box.id)];
}"""


def test_the_answer_leads_and_the_page_is_short_before_its_details(chromium, tmp_path):
    report = replace(with_gates(report_example()), answer="On ravdess, MMER leads <by> 1.4 points.")
    source = html(report)
    assert Page(source).text.index(report.answer) < Page(source).text.index("Which system is better?")
    for size, screens in (((1280, 800), 6), ((390, 844), 6)):
        with opened(chromium, tmp_path / "report.html", source, size, "light") as view:
            top, cut_off = view.evaluate(BEFORE_DETAILS)
        assert top <= screens * size[1]
        assert cut_off == []
