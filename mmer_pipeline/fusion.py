"""Late fusion: the weighted mean of the class probabilities of several runs' models on the same held-out parts.

The mean of probabilities is the sum rule, which of the fixed rules suffers least from wrong probabilities (J. Kittler,
M. Hatef, R. P. W. Duin, J. Matas: On combining classifiers, IEEE PAMI 20(3), 1998); a product, or mean of logarithms,
lets one model that is confidently wrong decide alone. `prediction.trained_model` averages its members likewise.
A fusion is a directory with `fusion.json`, which names its members by digests, and the `predictions.csv` of all folds.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmer_pipeline import files, paths, sealed_json
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError, first_few
from mmer_pipeline.evaluations import PredictionRows, read_evaluation, read_rows
from mmer_pipeline.fusion_weights import fit_weights, shares
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.runs import RunRecord, trained_folds, write_predictions
from mmer_pipeline.scoring.metrics import Floats
from mmer_pipeline.settings import DEFAULTS, Settings
from mmer_pipeline.suggested_commands import train_command
from mmer_pipeline.systems.titles import title

_WORDS = {"seed": "seeds", "manifest": "versions of the manifest"}  # for what two runs must have in common
_DIGESTS = ("identity", "model_digest", "predictions_digest")  # of an evaluation: what a fusion depends on
_FUSION = {
    "members": [str],
    "titles": [str],
    "labels": [str],
    "validation": (str, None),
    "folds": [{"fold": int, "held_out": str, "weights": [float], "members": [dict.fromkeys(_DIGESTS, str)]}],
    "predictions_digest": str,
}


@dataclass(frozen=True)
class Fused:
    """How a fusion was made: M members, K folds."""

    members: tuple[str, ...]  # names of the runs
    titles: tuple[str, ...]  # of their systems, each of them once
    weights: tuple[tuple[float, ...], ...]  # [K, M], a sum of 1 each
    validation: str | None  # the validation part that they were fitted on; None: equal, or given

    @property
    def title(self) -> str:
        """The name of the fusion in tables: "Fusion of MMER and Probe"."""
        return f"Fusion of {', '.join(self.titles[:-1])} and {self.titles[-1]}"

    @property
    def described(self) -> str:
        """The weights in words, the range of each over the folds."""
        if self.are_equal:
            return "equal weights"
        ends = [(min(column), max(column)) for column in zip(*self.weights, strict=True)]
        each = [f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}" for low, high in ends]
        said = ", ".join(f"{name} {weight}" for name, weight in zip(self.titles, each, strict=True))
        source = "given weights" if self.validation is None else "weights fitted on the validation part of each fold"
        return f"{source}: {said}"

    @property
    def are_equal(self) -> bool:
        """Whether nothing was said about the weights, and they are equal."""
        return self.validation is None and all(len(set(of_fold)) == 1 for of_fold in self.weights)


@dataclass(frozen=True)
class FusedRun:
    """A fusion as it was read: how it was made, and its predictions for all folds."""

    fused: Fused
    labels: tuple[str, ...]
    held_outs: dict[int, str]  # fold → the value that it holds out
    record: RunRecord  # of the first member's first fold
    rows: PredictionRows


@dataclass(frozen=True)
class _Member:
    """The evaluated folds of a run."""

    run: Path
    records: dict[int, RunRecord]
    evaluations: dict[int, dict[str, Any]]

    @property
    def record(self) -> RunRecord:
        return next(iter(self.records.values()))

    def digests(self, number: int) -> dict[str, str]:
        return {name: self.evaluations[number][name] for name in _DIGESTS}


def combine(probabilities: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """The weighted mean of M members' probabilities `[N, C]` each; the weights have a sum of 1."""
    return np.asarray(np.tensordot(np.asarray(weights), np.stack(list(probabilities)), axes=1))  # [N, C]


def _fuse_command(name: str, fused: Fused) -> str:
    """The command that makes a fusion."""
    given = (
        []
        if fused.validation or fused.are_equal
        else ["--weights", ",".join(f"{weight:g}" for weight in fused.weights[0])]
    )
    return shlex.join(["mmer-pipe", "fuse", *fused.members, "--run", name, *given])


