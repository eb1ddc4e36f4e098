"""One table in every form: nothing breaks it, and what a narrow terminal leaves out is what the columns say."""

import re
from dataclasses import replace

import pytest
from helpers.report_example import report_example, with_comparable
from rich.console import Console

from mmer_pipeline.report import comparison_tables, pair_table, paper_table, provenance_tables, single_system_tables
from mmer_pipeline.report.latex_text import latex_prose, latex_text
from mmer_pipeline.report.report_content import TrainedAgain
from mmer_pipeline.report.table_rendering import (
    Cell,
    Column,
    as_latex,
    as_markdown,
    as_rich,
    grouped_table_of,
    markdown_prose,
    markdown_text,
    table_of,
)


def example():
    """Two groups of rows, a column that is not essential, cells with more, a strong one."""
    return grouped_table_of(
        "What `it` is.",
        [("first", [("a|b", 1.5)]), ("second", [("c", 2.5)])],
        [
            (Column("name", "text"), lambda item: item[0]),
            (Column("value", group="all"), lambda item: Cell(str(item[1]), "± 0.10", strong=item[1] > 2)),
            (Column("twice", group="all", priority=1), lambda item: str(2 * item[1])),
        ],
        ["A note.", ""],
    )


def shown(table, width):
    console = Console(width=width)
    with console.capture() as capture:
        console.print(as_rich(table, width))
    return capture.get()


def every_table(report):
    yield from (
        comparison_tables.headline(report),
        comparison_tables.pooled(report),
        comparison_tables.selections(report),
        pair_table.pairs(report),
    )
    yield from (
        comparison_tables.class_f1(report),
        paper_table.table_1(report),
        provenance_tables.settings(report),
        provenance_tables.inputs(report),
    )
    yield from (provenance_tables.environment(report), provenance_tables.jobs(report))
    for system in report.systems:
        yield from (
            single_system_tables.scores(report, system),
            single_system_tables.folds(system),
            single_system_tables.speakers(system),
            single_system_tables.lengths(system),
        )
        yield from (single_system_tables.reliability(system), single_system_tables.errors(system, report.labels))
        yield single_system_tables.classes(system.per_class, system.counted)
        yield single_system_tables.confusion(system.confusion, report.labels)


def test_every_row_has_a_cell_a_column_in_every_table():
    for table in every_table(report_example()):
        assert {len(row) for row in table.rows} <= {len(table.columns)}
        assert sum(len(columns) for _, columns in table.column_groups) == len(table.columns)


def test_markdown_has_caption_header_groups_and_notes():
    assert as_markdown(example()) == (
        "What `it` is.\n\n"
        "| name | all value | all twice |\n"
        "| --- | ---: | ---: |\n"
        "| **first** |  |  |\n"
        "| a\\|b | 1.5 ± 0.10 | 3.0 |\n"
        "| **second** |  |  |\n"
        "| c | **2.5 ± 0.10** | 5.0 |\n\n"
        "A note.\n"
    )


def test_latex_has_the_essential_columns():
    assert as_latex(example()) == [
        r"\begin{tabularx}{\linewidth}{@{}>{\raggedright\arraybackslash\hspace{0pt}}Xr@{}}",
        r"  \toprule",
        r"   & \multicolumn{1}{c}{All} \\",
        r"  \cmidrule(lr){2-2}",
        r"  Name & Value \\",
        r"  \midrule",
        r"  \multicolumn{2}{@{}l}{\emph{first}} \\",
        r"  a\textbar{}b & 1.5\,{\scriptsize $\pm$0.10} \\",
        r"  \midrule",
        r"  \multicolumn{2}{@{}l}{\emph{second}} \\",
        r"  c & 2.5\,{\scriptsize $\pm$0.10} \\",
        r"  \bottomrule",
        r"\end{tabularx}",
    ]


