"""The methods section for a paper, from the records of the runs alone: `methods.md` and `methods.tex`.

Every statement is about what the runs record. What a record does not say is not said; what differs between systems or
folds is said for each. Citations are Pandoc's, `[@key]` (`references.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from mmer_pipeline.report import method_facts, references
from mmer_pipeline.report.corpus_content import MAJORITY
from mmer_pipeline.report.references import cite, latex_cited
from mmer_pipeline.report.report_content import MetricDifference, Report, System
from mmer_pipeline.report.table_rendering import markdown_text
from mmer_pipeline.report.wording import chance, hole_lines, percent, unit
from mmer_pipeline.scoring.statistics import SAMPLES, has_all_swaps

Paragraphs = list[tuple[str, str]]  # heading, text


def methods(report: Report) -> Paragraphs:
    """Return the paragraphs."""
    trained = [system for system in report.systems if system.runs]
    found = [
        ("Data and protocol", " ".join([_corpus(report), *_protocol(report), *_incomplete(report)])),
        ("Systems", " ".join([*_each(report, method_facts.system), *_fusions(report), *_imports(report)])),
        ("Training", " ".join(_each(report, method_facts.training))),
        ("Metrics", " ".join(filter(None, [_metrics(report), _baselines(report)]))),
        ("Statistics", " ".join(_statistics(report))),
        ("Software and hardware", " ".join(_environment(trained))),
    ]
    return [(heading, text) for heading, text in found if text.strip()]


def methods_markdown(report: Report) -> str:
    """Render `methods.md`."""
    return "\n".join(f"**{heading}.** {markdown_text(text)}\n" for heading, text in methods(report))


def methods_latex(report: Report) -> str:
    r"""Render `methods.tex`, paragraphs for \input."""
    head = "% Made from the records of the runs. Needs \\bibliography{references}."
    parts = (f"\\paragraph{{{heading}.}}\n{latex_cited(text)}\n" for heading, text in methods(report))
    return "\n".join([head, r"{\sloppy", *parts, "\\par}\n"])  # names of versions and commits do not break


def _corpus(report: Report) -> str:
    counts = {system.utterances for system in report.systems}
    largest = max(report.systems, key=lambda system: system.utterances)
    seeds = max(1, len(largest.seeds))
    classes = [f"{label} ({largest.per_class[label].support // seeds:,})" for label in report.labels]
    several = "" if len(counts) == 1 else "up to "
    held_out = f"{several}{max(counts):,} utterances" if largest.is_complete else f"{max(counts):,} utterances so far"
    described = f"the corpus {report.corpus}{cite(*references.of_corpus(report.corpus))}"
    listed = f" of {len(classes)} classes: {method_facts.listed(classes)}" if largest.is_complete else ""
    merged = [
        f"{method_facts.listed(of)} (as {label})"
        for label, of in (report.held_out.merged_labels if report.held_out else {}).items()
    ]
    joined = f" Labels of the corpus were merged: {'; '.join(merged)}." if merged else ""
    return f"We report results on {held_out} of {described}{listed}.{joined}"


def _protocol(report: Report) -> list[str]:
    sentences = _each(report, method_facts.protocol)
    return [*sentences, *_each(report, method_facts.validation), *_each(report, method_facts.seeds)]


def _incomplete(report: Report) -> list[str]:
    """Say which folds are missing: then there is no result of a cross-validation."""
    if not report.holes:
        return []
    lines = [line.partition(":")[0] for line in hole_lines(report)]
    return [f"THE FOLLOWING FOLDS ARE MISSING, so the results are not those of a whole protocol: {'; '.join(lines)}."]


def _fusions(report: Report) -> list[str]:
    return [
        f"{system.title} is the mean of the class probabilities of its systems{cite('kittler1998')}, with "
        f"{system.fused.described}."
        for system in report.systems
        if system.fused
    ]


def _imports(report: Report) -> list[str]:
    return [
        f"The predictions of {system.title} ({system.utterances:,} utterances) were imported; how it was trained, and "
        "how its epoch was chosen, is not recorded."
        for system in report.systems
        if system.imported
    ]


def _each(report: Report, describe: Callable[[System], list[str]]) -> list[str]:
    """Describe trained systems: a sentence that holds for all is said once, others with the names of the systems.

    Nothing is said of all systems if one of them was imported.

    In a sentence, "{}" becomes the names; "For {}, " at its start is left out if it holds for all.
    """
    said: dict[str, list[System]] = {}
    for system in report.systems:
        for sentence in describe(system) if system.runs else ():
            said.setdefault(sentence, []).append(system)
    return [_named(sentence, of, len(report.systems)) for sentence, of in said.items()]


def _named(sentence: str, of: Sequence[System], all_systems: int) -> str:
    names = method_facts.listed([system.title for system in of])
    if len(of) == all_systems:
        rest = sentence.removeprefix("For {}, ")
        sentence = rest[0].upper() + rest[1:] if rest != sentence else sentence
        names = "All systems" if all_systems > 1 else names
    verbs = ("was", "reads") if len(of) == 1 else ("were", "read")
    return sentence.replace("{}", names).replace("{was}", verbs[0]).replace("{reads}", verbs[1])


def _metrics(report: Report) -> str:
    return (
        "WA (weighted accuracy) is the accuracy over all utterances, and UA (unweighted accuracy) the mean of the "
        "recalls of the classes that occur in the held-out part, for which guessing gives "
        f"{percent(chance(report), 1)} %. Results are given as mean ± sample standard deviation over folds and "
        "seeds, each fold and seed counted once."
    )


def _baselines(report: Report) -> str:
    """Say what the cheap baselines are."""
    names = [row.name for row in report.baselines.rows if row.name != MAJORITY] if report.baselines else []
    if not names:
        return ""
    return (
        f"For comparison, logistic regressions were fitted and tested on the same folds, each on nothing but one of: "
        f"{'; '.join(names)}. Their classes are balanced for UA."
    )


def _statistics(report: Report) -> list[str]:
    found = [entry for pair in report.pairs for entry in pair.metrics.values()]
    summaries = [system.selections.final.summary["wa"] for system in report.systems]
    again = any(summary.trained_again and summary.trained_again.interval_95 for summary in summaries)
    sentences = []
    if again:
        sentences.append(
            "95 % intervals of a mean are about systems that are trained again with other seeds and tested on other "
            "speakers: folds (or, with a single held-out part, its speakers) and seeds are both random effects, and "
            f"degrees of freedom are Satterthwaite's{cite('obuchowski1995', 'hillis2007')}."
        )
    if any(summary.interval_95 for summary in summaries):
        sentences.append(
            "95 % intervals of values pooled over all held-out utterances are about these trained models on other "
            f"{unit(report)}s: percentile bootstrap over whole {unit(report)}s with {SAMPLES:,} "
            f"samples{cite('efron1993')}."
        )
    if not sentences:
        sentences.append(f"No intervals are given: there are too few {unit(report)}s.")
    sentences += _tests(report, found)
    if unit(report) == "speaker":
        sentences.append("The corpus names no dialogues, so all utterances of a speaker are kept together.")
    return sentences


def _tests(report: Report, found: Sequence[MetricDifference]) -> list[str]:
    if not found:
        return []
    sentences = []
    if any(entry.is_about_systems for entry in found):
        sentences.append(
            "Differences between systems that were trained with several seeds are tested with the same random effects "
            "(two-sided t test)."
        )
    if any(entry.p is not None and not entry.is_about_systems for entry in found):
        swaps = {has_all_swaps(pair.clusters) for pair in report.pairs}
        of = {True: "all swaps", False: f"{SAMPLES:,} random swaps"}
        sentences.append(
            "Differences between these trained models are tested with a paired randomisation test over whole "
            f"{unit(report)}s, two-sided, with {' or '.join(of[is_all] for is_all in sorted(swaps))}"
            f"{cite('noreen1989')}."
        )
    family = "all pairs of systems" if report.against is None else (
        f"the comparisons with {report.system(report.against).title}"
    )  # fmt: skip
    if sentences:
        number = len(report.pairs)
        sentences.append(
            f"p-values are corrected by Holm's method{cite('holm1979')} over {family} ({number} "
            f"comparison{'s' if number > 1 else ''}), for WA and UA separately."
        )
    return sentences


def _environment(trained: Sequence[System]) -> list[str]:
    facts = [fold.facts for system in trained for run in system.runs for fold in run.folds]
    if not facts:
        return []

    def values(read: Callable[[Any], object]) -> list[str]:
        return list(dict.fromkeys(str(value) for entry in facts if (value := read(entry))))

    found: dict[str, dict[str, None]] = {}
    for entry in facts:
        for name, number in entry["versions"].items():
            found.setdefault(name, {})[number] = None
    versions = [f"{name} {' and '.join(numbers)}" for name, numbers in found.items() if name != "mmer-pipeline"]
    ours = list(found.get("mmer-pipeline", ()))
    commits = values(lambda entry: entry["git_commit"])
    sentences = [
        f"Systems were trained and evaluated with mmer-pipeline{' ' + ' and '.join(ours) if ours else ''}"
        f"{' (commit ' + ', '.join(commits) + ')' if commits else ''}{cite(references.SOFTWARE)}, Python "
        f"{' and '.join(values(lambda entry: entry['python']))}"
        + (f", {method_facts.listed(versions)}." if versions else ".")
    ]
    hardware = values(lambda entry: entry.get("hardware") or entry["device"])
    return [*sentences, f"Training ran on {'; '.join(hardware)}."]
