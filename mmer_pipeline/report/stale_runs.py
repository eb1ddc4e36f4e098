"""Leave out what was trained before something changed, so that it does not keep the rest from being reported."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.runs import CODE, OF_A_FOLD, RunRecord
from mmer_pipeline.suggested_commands import train_command

if TYPE_CHECKING:
    from mmer_pipeline.report.run_results import RunResults, SystemResults

SHARED_CODE = ("corpora.", "encoders.", "training.")  # packages of modules that all systems use
SAID_VERSIONS = ("torch", "transformers")  # libraries of which another version may change last digits


def differences(one: RunRecord, other: RunRecord, apart_from: Sequence[str] = OF_A_FOLD) -> list[str]:
    """List the differences between two records, each as "name: this → that", except the named ones."""
    return [line for line in one.differences(other) if line.partition(":")[0] not in apart_from]


def one_training(run: Path, records: Mapping[int, RunRecord]) -> tuple[list[int], str]:
    """Choose the folds that were trained with the same settings, code and features.

    Of several such groups, the only complete cross-validation is chosen: the others are left from before a change, such
    as that of `--folds`.

    Returns:
        The numbers of the chosen folds, none if no choice is possible, and why the others are left out ("": all are
        chosen).
    """
    groups: list[list[int]] = []
    for number in records:
        for group in groups:
            if not differences(records[group[0]], records[number]):
                group.append(number)
                break
        else:
            groups.append([number])
    if len(groups) < 2:
        return list(records), ""
    complete = [group for group in groups if len(group) == len(records[group[0]].facts["folds"])]
    if len(complete) != 1:
        first, other = groups[0][0], groups[1][0]
        listed = "; ".join(differences(records[first], records[other]))
        return [], (
            f"folds {first} and {other} were trained with different settings, code or features and do not form a "
            f"cross-validation: {listed}. Retrain one of the two groups of folds: "
            f"{train_command(records[other].settings, run.name)} --restart"
        )
    chosen = complete[0]
    others = [number for number in records if number not in chosen]
    listed = "; ".join(differences(records[others[0]], records[chosen[0]]))
    folders = ", ".join(f"fold-{number}" for number in others)
    return chosen, f"left out, trained before a change ({listed}): {folders}. Delete them if you do not need them."


def without_stale(runs: Sequence["RunResults"]) -> tuple[list["RunResults"], list[Hole]]:
    """Leave out runs that cannot be compared with the others because their manifest has changed since.

    Nothing is left out of runs that can be compared, or that are all stale or all current.
    """
    if _same(runs, _classes_of) and _same_truth(runs):
        return list(runs), []
    current = [run for run in runs if _is_current(run.record)]
    if not (current and _same(current, _classes_of) and _same_truth(current)):
        return list(runs), []
    kept, holes = [], []
    for run in runs:
        if run in current or (_same([current[0], run], _classes_of) and _same_truth([*current, run])):
            kept.append(run)
            continue
        manifest = run.record.facts["manifest"]
        holes.append(
            Hole(
                run.name,
                None,
                f"left out, trained on other labels than {current[0].name}: its manifest, {manifest}, has changed or "
                f"is gone. Train it again: {train_command(run.record.settings, run.name)} --restart",
            )
        )
    return kept, holes


def _edited(system: "SystemResults") -> set[tuple[str, str]]:
    """The modules, with their versions, that all systems use and that were not as first released."""
    inputs = system.runs[0].record.inputs
    edited = {(name.removeprefix(CODE), str(value)) for name, value in inputs.items() if name.startswith(CODE)}
    return {entry for entry in edited if entry[0].startswith(SHARED_CODE)}


def _is_current(record: RunRecord) -> bool:
    """Whether the manifest is still the one that the run was trained on."""
    try:
        manifest = read_manifest(Path(record.facts["manifest"]))
    except UserError:
        return False
    return manifest.digest == str(record.inputs["manifest"])


def _classes_of(run: "RunResults") -> Any:
    return run.record.facts["corpus"], run.folds[0].evaluation.labels


def _same(runs: Sequence["RunResults"], value: Callable[["RunResults"], Any]) -> bool:
    return len({value(run) for run in runs}) < 2


def _same_truth(runs: Sequence["RunResults"]) -> bool:
    """Whether no utterance has two true classes; the runs have the same classes."""
    known: dict[str, int] = {}
    return all(
        known.setdefault(name, truth) == truth
        for run in runs
        for fold in run.folds
        for name, truth in zip(fold.held_out.utterance_ids, fold.held_out.truth.tolist(), strict=True)
    )


def training_notes(systems: Sequence["SystemResults"]) -> list[str]:
    """Name folds left from before a change, and systems trained by other code or with several library versions."""
    trained = [system for system in systems if system.runs]
    notes = [f"{run.name}: {run.left_out}" for system in trained for run in system.runs if run.left_out]
    for system in trained[1:]:
        if other := sorted(_edited(trained[0]) ^ _edited(system)):
            notes.append(
                f"{system.name}: trained by another version of {', '.join(dict(other))} than {trained[0].name}; the "
                "two differ in more than the system."
            )
    for system in trained:
        facts = [fold.record.facts.get("versions", {}) for run in system.runs for fold in run.folds]
        for library in SAID_VERSIONS:
            found = sorted({str(versions[library]) for versions in facts if library in versions})
            if len(found) > 1:
                notes.append(
                    f"{system.name}: trained with several versions of {library} ({', '.join(found)}), whose results "
                    "may differ in their last digits. To train all folds with one version, use `--restart`."
                )
    return notes