def test_a_terminal_stacks_a_cell_then_leaves_columns_out_then_takes_the_air():
    wide, stacked, narrow, tight = (shown(example(), width) for width in (80, 30, 22, 18))
    assert "1.5 ± 0.10" in wide
    assert "twice" in wide
    assert "1.5 ± 0.10" not in stacked
    assert "twice" in stacked
    assert "twice" not in narrow
    assert "│ a|b " in narrow
    assert "│a|b" in tight
    assert all("± 0.10" in text for text in (wide, stacked, narrow, tight))


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_table_is_wider_than_the_terminal_and_none_is_cut(width):
    report = report_example()
    system = report.systems[0]  # seeds and a validation part: as wide as they come
    for table in (
        comparison_tables.headline(report),
        pair_table.pairs(report),
        paper_table.table_1(with_comparable(report)),
        single_system_tables.scores(report, system),
        single_system_tables.folds(system),
        single_system_tables.classes(system.per_class, system.counted),
        single_system_tables.confusion(system.confusion, report.labels),
    ):
        text = shown(table, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_what_a_narrow_terminal_leaves_out_a_wide_one_shows():
    headline = comparison_tables.headline(report_example())
    assert "macro-F1" not in shown(headline, 80)
    assert "macro-F1" in shown(headline, 160)


def test_an_empty_table_is_a_header():
    table = table_of("Nothing.", [], [(Column("name", "text"), str), (Column("value"), str)])
    assert "| name | value |" in as_markdown(table)
    assert "value" in shown(table, 80)


def test_markdown_text_is_text_and_one_line():
    assert markdown_text("a|b\n*c*  `d`") == "a\\|b \\*c\\* \\`d\\`"
    assert markdown_text("<b>") == "\\<b>"
    assert markdown_text("[x](http://y)") == "[x]\\(http://y)"
    assert markdown_text("text_encoder") == "text_encoder"
    assert markdown_text("_no_") == "\\_no\\_"


def test_commands_in_prose_stay_code():
    assert markdown_prose("see `--folds`, not <b>") == "see `--folds`, not \\<b>"


def test_what_means_something_to_latex_is_escaped():
    assert latex_text("a_b & 5% of $1 #2 {x} ~ ^ \\ <|>") == (
        r"a\_b \& 5\% of \$1 \#2 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
    assert latex_text("α = 0.1\n± − × –") == r"$\alpha$~=~0.1 $\pm$ $-$ $\times$ --"
    assert latex_text('σ Δ ς ο Α "x"') == (
        r"$\sigma$ $\Delta$ $\varsigma$ o A \textquotedblright{}x\textquotedblright{}"
    )


def test_any_letter_becomes_something_that_pdflatex_knows():
    assert latex_text("é ß σ 𝜎 ş ű e\u0301 ² ﬁ") == r"\'{e} \ss{} $\sigma$ $\sigma$ \c{s} \H{u} \'{e} 2 fi"
    assert latex_text("中 Ж") == r"\texttt{U+4E2D} \texttt{U+0416}"
    assert latex_text("".join(map(chr, range(0x80, 0x3000)))).isascii()


def test_long_names_may_break_after_underscores_and_slashes():
    assert latex_prose("a/b_c, 1 / 2") == r"a/\allowbreak{}b\_\allowbreak{}c, 1 / 2"


def test_pairs_of_systems_are_marked_where_the_corrected_p_of_the_widest_claim_is_small():
    report = report_example()
    table = pair_table.pairs(report)
    titles = [f"{column.group} {column.title}" for column in table.columns]
    assert titles == [
        " first − second", "trained again difference (95\u00a0%)", "trained again p", "trained again p (Holm)",
        "these models difference (95\u00a0%)", "these models p", "these models p (Holm)", " at most", " would need",
        " utterances", " dialogues",
    ]  # fmt: skip
    assert [group.title for group in table.groups] == ["WA", "UA"]
    for metric, group in zip(("wa", "ua"), table.groups, strict=True):
        for pair, row in zip(report.pairs, group.rows, strict=True):
            found = pair.metrics[metric]
            about_systems = found.trained_again.p is not None
            is_small = (found.trained_again.p_holm if about_systems else found.p_holm) < pair_table.SIGNIFICANT
            assert [row[3].strong, row[6].strong] == [is_small and about_systems, is_small and not about_systems]
            assert (row[7].text == "–") == is_small
    assert re.search(r"\*\*[+−]\d+\.\d\d \(", as_markdown(table))


def with_difference(report, **changes):
    """The report with one pair, whose WA and UA have these values."""
    pair = report.pairs[0]
    return replace(report, pairs=(replace(pair, metrics={
        metric: replace(found, **changes) for metric, found in pair.metrics.items()
    }),))  # fmt: skip


def test_a_difference_that_is_not_significant_is_said_to_be_at_most_what_its_interval_does_not_exclude():
    again = TrainedAgain(0.004, (-0.023, 0.031), 4.0, 0.6, 0.6, "fold", 5, (3, 3), 88, None)
    report = with_difference(report_example(), difference=0.01, interval_95=(0.002, 0.018), p=0.01, p_holm=0.01,
                             trained_again=again)  # fmt: skip
    table = pair_table.pairs(report)
    shown_row = [cell.line for cell in table.rows[0]]
    assert shown_row[1:9] == [
        "+0.40 (−2.3, +3.1)", "0.600", "0.600", "+1.00 (+0.2, +1.8)", "0.010", "0.010", "3.1", "88 folds",
    ]  # fmt: skip
    assert not any(cell.strong for cell in table.rows[0])  # significant for these models only
    text = as_markdown(table)
    assert "0 of 1 pairs in WA, 0 in UA" in text
    assert "A difference that is not in bold has not been shown to be zero" in text
    assert "no difference" not in text
    assert "3.1" in shown(table, 80)


def test_without_several_seeds_the_table_is_about_these_models_only():
    again = TrainedAgain(0.03, unit="fold", units=5, seeds=(1, 1), units_needed=17, why_not="a: trained with one seed")
    report = with_difference(report_example(), p_holm=0.01, trained_again=again)
    table = pair_table.pairs(report)
    assert {column.group for column in table.columns} == {"", "these models"}
    assert "for “these models”, which says nothing about the systems: 1 of 1 pairs in WA, 1 in UA" in table.notes[0]
    assert [row[5].text for row in table.rows] == ["17 folds"] * 2  # whatever these models show


def test_more_seeds_are_named_where_they_are_enough():
    again = TrainedAgain(0.03, (-0.01, 0.07), 4.0, 0.2, 0.2, "speaker", 12, (2, 2), 17, 6)
    table = pair_table.pairs(with_difference(report_example(), trained_again=again))
    assert table.rows[0][8].text == "17 speakers or 6 seeds"


def test_one_reference_system_is_named_in_the_correction():
    report = report_example()
    assert "Holm: corrected for all pairs" in " ".join(pair_table.pairs(report).notes)
    report = replace(report, against="mmer")
    assert "Holm: corrected for the pairs with MMER (α = 0.1)" in " ".join(pair_table.pairs(report).notes)
