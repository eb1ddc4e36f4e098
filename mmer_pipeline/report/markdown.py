"""The report as Markdown."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from mmer_pipeline.report.formats import (
    ALPHA_NOTE,
    GAP,
    MEANING,
    METRIC_NAMES,
    NO_CROSS_VALIDATION,
    NOTHING,
    ONE_FOLD,
    PAIRS_NOTE,
    SELECTIONS,
    Report,
    chance,
    encoders,
    epoch_caveat,
    folds_and_seeds,
    hole_lines,
    is_complete,
    mean_and_sd,
    not_comparable,
    p_value,
    percent,
    pooled,
    row_names,
    signed,
    signed_interval,
)
from mmer_pipeline.report.markdown_system import system_section
from mmer_pipeline.report.markdown_text import cell, table
from mmer_pipeline.scoring.metrics import HEADLINE


def markdown(report: Report, pictures: Sequence[str] = ()) -> str:
    """The whole report; `pictures` are the paths of its plots as they stand beside it."""
    names = row_names(report)
    count = f"{len(report['systems'])} system" + ("s" if len(report["systems"]) > 1 else "")
    parts = [
        f"# Speech emotion recognition: {count} on {cell(report['corpus'])}\n",
        *_warnings(report),
        f"Classes: {', '.join(map(cell, report['labels']))}. Held-out utterances: "
        f"{max(system['utterances'] for system in report['systems'])}. All numbers are percent.\n",
        "## Results: the last epoch, no selection\n",
        _headline(report, names),
        "## All held-out predictions together, with 95 % intervals\n",
        _pooled(report, names),
        "## Three numbers, kept apart\n",
        _selections(report, names),
    ]
    if report["pairs"]:
        parts += ["## Is the difference real?\n", _pairs(report, names)]
    parts += ["## The paper's Table 1\n", _table_1(report, names)]
    parts += [system_section(report, system, names[system["name"]]) for system in report["systems"]]
    if pictures:
        parts.append("## Plots\n")
        parts += [f"![{PurePosixPath(path).stem}]({path})\n" for path in pictures]
    return "\n".join(parts)


def _warnings(report: Report) -> list[str]:
    parts = []
    if report["holes"]:
        listed = "\n".join(f"> - {cell(line)}" for line in hole_lines(report))
        parts.append(f"> **{NO_CROSS_VALIDATION}.** Missing:\n>\n{listed}\n")
    if report["notes"]:
        parts.append("\n".join(f"> Note: {cell(note)}\n>" for note in report["notes"]).removesuffix("\n>") + "\n")
    return parts


def _headline(report: Report, names: dict[str, str]) -> str:
    rows = []
    for system in report["systems"]:
        summary = system["selections"]["final"]["summary"]
        rows.append(
            [cell(names[system["name"]]), cell(encoders(system)), folds_and_seeds(system), str(system["utterances"])]
            + [mean_and_sd(summary[metric]) for metric in HEADLINE]
        )
    header = ["system", "encoders", "folds × seeds", "utterances", *(METRIC_NAMES[metric] for metric in HEADLINE)]
    return (
        table(header, rows, left=2)
        + "\nWA: accuracy over all utterances. UA: mean of the per-class recalls. "
        f"Guessing has a UA of {percent(chance(report))}. ±: sample standard deviation over folds and "
        f"seeds. {cell(epoch_caveat(report))}".rstrip()
        + "\n"
    )


def _pooled(report: Report, names: dict[str, str]) -> str:
    rows = []
    for system in report["systems"]:
        summary = system["selections"]["final"]["summary"]
        ece = percent(system["reliability"]["ece"]) if system["reliability"] else NOTHING
        spelt = system["spelling"]
        rates = [percent(spelt[name]) if spelt else NOTHING for name in ("wer", "cer")]
        rows.append([cell(names[system["name"]]), *(pooled(summary[metric]) for metric in HEADLINE), ece, *rates])
    header = ["system", *(METRIC_NAMES[metric] for metric in HEADLINE), "ECE", "WER", "CER"]
    return (
        table(header, rows) + "\nIn brackets the 95 % bootstrap interval that draws whole dialogues, not utterances. "
        "ECE: expected calibration error. WER and CER: of the greedy transcripts of CTC heads, the mean over "
        "folds and seeds.\n"
    )


def _selections(report: Report, names: dict[str, str]) -> str:
    shown = [name for name in SELECTIONS if any(system["selections"][name] for system in report["systems"])]
    rows = []
    for system in report["systems"]:
        row = [cell(names[system["name"]])]
        for selection in shown:
            found = system["selections"][selection]
            row += [mean_and_sd(found["summary"][name]) if found else NOTHING for name in ("wa", "ua")]
        gap = system["oracle_gap"]
        rows.append(row + [signed(gap[name]) if gap else NOTHING for name in ("wa", "ua")])
    header = ["system", *(f"{selection} {name}" for selection in shown for name in ("WA", "UA"))]
    header += ["oracle − final WA", "oracle − final UA"]
    meaning = "; ".join(f"{name}: {words}" for name, words in MEANING.items())
    return (
        table(header, rows) + f"\n{meaning[0].upper()}{meaning[1:]}. Oracle − final is {GAP}. The oracle is not a "
        "result: it chooses the epoch on the test fold, as many published numbers do.\n"
    )


def _pairs(report: Report, names: dict[str, str]) -> str:
    rows = []
    for pair in report["pairs"]:
        row = [f"{cell(names[pair['first']])} − {cell(names[pair['second']])}"]
        row += [str(pair["utterances"]), str(pair["clusters"])]
        for entry in pair["metrics"].values():
            row += [signed(entry["difference"]), signed_interval(entry), p_value(entry["p"]), p_value(entry["p_holm"])]
        rows.append(row)
    header = ["first − second", "utterances", "dialogues"]
    header += [f"{name} {what}".strip() for name in ("WA", "UA") for what in ("difference", "95 %", "p", "p (Holm)")]
    return (
        table(header, rows)
        + "\nPoints of a percent, on the utterances that both have, each counting once. 95 %: paired "
        "bootstrap over dialogues. p: paired randomisation test, dialogues swapped as a whole; Holm: corrected for the "
        f"number of pairs, WA and UA apart. {PAIRS_NOTE}\n"
    )


def _table_1(report: Report, names: dict[str, str]) -> str:
    comparable = report["table_1"]["comparable"]
    by_name = {system["name"]: system for system in report["systems"]}
    rows, group = [], ""
    for line in report["table_1"]["rows"]:
        ours = by_name.get(line["ours"])
        published = line["published_wa"]
        row = ["" if line["group"] == group else f"**{line['group']}**", cell(line["method"])]
        row.append(f"{line['folds']}-fold" if line["folds"] > 1 else ONE_FOLD)
        row += [line["modality"] or NOTHING, NOTHING if published is None else percent(published)]
        group = line["group"]
        if ours is None:
            rows.append([*row, NOTHING, "", *([""] if comparable else [])])
            continue
        mean = ours["selections"]["final"]["summary"]["wa"]
        row += [mean_and_sd(mean), f"{cell(names[ours['name']])}, {cell(report['corpus'])}, {cell(encoders(ours))}"]
        if comparable:
            row.append(signed(mean["mean"] - published) if published is not None and is_complete(ours) else NOTHING)
        rows.append(row)
    header = ["group", "method", "CV", "modality", "published WA (IEMOCAP)", "our final WA", "ours is"]
    said = (
        "Ours − published is of the mean WA; published numbers may have their epoch chosen on the test fold."
        if comparable
        else cell(not_comparable(report))
    )
    return table(header + (["ours − published"] if comparable else []), rows, left=4) + f"\n{said} {ALPHA_NOTE}\n"
