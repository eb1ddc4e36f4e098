"""The report as Markdown."""

from collections.abc import Sequence
from typing import Any

from mmer_pipeline.metrics import HEADLINE
from mmer_pipeline.report import SELECTIONS

METRIC_NAMES = {"wa": "WA", "ua": "UA", "wf1": "WF1", "macro_f1": "macro-F1"}
MEANING = {
    "final": "last epoch, no selection",
    "validated": "epoch chosen on the validation part (`--validation`)",
    "oracle": "epoch chosen on the held-out fold itself",
}


def percent(value: float) -> str:
    """0.7764 → "77.64"."""
    return f"{100 * value:.2f}"


def mean_and_sd(summary: dict[str, Any]) -> str:
    """Mean ± sample standard deviation over the folds, in percent."""
    spread = f" ± {percent(summary['sd'])}" if summary["sd"] is not None else ""
    return percent(summary["mean"]) + spread


def interval(summary: dict[str, Any]) -> str:
    """The 95 % bootstrap interval of the pooled value in percent, or nothing."""
    low_high = summary["interval_95"]
    return f"{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f}" if low_high else ""


def pooled(summary: dict[str, Any]) -> str:
    """The pooled value in percent, with its interval where there is one."""
    return percent(summary["pooled"]) + (f" ({interval(summary)})" if summary["interval_95"] else "")


def folds_line(run: dict[str, Any]) -> str:
    """How many folds stand in the report, and which do not."""
    there = run["folds_expected"] - len(run["missing"])
    line = f"{there} of {run['folds_expected']} folds"
    if run["missing"]:
        line += ": THE NUMBERS ARE NOT A CROSS-VALIDATION. Missing: " + "; ".join(
            f"fold {number} ({why})" for number, why in run["missing"].items()
        )
    return line


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """The whole report of one or more runs."""
    parts = ["# Speech emotion recognition: results\n"]
    parts += [_run(run) for run in runs]
    parts.append(
        "WA: accuracy over all utterances. UA: mean of the per-class recalls. ±: sample standard deviation over "
        "folds. Pooled: all held-out predictions together; in brackets the 95 % bootstrap interval over dialogues. "
        "The oracle is not a result: it chooses the epoch on the test fold, as many published numbers do.\n"
    )
    return "\n".join(parts)


def _run(run: dict[str, Any]) -> str:
    settings = run["settings"]
    lines = [
        f"## {run['run']}: {settings['system']} on {run['corpus']}\n",
        f"{folds_line(run)}.\n",
        _summary_table(run),
        "### Folds\n",
        _fold_table(run),
        "### Classes (final, pooled)\n",
        _table(
            ["class", "precision", "recall", "F1", "utterances", *(f"→ {label}" for label in run["labels"])],
            [
                [label, *(percent(row[name]) for name in ("precision", "recall", "f1")), str(row["support"]),
                 *map(str, counts)]
                for (label, row), counts in zip(run["per_class"].items(), run["confusion"], strict=True)
            ],
        ),
        "The columns → are the confusion matrix: how often the class was predicted.\n",
        f"Expected calibration error, pooled: {run['ece_pooled']:.4f}."
        + (
            f" Greedy CTC transcripts: WER {percent(run['spelling']['wer'])}, CER {percent(run['spelling']['cer'])}."
            if run["spelling"]
            else ""
        )
        + "\n",
        "### How it was made\n",
        _table(["setting", "value"], [[name, str(value)] for name, value in settings.items()]),
        _made_with(run),
    ]  # fmt: skip
    return "\n".join(lines)


def _summary_table(run: dict[str, Any]) -> str:
    rows = []
    for name in SELECTIONS:
        selection = run["selections"][name]
        if selection is None:
            rows.append([name, MEANING[name], *["–"] * len(HEADLINE), "no validation part was asked for"])
            continue
        summary = selection["summary"]
        means = [mean_and_sd(summary[metric]) for metric in HEADLINE]
        rows.append([name, MEANING[name], *means, f"WA {pooled(summary['wa'])}, UA {pooled(summary['ua'])}"])
    return _table(["number", "epoch", *(METRIC_NAMES[metric] for metric in HEADLINE), "pooled"], rows)


def _fold_table(run: dict[str, Any]) -> str:
    chosen = [name for name in SELECTIONS if run["selections"][name] is not None]
    header = ["fold", "held out", "utterances"]
    for name in chosen:
        header += [f"{name} WA", f"{name} UA"] + ([] if name == "final" else [f"{name} epoch"])
    rows = []
    for index, fold in enumerate(run["selections"]["final"]["folds"]):
        row = [str(fold["fold"]), fold["held_out"], str(fold["utterances"])]
        for name in chosen:
            entry = run["selections"][name]["folds"][index]
            row += [percent(entry["wa"]), percent(entry["ua"])] + ([] if name == "final" else [str(entry["epoch"])])
        rows.append(row)
    return _table(header, rows)


def _made_with(run: dict[str, Any]) -> str:
    facts = next(iter(run["made_with"].values()))
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    inputs = run["inputs"]
    on_the_fly = "" if run["settings"]["speech_features"] else " (computed on the fly)"
    speeds = ", ".join(f"{speed:.1f}" for speed in run["utterances_per_second"].values())
    return (
        f"Device: {facts['device']} ({facts['platform']}, Python {facts['python']}). {versions}. "
        f"Commit: {facts['git_commit'] or 'unknown'}. Corpus fingerprint {inputs['manifest']}, text features "
        f"{inputs['text_features']}, speech features {inputs['speech_features']}{on_the_fly}. "
        f"Utterances without a CTC target: {facts['without_ctc_target']}. "
        f"Training speed by fold (median epoch): {speeds} utterances a second.\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
