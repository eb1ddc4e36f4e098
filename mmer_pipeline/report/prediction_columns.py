"""Recognise the columns of a file of predictions by their usual names.

The names are those of this project, of scikit-learn's variables, of Hugging Face's Trainer and pipelines, and of
nkululeko's result files. Case, spaces, hyphens and dots do not matter.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer_pipeline.errors import UserError

PROBABILITY = "probability"  # role of the columns of single classes, given as `probability_CLASS`
SCORES = "scores"  # role of a column that holds a list, one number per class

# Role → the usual names of its column; if a file has several of them, the first in this list is taken.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "utterance_id": ("utterance_id", "utterance", "utt_id", "uttid", "utt", "segment_id", "sample_id", "id", "key"),
    "audio": (
        "audio", "file", "path", "filename", "file_name", "filepath", "file_path", "audio_path", "audio_file",
        "audio_filepath", "wav", "wav_path", "recording", "name",
    ),
    "truth": (
        "truth", "y_true", "true", "true_label", "true_labels", "true_class", "label_ids", "class_label", "label",
        "labels", "target", "targets", "gold", "ground_truth", "groundtruth", "reference", "actual", "emotion",
    ),
    "prediction": (
        "prediction", "predictions", "y_pred", "predicted", "predicted_label", "predicted_class", "pred_label", "pred",
        "preds", "y_hat", "hypothesis", "hyp", "output",
    ),
    "fold": ("fold", "fold_id", "cv_fold"),
    "speaker": ("speaker", "speaker_id", "speakerid", "spk", "spk_id"),
    "dialogue": ("dialogue", "dialog", "dialogue_id", "dialog_id", "conversation"),
    SCORES: (SCORES, "probabilities", "probs", "probas", "proba", "predict_proba", "logits"),
}  # fmt: skip
_OF_A_CLASS = re.compile(
    r"(?:(?P<prefix>probability|probabilities|predict_proba|prob|proba|probs|p|score|scores|logit|logits)_(?P<last>.+)"
    r"|(?P<first>.+)_(?P<suffix>probability|prob|proba|score|logit))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ClassColumn:
    """A column that may hold a number for one class."""

    column: str
    name: str  # of the class, as in the heading
    is_named: bool  # the heading says that it is a probability or score; otherwise it is the class alone
    is_logit: bool  # the heading says that it is a logit


@dataclass(frozen=True)
class Columns:
    """Which column of a file has which role."""

    of: Mapping[str, str]  # role → column
    guessed: tuple[str, ...]  # roles whose columns have other names than ours and were not given
    classes: tuple[ClassColumn, ...]  # columns of single classes, as far as their headings can tell

    def described(self) -> str:
        """Say which columns were guessed: "truth = y_true, prediction = y_pred"; "" if none."""
        return ", ".join(f"{role} = {self.of[role]}" for role in self.guessed)


def recognise(columns: Sequence[str], given: Mapping[str, str]) -> Columns:
    """Assign columns to roles: those that were given (role → column, "" for none), then by `USUAL_NAMES`.

    Raises:
        UserError: a given role does not exist, or its column is not in the file.
    """
    roles = [*USUAL_NAMES]
    of_classes = {role: column for role, column in given.items() if column and role.startswith(f"{PROBABILITY}_")}
    unknown = [role for role in given if role not in roles and not role.startswith(f"{PROBABILITY}_")]
    absent = [column for column in given.values() if column and column not in columns]
    if unknown:
        raise UserError(
            f"--import-column {unknown[0]}=…: there is no such role. Expected ROLE=COLUMN, where ROLE is one of "
            f"{', '.join(roles)} or {PROBABILITY}_CLASS, and COLUMN is a column of the file."
        )
    if absent:
        raise UserError(f"column {absent[0]!r} (--import-column) is not in the file. Found: {', '.join(columns)}.")
    found = {role: column for role, column in given.items() if role in roles and column}
    plain = {_plain(column): column for column in reversed(columns)}  # of equals, the first
    guessed = []
    for role, names in USUAL_NAMES.items():
        taken = {*found.values(), *of_classes.values()}
        usual = next((plain[name] for name in names if name in plain and plain[name] not in taken), None)
        if role not in given and usual is not None:
            found[role] = usual
            if usual != role:
                guessed.append(role)
    if "prediction" not in found and found.get("truth") == plain.get("label") and "score" in plain:
        found["prediction"] = found.pop("truth")  # a label with its score is what a pipeline predicts
        guessed = [*(role for role in guessed if role != "truth"), "prediction"]
    classes = [ClassColumn(column, role.partition("_")[2], True, False) for role, column in of_classes.items()]
    left = [column for column in columns if column not in {*found.values(), *of_classes.values()}]
    return Columns(found, tuple(guessed), (*classes, *filter(None, map(_of_a_class, left))))


def _plain(column: str) -> str:
    return re.sub(r"[\s.-]+", "_", column.strip()).casefold()


def _of_a_class(column: str) -> ClassColumn | None:
    if not column.strip():
        return None
    match = _OF_A_CLASS.fullmatch(re.sub(r"[\s.-]+", "_", column.strip()))
    if match is None:
        return ClassColumn(column, column.strip(), False, False)
    word, name = match["prefix"] or match["suffix"], match["last"] or match["first"]
    return ClassColumn(column, name, True, word.lower().startswith("logit"))
