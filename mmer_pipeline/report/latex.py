r"""The report's main table as LaTeX: our systems beside the published figures, to `\input` where booktabs is loaded."""

from mmer_pipeline.report.formats import (
    Report,
    System,
    epoch_caveat,
    is_complete,
    not_comparable,
    percent,
    protocol,
    row_names,
    signed,
)

_ESCAPES = {
    "\\": r"\textbackslash{}",
    **{mark: rf"\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # not the option of a line's end before it
    "α": r"$\alpha$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "…": r"\dots{}",
}


def escape(text: str) -> str:
    """Text as LaTeX sets it, on one line."""
    return "".join(_ESCAPES.get(letter, letter) for letter in " ".join(text.split()))


def latex(report: Report) -> str:
    """`table.tex`: one `table` environment with the label `tab:results`."""
    comparable = report["table_1"]["comparable"]
    columns = "lllrrr" + ("r" if comparable else "")
    header = ["Method", "Modality", "Folds", "Published WA", "WA", "UA", *(["Difference"] if comparable else [])]
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{_caption(report)}}}",
        r"  \label{tab:results}",
        f"  \\begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        f"    {_row(header)}",
        *_rows(report, len(columns)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(report: Report) -> str:
    corpus = escape(report["corpus"])
    seeds = sorted({len(system["seeds"]) for system in report["systems"] if system["seeds"]})
    how = protocol(system["folds_expected"] for system in report["systems"])
    if seeds:
        how += f", {_numbers(seeds)} {'seed' if seeds == [1] else 'seeds'}"
    used = sorted({name for system in report["systems"] for name in system["encoders"].values() if name})
    text = [
        f"Speech emotion recognition on {corpus} in percent: {how};",
        "mean $\\pm$ standard deviation over folds and seeds, at the last epoch, without any selection.",
    ]
    if caveat := epoch_caveat(report):
        text.append(escape(caveat))
    if used:
        text.append(f"Encoders: {escape(', '.join(used))}.")
    if report["table_1"]["comparable"]:
        text.append("Published figures as in Table 1 of the MMER paper.")
    else:
        text.append(escape(not_comparable(report)))
    if report["holes"] or not all(map(is_complete, report["systems"])):
        text.append("\\textbf{Folds are missing: the numbers are not a cross-validation.}")
    return " ".join(text)


def _numbers(values: list[int]) -> str:
    return " or ".join(map(str, values))


def _rows(report: Report, columns: int) -> list[str]:
    names = row_names(report)
    by_name = {system["name"]: system for system in report["systems"]}
    comparable = report["table_1"]["comparable"]
    lines, group = [], None
    for row in report["table_1"]["rows"]:
        if row["group"] != group:
            group = row["group"]
            lines += [r"    \midrule", f"    \\multicolumn{{{columns}}}{{l}}{{\\emph{{{escape(group)}}}}} \\\\"]
        ours = by_name.get(row["ours"])
        method = escape(row["method"])
        if ours is not None and names[ours["name"]] != row["method"]:
            method += f" / {escape(names[ours['name']])}"
        published = row["published_wa"]
        cells = [method, escape(row["modality"]) or "--", str(row["folds"])]
        cells += ["--" if published is None else percent(published), *_scores(ours)]
        if comparable:
            cells.append(_difference(ours, published))
        lines.append(f"    {_row(cells)}")
    return lines


def _scores(system: System | None) -> list[str]:
    if system is None:
        return ["--", "--"]
    cells = []
    for name in ("wa", "ua"):
        entry = system["selections"]["final"]["summary"][name]
        spread = f" $\\pm$ {percent(entry['sd'])}" if entry["sd"] is not None else ""
        cells.append(percent(entry["mean"]) + spread)
    return cells


def _difference(system: System | None, published: float | None) -> str:
    if system is None or published is None or not is_complete(system):
        return "--"
    return escape(signed(system["selections"]["final"]["summary"]["wa"]["mean"] - published))


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
