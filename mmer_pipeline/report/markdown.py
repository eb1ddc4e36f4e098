"""Render the report as Markdown."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from mmer_pipeline.report import (
    comparison_tables,
    pair_table,
    paper_table,
    provenance_tables,
    shortcut_table,
    single_system_tables,
)
from mmer_pipeline.report.head import head
from mmer_pipeline.report.other_corpora_table import TITLE, other_corpora
from mmer_pipeline.report.report_content import Report, System
from mmer_pipeline.report.shortcut_table import shared_speakers, shortcuts
from mmer_pipeline.report.table_rendering import Table, as_markdown, markdown_prose, markdown_text
from mmer_pipeline.report.wording import MEANING, NO_CROSS_VALIDATION, has_published_figures, hole_lines


def markdown(report: Report, pictures: Sequence[str] = ()) -> str:
    """Render the whole report; `pictures` are the paths of its plots, relative to it."""
    count = f"{len(report.systems)} system" + ("s" if len(report.systems) > 1 else "")
    parts = [
        f"# Speech emotion recognition: {count} on {markdown_text(report.corpus)}\n",
        f"**{markdown_text(report.answer)}**\n",
        *([f"> **{markdown_prose(shared)}**\n"] if (shared := shared_speakers(report)) else []),
        *_holes(report),
        "".join(f"- {name}: {markdown_text(line)}\n" for name, line in head(report).items()),
        *_section("Which system is better?", comparison_tables.overview(report)),
        *(_section("Are the differences real?", pair_table.differences(report)) if report.pairs else []),
        *_notes(report),
        *_section("All metrics", comparison_tables.headline(report)),
        *_section("Pooled over all held-out predictions, with 95 % intervals", comparison_tables.pooled(report)),
        *_section("Final, validated and oracle numbers", comparison_tables.selections(report)),
        "".join(f"- {name}: {meaning}\n" for name, meaning in MEANING.items()),
        *(_section("All pairs, and both claims", pair_table.pairs(report)) if report.pairs else []),
        *(
            _section("The same differences between the validated models", pair_table.validated_pairs(report))
            if report.validated_pairs
            else []
        ),
        *(_section(TITLE, other_corpora(report)) if report.other_corpora else []),
        *(_section(shortcut_table.TITLE, table) if (table := shortcuts(report)) else []),
        *_section("F1 by class", comparison_tables.class_f1(report)),
        *(_section("The paper's Table 1", paper_table.table_1(report)) if has_published_figures(report) else []),
        *(part for system in report.systems for part in _system(report, system)),
        "## How the numbers were made\n",
        *_made(report),
    ]
    if pictures:
        parts.append("## Plots\n")
        parts += [f"![{PurePosixPath(path).stem}]({path})\n" for path in pictures]
    return "\n".join(parts)


def _section(title: str, table: Table, level: int = 2) -> list[str]:
    return [f"{'#' * level} {title}\n", as_markdown(table)]


def _holes(report: Report) -> list[str]:
    if not report.holes:
        return []
    listed = "\n".join(f"> - {markdown_prose(line)}" for line in hole_lines(report))
    return [f"> **{NO_CROSS_VALIDATION}.** Missing:\n>\n{listed}\n"]


def _notes(report: Report) -> list[str]:
    if not report.notes:
        return []
    return ["## Before you quote a number\n", "".join(f"- {markdown_prose(note)}\n" for note in report.notes)]


def _system(report: Report, system: System) -> list[str]:
    parts = [f"## {markdown_text(system.name)}: {markdown_text(system.title)}\n"]
    parts.append(
        "".join(f"- {name}: {markdown_text(value)}\n" for name, value in provenance_tables.system_facts(report, system))
    )
    parts += _section("Scores", single_system_tables.scores(report, system), 3)
    parts += _section("Folds", single_system_tables.folds(system), 3)
    parts += _section("Classes", single_system_tables.classes(system.per_class, system.counted), 3)
    parts += _section("Confusion", single_system_tables.confusion(system.confusion, report.labels), 3)
    if system.speakers:
        parts += _section("Speakers", single_system_tables.speakers(system), 3)
    if system.lengths:
        parts += _section("Utterance length", single_system_tables.lengths(system), 3)
    if system.reliability:
        parts += _section("Reliability", single_system_tables.reliability(system), 3)
    if system.errors:
        parts += _section("Most confident errors", single_system_tables.errors(system, report.labels), 3)
    if system.gates:
        parts += _section("Acoustic gate", single_system_tables.gates(system), 3)
        parts += _section("Highest and lowest gates", single_system_tables.gate_extremes(system), 3)
    return parts


def _made(report: Report) -> list[str]:
    if not any(system.runs for system in report.systems):
        return ["No system in this report was trained here: all are imported predictions.\n"]
    gradients = provenance_tables.gradients(report)
    return [
        *_section("Settings", provenance_tables.settings(report), 3),
        *_section("Corpus and features", provenance_tables.inputs(report), 3),
        *_section("Versions, commit and hardware", provenance_tables.environment(report), 3),
        *(_section("Gradients", gradients, 3) if gradients.rows else []),
        *_section("Jobs", provenance_tables.jobs(report), 3),
    ]
