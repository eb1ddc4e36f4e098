"""Write the report's files: Markdown, HTML, JSON, LaTeX with a bibliography, the methods section, and plots."""

from pathlib import Path

from mmer_pipeline import files, paths
from mmer_pipeline.report.latex import latex_column, latex_page
from mmer_pipeline.report.markdown import markdown
from mmer_pipeline.report.methods import methods_latex, methods_markdown
from mmer_pipeline.report.references import bibliography
from mmer_pipeline.report.report_content import Report

NAMES = (
    paths.REPORT_MARKDOWN, paths.REPORT_HTML, paths.REPORT_JSON, paths.REPORT_LATEX, paths.REPORT_LATEX_COLUMN,
    paths.METHODS_MARKDOWN, paths.METHODS_LATEX, paths.REFERENCES,
)  # fmt: skip

PICTURES = (".png", ".svg", ".pdf")


def write_report(report: Report, directory: Path) -> list[Path]:
    """Write the files of `NAMES` and plots/, without earlier pictures, to a directory; return the files in order.

    Each file is written whole or not at all; if the process is killed, the previous file stays.

    Raises:
        UserError: the disk is full.
    """
    # matplotlib is slow to load, and building a report does not need it.
    from mmer_pipeline.report.report_page import html
    from mmer_pipeline.report.report_plots import write_plots

    plots = write_plots(report, directory)
    for path in set((directory / paths.PLOTS_NAME).glob("*")) - set(plots):
        if path.suffix in PICTURES:
            path.unlink()  # of a system that is no longer in the report
    pictures = [path.relative_to(directory).as_posix() for path in plots if path.suffix == ".png"]
    written = [directory / name for name in NAMES]
    files.write_text(written[0], markdown(report, pictures))
    files.write_text(written[1], html(report))
    files.write_json(written[2], report.as_json())
    for_latex = [latex_page(report), latex_column(report), methods_latex(report)]
    files.write_text(written[3], for_latex[0])
    files.write_text(written[4], for_latex[1])
    files.write_text(written[5], methods_markdown(report))
    files.write_text(written[6], for_latex[2])
    files.write_text(written[7], bibliography(for_latex))
    return [*written, *plots]
