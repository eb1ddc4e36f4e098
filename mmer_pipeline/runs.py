"""Reading and writing the files in a run's directory, except its models and saved states.

These are the record of a fold (`settings.json`), its epochs (`metrics.jsonl`), its evaluation and its predictions.
"""

import platform
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmer_pipeline import files, paths, sealed_json
from mmer_pipeline.csv_tables import csv_text, read_csv_rows
from mmer_pipeline.digests import digest_of_facts, digest_of_result
from mmer_pipeline.errors import UserError, shortened
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.settings import DEFAULTS, Settings

PREDICTION_COLUMNS = ("utterance_id", "fold", "speaker", "dialogue", "truth", "prediction")
PROBABILITY_PREFIX = "probability_"  # followed by the name of a class
TRANSCRIPT_COLUMN = "transcript_ctc"
OF_A_FOLD = ("fold", "held_out")  # settings and inputs that differ between the folds of a run
WHOLE_STEP = 1e9  # seconds of audio in a micro-batch of a system whose steps are not split
CODE = "code of "  # precedes the name of a module among the inputs of a run
SYSTEM_FILE = "system_file"  # the input of a run that is the digest of its system's own file
GATE_COLUMN = "gate"  # mean of the acoustic gate; only of systems that have one
FINAL, VALIDATED = SELECTIONS = ("final", "validated")  # models of a fold: the last epoch, or the best on validation
_DIGEST = re.compile(r"[0-9a-f]{16}")
_LIBRARIES = ("mmer-pipeline", "torch", "transformers", "accelerate", "numpy", "scikit-learn", "h5py")


_RECORD = {
    "identity?": (str, None),
    "settings": dict,
    "inputs": {
        "labels": [str],
        "alphabet?": [str],
        "manifest": str,
        "held_out?": (str, None),
        "processes?": int,
    },
    "facts": {
        "folds?": [str],
        "corpus?": str,
        "manifest?": str,
        "versions?": {str: str},
        "revisions?": {str: (str, None)},
        "encoder_digests?": {str: str},
        "utterances?": {str: int},
        "asr_transcripts?": ({"asr_model": str, "wer": (float, None), "utterances": int}, None),
        "shared_speakers?": [str],
        "validation_overlap?": ({"dialogues": int, "speakers": int}, None),
        "code?": {str: str},
        "device?": str,
        "hardware?": (str, None),
        "platform?": str,
        "python?": str,
        "git_commit?": (str, None),
        "trained_parameters?": (int, None),
        "without_ctc_target?": (int, None),
    },
    "files?": ({str: str}, None),
}


