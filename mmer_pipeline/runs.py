"""Everything in a run's directory, for readers that load no model.

The record of a run (`settings.json`), its epochs (`metrics.jsonl`), its evaluation and its predictions.
"""

import csv
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths
from mmer_pipeline.digests import digest_of_facts, digest_of_result
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings

PREDICTION_COLUMNS = ("utterance_id", "fold", "speaker", "dialogue", "truth", "prediction")
PROBABILITY_PREFIX = "probability_"  # before a class's name
TRANSCRIPT_COLUMN = "transcript_ctc"
_LIBRARIES = ("mmer-pipeline", "torch", "transformers", "accelerate", "numpy", "scikit-learn", "h5py")


@dataclass(frozen=True)
class RunRecord:
    """`settings.json` of a fold."""

    settings: Settings
    inputs: dict[str, Any]  # digests of manifest and features, labels, alphabet: with the settings the identity
    facts: dict[str, Any]  # where it ran and with what; not part of the identity

    @property
    def digest(self) -> str:
        """16 hex digits of the run's identity: everything that can change its result."""
        return digest_of_facts({"settings": self.settings.identity(), "inputs": self.inputs})

    def write(self, path: Path) -> None:
        """Write `settings.json`."""
        value = {
            "identity": self.digest,
            "settings": asdict(self.settings),
            "inputs": self.inputs,
            "facts": self.facts,
        }
        files.write_json(path, value)

    @staticmethod
    def read(path: Path, made_by: str) -> "RunRecord":
        """Read `settings.json`.

        Raises:
            UserError: it is missing, broken, or another version's.
        """
        value = files.read_json(path, made_by)
        known = {field.name for field in fields(Settings)}
        try:
            unknown = sorted(set(value["settings"]) - known)
            if not unknown:
                return RunRecord(Settings(**value["settings"]), value["inputs"], value["facts"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{path} is not a run's settings ({error}). Train again with --restart.") from None
        raise UserError(f"{path} has settings that this version does not know: {', '.join(unknown)}.")

    def differences(self, other: "RunRecord") -> list[str]:
        """What differs between two records' identities, "name: this → that" each."""
        mine, theirs = ({**record.settings.identity(), **record.inputs} for record in (self, other))
        return [
            f"{name}: {mine.get(name)!r} → {theirs.get(name)!r}" for name in mine if mine.get(name) != theirs.get(name)
        ]


def environment(device: str) -> dict[str, Any]:
    """The facts of where a run takes place."""
    return {
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the source tree that runs, with `-dirty` where files differ; None for an installed wheel."""
    here = Path(__file__)
    commands = (
        ["git", "ls-files", "--error-unmatch", here.name],  # a wheel in somebody's repository is none of its files
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    said = ""
    for command in commands:
        try:
            answer = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        said = answer.stdout.strip()
    return said or None


def trained_folds(run: Path) -> list[int]:
    """The folds of a run that have a model, in order.

    Raises:
        UserError: there is none.
    """
    found = sorted(
        int(path.name.removeprefix("fold-"))
        for path in run.glob("fold-*")
        if path.name.removeprefix("fold-").isdigit() and paths.FoldPaths(path).weights.is_file()
    )
    if not found:
        raise UserError(f"No trained fold in {run}. Run `mmer-pipe train --run {run.name}` first.")
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, one an epoch; none where there is no file.

    Raises:
        UserError: a line is not JSON.
    """
    return files.read_json_lines(path) if path.is_file() else []


def write_predictions(path: Path, labels: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write predictions.csv: the columns above, one probability a class, the greedy CTC transcript."""
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*PREDICTION_COLUMNS, *(f"{PROBABILITY_PREFIX}{label}" for label in labels), TRANSCRIPT_COLUMN])
        writer.writerows(rows)


def read_evaluation(fold: paths.FoldPaths, identity: str) -> dict[str, Any] | None:
    """evaluation.json, or None where the fold is not evaluated.

    It counts only as what `evaluate` wrote of this model: same identity, same weights, same predictions.csv.
    """
    if not (fold.evaluation.is_file() and fold.predictions.is_file() and fold.weights.is_file()):
        return None
    try:
        evaluation = files.read_json(fold.evaluation, "mmer-pipe evaluate")
    except UserError:
        return None
    made_of = {
        "identity": identity,
        "model_digest": digest_of_result(fold.weights),
        "predictions_digest": digest_of_result(fold.predictions),
    }
    whole = isinstance(evaluation, dict) and made_of.items() <= evaluation.items()
    return evaluation if whole else None


def read_predictions(path: Path) -> list[dict[str, str]]:
    """The rows of predictions.csv, a column name → cell each."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
