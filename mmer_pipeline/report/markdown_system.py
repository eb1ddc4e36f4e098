"""The part of the Markdown report that is about one system: folds, classes, speakers, errors, how it was made."""

from typing import Any

from mmer_pipeline.report.formats import NOTHING, SELECTIONS, Report, System, folds_line, percent
from mmer_pipeline.report.markdown_text import cell, table

_NOT_SHOWN = ("seed",)  # of the settings: what the table of jobs says


def system_section(report: Report, system: System, name: str) -> str:
    """Folds, classes, speakers, lengths, errors, and how the numbers were made."""
    labels = report["labels"]
    parts = [f"## {cell(system['name'])}: {cell(name)}\n", f"{folds_line(system)}.\n", "### Folds\n", _folds(system)]
    parts += ["### Classes (final, pooled)\n", _classes(system, labels)]
    parts += ["### Confusion (final, pooled)\n", _confusion(system, labels)]
    if system["speakers"]:
        parts += ["### Speakers (final)\n", _speakers(system)]
    if system["lengths"]:
        parts += ["### Utterance length (final)\n", _lengths(system)]
    if system["reliability"]:
        parts += ["### Reliability (final, pooled)\n", _reliability(system)]
    if system["errors"]:
        parts += ["### The most confident errors\n", _errors(system, labels)]
    parts += ["### How it was made\n", _made(system)]
    return "\n".join(parts)


def _folds(system: System) -> str:
    chosen = [name for name in SELECTIONS if system["selections"][name] is not None]
    several = len(system["seeds"]) > 1
    header = [*(["seed"] if several else []), "fold", "held out", "utterances"]
    for name in chosen:
        header += [f"{name} WA", f"{name} UA"] + ([] if name == "final" else [f"{name} epoch"])
    rows = []
    for index, fold in enumerate(system["selections"]["final"]["folds"]):
        row = [*([str(fold["seed"])] if several else []), str(fold["fold"])]
        row += [cell(fold["held_out"]), str(fold["utterances"])]
        for name in chosen:
            entry = system["selections"][name]["folds"][index]
            row += [percent(entry["wa"]), percent(entry["ua"])] + ([] if name == "final" else [str(entry["epoch"])])
        rows.append(row)
    return table(header, rows, left=0)


def _classes(system: System, labels: list[str]) -> str:
    rows = [
        [cell(label), *(percent(row[name]) for name in ("precision", "recall", "f1")), str(row["support"])]
        for label, row in ((label, system["per_class"][label]) for label in labels)
    ]
    return table(["class", "precision", "recall", "F1", "predictions"], rows)


def _confusion(system: System, labels: list[str]) -> str:
    rows = []
    for label, counts in zip(labels, system["confusion"], strict=True):
        total = max(1, sum(counts))
        rows.append([cell(label), *(f"{count} ({100 * count / total:.1f})" for count in counts)])
    return table(["truth ╲ predicted", *map(cell, labels)], rows) + "\nIn brackets: percent of the row.\n"


def _speakers(system: System) -> str:
    rows = [
        [cell(row["speaker"]), str(row["utterances"]), percent(row["wa"]), percent(row["ua"])]
        for row in system["speakers"]
    ]
    return table(["speaker", "utterances", "WA", "UA"], rows)


def _lengths(system: System) -> str:
    rows = [
        [f"{row['from_seconds']:.2f}–{row['to_seconds']:.2f}", str(row["utterances"]), percent(row["error_rate"])]
        for row in system["lengths"]
    ]
    return table(["seconds", "utterances", "errors"], rows)


def _reliability(system: System) -> str:
    rows = [
        [f"{100 * row['lower']:.1f}–{100 * row['upper']:.1f}", str(row["utterances"]),
         percent(row["confidence"]), percent(row["accuracy"])]
        for row in system["reliability"]["bins"]
    ]  # fmt: skip
    ece = f"\nExpected calibration error: {percent(system['reliability']['ece'])}.\n"
    return table(["confidence", "predictions", "mean confidence", "right"], rows) + ece


def _errors(system: System, labels: list[str]) -> str:
    rows = [
        [cell(row["utterance_id"]), cell(row["speaker"]) or NOTHING, cell(row["truth"]), cell(row["prediction"]),
         NOTHING if row["transcript"] is None else cell(row["transcript"]),
         *(f"{100 * row['probabilities'][label]:.1f}" for label in labels)]
        for row in system["errors"]
    ]  # fmt: skip
    return table(["utterance", "speaker", "truth", "predicted", "transcript", *map(cell, labels)], rows, left=5)


def _made(system: System) -> str:
    if not system["runs"]:
        return f"Imported from {cell(system['imported'])}; nothing is known here of how it was trained.\n"
    first = system["runs"][0]
    settings = {name: value for name, value in first["settings"].items() if name not in _NOT_SHOWN}
    rows = [[cell(name), cell(value)] for name, value in settings.items()]
    inputs = ", ".join(f"{cell(name)} {cell(value)}" for name, value in first["inputs"].items() if _is_digest(value))
    return "\n".join(
        [
            table(["setting", "value"], rows, left=2),
            f"Digests: {inputs}.\n",
            *_facts(first["folds"][0]["facts"]),
            _jobs(system),
            *_environments(system),
        ]
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str)


def _facts(facts: dict[str, Any]) -> list[str]:
    """What a run's record says beside its environment, where it does."""
    said = []
    if "trained_parameters" in facts:
        said.append(f"Trained parameters: {facts['trained_parameters']:,}.")
    if facts.get("without_ctc_target") is not None:
        said.append(f"Utterances without a CTC target: {facts['without_ctc_target']}.")
    revisions = {part: revision for part, revision in facts.get("revisions", {}).items() if revision}
    if revisions:
        said.append(f"Revisions: {', '.join(f'{part} {cell(revision)}' for part, revision in revisions.items())}.")
    return [" ".join(said) + "\n"] if said else []


def _jobs(system: System) -> str:
    rows = []
    for run in system["runs"]:
        for fold in run["folds"]:
            minutes, seconds = divmod(round(fold["training_seconds"]), 60)
            hours, minutes = divmod(minutes, 60)
            row = [cell(run["run"]), str(run["seed"]), str(fold["fold"]), f"{hours}:{minutes:02d}:{seconds:02d}"]
            rows.append([*row, f"{fold['utterances_per_second']:.1f}"])
    return table(["run", "seed", "fold", "training time", "utterances a second (median epoch)"], rows)


def environment_line(facts: dict[str, Any]) -> str:
    """Where a job ran and with what."""
    where = ", ".join(str(facts[name]) for name in ("device", "hardware", "platform") if facts.get(name))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{where}, Python {facts['python']}; {versions}; commit {facts['git_commit'] or 'unknown'}"


def _environments(system: System) -> list[str]:
    """A sentence for each of the places that the jobs ran in."""
    jobs: dict[str, list[str]] = {}
    for run in system["runs"]:
        for fold in run["folds"]:
            jobs.setdefault(environment_line(fold["facts"]), []).append(f"{run['run']} {fold['fold']}")
    if len(jobs) == 1:
        return [f"{cell(line)}.\n" for line in jobs]
    return [f"Run and fold {cell(', '.join(where))}: {cell(line)}.\n" for line, where in jobs.items()]