@dataclass(frozen=True)
class RunRecord:
    """The content of a fold's `settings.json`."""

    settings: Settings
    inputs: dict[str, Any]  # digests of manifest and features, labels, alphabet …; part of the identity
    facts: dict[str, Any]  # environment, corpus and sizes; not part of the identity
    recorded: str | None = None  # the identity in the file; None: not read from one
    files: dict[str, str] | None = None  # of a trained fold: file → digest; None: not trained, or by an earlier version

    @property
    def digest(self) -> str:
        """Digest of everything that can change the run's result, as this version computes it: 16 hex digits."""
        return digest_of_facts({"settings": self.settings.identity(), "inputs": self.inputs})

    @property
    def identity(self) -> str:
        """The identity that the run's files name: the one in `settings.json`, or the digest of a new record.

        A version with other settings may compute another digest from the same record.
        """
        return self.recorded or self.digest

    def write(self, path: Path) -> None:
        """Write `settings.json`."""
        value = {
            "identity": self.identity,
            "settings": asdict(self.settings),
            "inputs": self.inputs,
            "facts": self.facts,
            "files": self.files,
        }
        sealed_json.write(path, value)

    @staticmethod
    def read(path: Path, command: str) -> "RunRecord":
        """Read `settings.json`; `command` is the command that writes it, for messages.

        Raises:
            UserError: it is missing, damaged, of another fold, or from a version with other settings.
        """
        value = sealed_json.read(path, f"{command} --restart" if path.exists() else command)
        if fault := mismatch(value, _RECORD):
            raise UserError(
                f"{path} does not contain the settings of a run: {fault}. Train the fold again with --restart."
            )
        try:
            settings = Settings.read(value["settings"])
        except ValueError as error:
            raise UserError(
                f"{path} {error}. Use the version that wrote it, or train the fold again with --restart."
            ) from None
        name = f"fold-{paths.fold_name(settings.fold)}"
        if path.parent.name != name:
            raise UserError(
                f"{path} is that of {name}: the directory was copied or renamed. Give it its name again, or train the "
                f"fold again: `{command} --restart`."
            )
        return RunRecord(settings, value["inputs"], value["facts"], value.get("identity"), value.get("files"))

    def differences(self, other: "RunRecord") -> list[str]:
        """List the differences between two records' identities, each as "name: this → that"."""
        # A new setting is in an identity only if it differs from its default, so either record may lack it.
        mine, theirs = ({**record.settings.identity(), **record.inputs} for record in (self, other))
        values = {
            name: [known.get(name, DEFAULTS.get(name)) for known in (mine, theirs)] for name in {**mine, **theirs}
        }
        return [_difference(self.settings, name, a, b) for name, (a, b) in values.items() if a != b]


def input_title(settings: Settings, name: str) -> str:
    """The name of an input in messages: "text features"; of a system's own file, that of the file."""
    if name == SYSTEM_FILE:
        return Path(settings.system.rpartition(":")[0]).name
    return name.replace("_", " ")


def _difference(settings: Settings, name: str, before: Any, after: Any) -> str:
    """A setting or an input that differs; digests, which tell nobody anything, are left out."""
    if name == SYSTEM_FILE:
        return f"{input_title(settings, name)}: edited since the run was trained"
    if name.startswith(CODE):
        before, after = (f"version {str(value)[:8]}" if value else "original" for value in (before, after))
        return f"{name}: {before} → {after}"
    if all(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (before, after)):
        return f"{name}: changed since the run was trained"
    return f"{name}: {shortened(repr(before))} → {shortened(repr(after))}"


