"""One table in every form: nothing breaks it, and what a narrow terminal leaves out is what the columns say."""

import re

import pytest
from helpers.report_example import report_example, with_comparable
from rich.console import Console

from mmer_pipeline.report import comparison_tables, paper_table, provenance_tables, single_system_tables
from mmer_pipeline.report.table_rendering import (
    Cell,
    Column,
    as_latex,
    as_markdown,
    as_rich,
    grouped_table_of,
    latex_prose,
    latex_text,
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
        comparison_tables.pairs(report),
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
            single_system_tables.scores(system),
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
        comparison_tables.pairs(report),
        paper_table.table_1(with_comparable(report)),
        single_system_tables.scores(system),
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


def test_long_names_may_break_after_underscores_and_slashes():
    assert latex_prose("a/b_c, 1 / 2") == r"a/\allowbreak{}b\_\allowbreak{}c, 1 / 2"


def test_pairs_of_systems_are_marked_where_the_corrected_p_is_small():
    report = report_example()
    marked = [row[3].strong for row in comparison_tables.pairs(report).rows]
    assert marked == [pair.metrics["wa"].p_holm < comparison_tables.SIGNIFICANT for pair in report.pairs]
    assert re.search(r"\*\*\+\d+\.\d\d \(", as_markdown(comparison_tables.pairs(report)))