def make_fusion(
    runs: Sequence[Path], target: Path, *, cache: Path, device: str, given: Sequence[float] = ()
) -> tuple[FusedRun, bool]:
    """Fuse the evaluated folds of runs into the directory `target`, unless that is up to date.

    The weights are `given`, one for each run and scaled to a sum of 1. Without any, if all runs have the same
    validation part, their models predict it from the features in `cache`, and each fold's weights are fitted on it; the
    held-out part is never used for this.

    Returns:
        The fusion, and whether it was computed by this call.

    Raises:
        Busy: another process is making this fusion.
        UserError: the runs do not match or lack a fold, the given weights are not one for each, or `target` is a
            trained run.
    """
    names = [run.name for run in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise UserError(f"A fusion needs at least two different runs, found: {', '.join(names)}.")
    if any(target.glob("fold-*")):
        raise UserError(f"{target} is a trained run. Choose another --run for the fusion.")
    fixed = shares(given, len(runs)) if given else None
    members = [_read_member(run) for run in runs]
    numbers = _check_match(members)
    validation = None if fixed else _common_validation(members)
    if validation is None:
        fixed = fixed or (1 / len(members),) * len(members)
    with files.locked(paths.lock_of(target)):
        if paths.fusion(target).is_file():
            try:
                found = read_fusion(target)
            except UserError:  # it is out of date
                pass
            else:
                is_same = (list(found.fused.members), found.fused.validation) == (names, validation)
                if is_same and (fixed is None or set(found.fused.weights) == {fixed}):
                    return found, False
        folds = []
        rows: list[list[str]] = []
        for number in numbers:
            weights = fixed or _fitted(members, number, cache, device)
            rows += _fused_rows(members, number, weights)
            digests = [member.digests(number) for member in members]
            held_out = members[0].evaluations[number]["held_out"]
            folds.append({"fold": number, "held_out": held_out, "weights": list(weights), "members": digests})
        labels = members[0].record.inputs["labels"]
        write_predictions(paths.fused_predictions(target), labels, rows)
        value = {
            "members": names,
            "titles": _titles(members),
            "labels": labels,
            "validation": validation,
            "folds": folds,
            "predictions_digest": digest_of_result(paths.fused_predictions(target)),
        }
        sealed_json.write(paths.fusion(target), value)
        return read_fusion(target), True


def read_fusion(run: Path) -> FusedRun:
    """Read a fusion, whose members are runs in the same directory.

    Raises:
        UserError: a file of it is missing or damaged, or a member has changed since; the message has the command.
    """
    path = paths.fusion(run)
    value = sealed_json.read(path, "mmer-pipe fuse")
    fault = mismatch(value, _FUSION)
    if fault or not value["folds"] or not len(value["titles"]) == len(value["members"]) > 1:
        raise UserError(f"{path} is no fusion: {fault or 'it is empty'}. Run `mmer-pipe fuse` again.")
    fused = Fused(
        tuple(value["members"]),
        tuple(value["titles"]),
        tuple(tuple(entry["weights"]) for entry in value["folds"]),
        value["validation"],
    )
    again = f"Fuse the runs again: {_fuse_command(run.name, fused)}"
    members = [_read_member(run.parent / name) for name in value["members"]]
    known = {entry["fold"]: entry["members"] for entry in value["folds"]}
    for at, member in enumerate(members):
        now = {number: member.digests(number) for number in member.records}
        if now != {number: digests[at] for number, digests in known.items() if at < len(digests)}:
            raise UserError(f"{member.run.name} has been trained or evaluated again since {run.name} was made. {again}")
    predictions = paths.fused_predictions(run)
    if not predictions.is_file() or digest_of_result(predictions) != value["predictions_digest"]:
        raise UserError(f"{predictions} is missing or has changed since it was written. {again}")
    held_outs = {entry["fold"]: entry["held_out"] for entry in value["folds"]}
    return FusedRun(
        fused, tuple(value["labels"]), held_outs, members[0].record, read_rows(predictions, value["labels"])
    )


def _read_member(run: Path) -> _Member:
    """Read the evaluated folds of a run; all that are trained must be evaluated."""
    if not run.is_dir():
        raise UserError(
            f"There is no run {run.name} in {run.parent}. Train it: mmer-pipe train --run {shlex.quote(run.name)}"
        )
    records, evaluations = {}, {}
    for number in trained_folds(run):
        fold = paths.fold(run, number)
        records[number] = RunRecord.read(fold.settings, train_command(Settings(fold=number), run.name, number))
        try:
            evaluations[number] = read_evaluation(fold, records[number], run.name)
        except UserError as error:
            raise UserError(f"Fold {number} of {run.name}: {error}") from None
    return _Member(run, records, evaluations)


def _check_match(members: Sequence[_Member]) -> list[int]:
    """Check that the runs were trained on the same folds; returns their numbers.

    Raises:
        UserError: they were not; the message names the run, both values and the command.
    """
    first = members[0]
    for member in members:
        for number, record in member.records.items():
            reference = first.records.get(number, first.record)
            for name, (mine, theirs) in _facts(record, reference).items():
                if mine != theirs:
                    shown = "" if name == "manifest" else f" ({theirs} and {mine})"
                    settings = replace(record.settings, **_shared(reference.settings))
                    run, restart = member.run.name, " --restart"
                    if name == "seed":
                        run, restart = paths.run_name(paths.without_seed(run), settings.seed), ""
                    raise UserError(
                        f"{first.run.name} and {member.run.name} cannot be fused: they were trained with different "
                        f"{_WORDS.get(name, name)}{shown}. To train them alike, run:\n  "
                        f"{train_command(settings, run)}{restart}"
                    )
    numbers = sorted(set().union(*(member.records for member in members)))
    for member in members:
        if missing := [number for number in numbers if number not in member.records]:
            commands = "\n  ".join(train_command(member.record.settings, member.run.name, number) for number in missing)
            raise UserError(
                f"{member.run.name} lacks folds that the others have: {first_few(list(map(str, missing)), 5)}. "
                f"Train and evaluate them:\n  {commands}"
            )
    return numbers


def _shared(settings: Settings) -> dict[str, Any]:
    """The settings that decide about what is held out, and the seed."""
    return {name: getattr(settings, name) for name in ("folds", "seed")}


def _facts(record: RunRecord, reference: RunRecord) -> dict[str, tuple[Any, Any]]:
    """The facts in which two runs must agree, in words: of the one and of the other."""
    one, other = ({**_shared(entry.settings), **_corpus(entry)} for entry in (record, reference))
    return {name: (one[name], other[name]) for name in one}


def _corpus(record: RunRecord) -> dict[str, Any]:
    labels = ", ".join(record.inputs["labels"])
    columns = record.inputs.get("fold_column")
    return {"labels": labels, "manifest": record.inputs["manifest"], "values of the fold column": columns}


def _common_validation(members: Sequence[_Member]) -> str | None:
    """The validation part that all folds of all runs have; None if there is none, or they differ."""
    found = {
        (record.settings.validation, record.settings.text_disjoint)
        for member in members
        for record in member.records.values()
    }
    value = next(iter(found))[0]
    return None if len(found) > 1 or value == DEFAULTS["validation"] else value


def _titles(members: Sequence[_Member]) -> list[str]:
    """The titles of the members' systems, with the name of the run where two share one."""
    found = [title(asdict(member.record.settings)) for member in members]
    return [
        f"{name} [{member.run.name}]" if found.count(name) > 1 else name
        for name, member in zip(found, members, strict=True)
    ]


def _fused_rows(members: Sequence[_Member], number: int, weights: Sequence[float]) -> list[list[str]]:
    """The rows of predictions.csv for a fold.

    Raises:
        UserError: the members did not predict the same utterances, or not with the same classes.
    """
    labels = members[0].record.inputs["labels"]
    parts = [read_rows(paths.fold(member.run, number).predictions, labels) for member in members]
    first = parts[0]
    for member, part in zip(members, parts, strict=True):
        if part.utterance_ids != first.utterance_ids or (part.truth != first.truth).any():
            raise UserError(
                f"Fold {number} of {member.run.name} holds out other utterances or labels than that of "
                f"{members[0].run.name}. Train it again: "
                f"{train_command(member.records[number].settings, member.run.name, number)} --restart"
            )
    fused = combine([part.probabilities for part in parts], weights)
    cells = zip(first.utterance_ids, first.folds, first.speakers, first.dialogues, first.truth, fused, strict=True)
    return [
        [name, str(fold), speaker, dialogue, labels[truth], labels[int(row.argmax())],
         *(f"{value:.6f}" for value in row), ""]
        for name, fold, speaker, dialogue, truth, row in cells
    ]  # fmt: skip


def _fitted(members: Sequence[_Member], number: int, cache: Path, device: str) -> tuple[float, ...]:
    """The weights of a fold, fitted on its validation part, which the saved models predict."""
    from mmer_pipeline.training.evaluation import check_code, score_fold  # torch is not needed for equal weights

    found = []
    for member in members:
        check_code(member.records[number], member.run)
        found.append(
            score_fold(member.run, member.records[number], cache=cache, device=device, part="validation").predictions
        )
    if any(part.utterance_ids != found[0].utterance_ids for part in found):
        raise UserError(
            f"The validation parts of fold {number} differ between {', '.join(m.run.name for m in members)}."
        )
    return fit_weights([part.probabilities for part in found], found[0].truth)