def environment(device: str) -> dict[str, Any]:
    """Describe the environment of a run: device, platform, library versions, commit."""
    return {
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the running source tree, with `-dirty` if files were modified; None for an installed wheel."""
    here = Path(__file__)
    commands = (
        ["git", "ls-files", "--error-unmatch", here.name],  # fails for a wheel installed inside another repository
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    output = ""
    for command in commands:
        try:
            done = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        output = done.stdout.strip()
    return output or None


def trained_folds(run: Path) -> list[int]:
    """The numbers of a run's trained folds, in order.

    Raises:
        UserError: no fold has been trained, or the directory is a fusion of runs.
    """
    refuse_fusion(run)
    numbers = [
        path.name.removeprefix("fold-") for path in run.glob("fold-*") if paths.FoldPaths(path).weights.is_file()
    ]
    found = sorted(int(name) for name in numbers if re.fullmatch("[1-9][0-9]{0,8}", name))
    if not found:
        raise UserError(f"{run} has no trained folds. Run `mmer-pipe train --run {shlex.quote(run.name)}` first.")
    return found


def refuse_fusion(run: Path) -> None:
    """Refuse a directory that `fuse` has made.

    Raises:
        UserError: it is one.
    """
    if paths.fusion(run).is_file():
        raise UserError(
            f"{run} is a fusion of runs, which has predictions but no model. Name one of the runs that it was made of, "
            "or another run."
        )


def trained_models(run: Path) -> list[int]:
    """The numbers of a run's trained folds, in order, and 0 if it has a model that holds nothing out.

    Raises:
        UserError: the run has no trained model.
    """
    whole = [0] if paths.fold(run, 0).weights.is_file() else []
    try:
        return whole + trained_folds(run)
    except UserError:
        if whole:
            return whole
        raise


def trained_digests(fold: paths.FoldPaths) -> dict[str, str]:
    """Digest the files that training left in a fold's directory: name → digest."""
    return {
        path.relative_to(fold.directory).as_posix(): digest_of_result(path) for path in fold.trained if path.is_file()
    }


METRICS = {  # of one set of predictions: what is read of them
    "wa": float,
    "ua": float,
    "confusion": [[int]],
    "utterances": int,
    "wer": (float, None),
    "cer": (float, None),
}
_EPOCH = {
    "epoch": int,
    "train": {"ce": float, "ctc": (float, None)},
    "held_out": (METRICS, None),  # null: nothing is held out
    "validation": (METRICS, None),
    "gradient_norm?": ({"mean": float, "max": float, "emotion": (float, None), "ctc": (float, None), "clipped": float},
                       None),
    "speed": {"seconds": float, "utterances_per_second": float},
}  # fmt: skip


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl, one entry per epoch; returns an empty list if there is no file.

    Raises:
        UserError: a line is not JSON, or not that of the next epoch.
    """
    if not path.exists():
        return []
    records = files.read_json_lines(path)
    for number, record in enumerate(records, start=1):
        fault = mismatch(record, _EPOCH)
        if fault or record["epoch"] != number:
            fault = fault or f"epoch is {record['epoch']}, expected {number}"
            raise UserError(f"{path}, line {number}: {fault}. Start the fold again with --restart.")
    return records


def best_epoch(wa: Sequence[float]) -> int:
    """The epoch with the highest WA, counted from 1; of equals, the earliest."""
    return wa.index(max(wa)) + 1


def validated_epoch(records: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch of metrics.jsonl with the highest validation WA; None without epochs or without a validation part."""
    return next(iter(validated_epochs(records, 1)), None)


def validated_epochs(records: Sequence[Mapping[str, Any]], count: int) -> list[int]:
    """The `count` epochs of metrics.jsonl with the highest validation WA, or all if there are fewer.

    The best one is first; of equals, the earliest is better. Without a validation part there are none.
    """
    scores = [record["validation"]["wa"] for record in records if record["validation"]]
    return sorted(range(1, len(scores) + 1), key=lambda epoch: -scores[epoch - 1])[:count]


def validation_scores(settings: Settings, records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The validation part's metrics after the last epoch; with `--patience`, after the validated one."""
    epoch = validated_epoch(records) if settings.patience else None
    scores: Mapping[str, Any] = records[(epoch or len(records)) - 1]["validation"]
    return scores


def has_ended(settings: Settings, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether training ends after these epochs: all are done, or `--patience`, from the first unfrozen one, is over."""
    best = validated_epoch(records)
    since = len(records) - max(best or 0, settings.frozen_epochs)
    out_of_patience = bool(settings.patience) and best is not None and since >= settings.patience
    return len(records) >= settings.epochs or out_of_patience


def write_predictions(
    path: Path, labels: Sequence[str], rows: Iterable[Sequence[str]], *, with_gate: bool = False
) -> None:
    """Write predictions.csv: `PREDICTION_COLUMNS`, one probability per class, the greedy CTC transcript, the gate."""
    probabilities = [f"{PROBABILITY_PREFIX}{label}" for label in labels]
    gate = [GATE_COLUMN] if with_gate else []
    header = [*PREDICTION_COLUMNS, *probabilities, TRANSCRIPT_COLUMN, *gate]
    files.write_bytes(path, csv_text(header, rows).encode())


def read_predictions(path: Path) -> list[dict[str, str]]:
    """Read predictions.csv; each row maps column names to cells.

    Raises:
        UserError: it cannot be read, or a row has another number of cells than the header.
    """
    return [row.cells for row in read_csv_rows(path, PREDICTION_COLUMNS)]
