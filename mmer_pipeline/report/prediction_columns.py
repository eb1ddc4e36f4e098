"""Recognise the columns of a file of predictions by their usual names.

The names are those of this project, of scikit-learn's variables, of Hugging Face's Trainer and pipelines, and of
nkululeko's result files. They are matched as `corpora.columns` matches those of a corpus.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmer_pipeline.corpora import columns
from mmer_pipeline.errors import UserError

PROBABILITY = "probability"  # role of the columns of single classes, given as `probability_CLASS`
SCORES = "scores"  # role of a column that holds a list, one number per class

# Role → the usual names of its column: those of the first string are looked for before those of the second, which often
# mean something else. The names of a corpus's columns in other languages are among them.
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "utterance_id": (columns.USUAL_NAMES["utterance_id"] + " utterance utt sample_id", "id key"),
    "audio": (columns.USUAL_NAMES["audio"] + " file_name file_path audio_filepath", "name"),
    "truth": (
        "y_true true true_label true_labels true_class label_ids gold ground_truth reference actual Wahrheit",
        "class_label target targets " + columns.USUAL_NAMES["emotion"],
    ),
    "prediction": (
        "predictions y_pred predicted predicted_label predicted_class pred_label pred preds y_hat Vorhersage "
        "prédiction predicción previsão previsione",
        "hypothesis hyp output",
    ),
    "fold": ("fold_id cv_fold",),
    "speaker": (columns.USUAL_NAMES["speaker"],),
    "dialogue": (columns.USUAL_NAMES["dialogue"],),
    SCORES: ("probabilities probs probas proba predict_proba", "logits"),
}
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


def recognise(header: Sequence[str], given: Mapping[str, str]) -> Columns:
    """Assign columns to roles: those that were given (role → column, "" for none), then by `USUAL_NAMES`.

    Names are matched as those of a corpus's columns are.

    Raises:
        UserError: a given role does not exist, its column is not in the file, or several columns may have a role.
    """
    roles = [*USUAL_NAMES]
    of_classes = {role: column for role, column in given.items() if column and role.startswith(f"{PROBABILITY}_")}
    unknown = [role for role in given if role not in roles and not role.startswith(f"{PROBABILITY}_")]
    absent = [column for column in given.values() if column and column not in header]
    if unknown:
        raise UserError(
            f"--import-column {unknown[0]}=…: there is no such role. Expected ROLE=COLUMN, where ROLE is one of "
            f"{', '.join(roles)} or {PROBABILITY}_CLASS, and COLUMN is a column of the file."
        )
    if absent:
        raise UserError(f"column {absent[0]!r} (--import-column) is not in the file. Found: {', '.join(header)}.")
    found = {role: column for role, column in given.items() if role in roles and column}
    guessed, ambiguous = [], []
    for role, names in USUAL_NAMES.items():
        if role in given:
            continue
        free = [column for column in header if column not in {*found.values(), *given.values()}]
        usual = next(filter(None, (columns.candidates_for(free, role, some) for some in names)), [])
        if len(usual) > 1:
            options = " or ".join(f'--import-column {role}="{column}"' for column in usual)
            ambiguous.append(f"  {role}: {options}, or --import-column {role}= for none")
        elif usual:
            found[role] = usual[0]
            if usual[0] != role:
                guessed.append(role)
    if ambiguous:
        raise UserError("several columns may have the same role. Choose one:\n" + "\n".join(ambiguous))
    is_pipeline = found.get("truth", "").casefold() == "label" and "score" in map(str.casefold, header)
    if "prediction" not in {*found, *given} and is_pipeline:
        found["prediction"] = found.pop("truth")  # a label with its score is what a pipeline predicts
        guessed = [*(role for role in guessed if role != "truth"), "prediction"]
    classes = [ClassColumn(column, role.partition("_")[2], True, False) for role, column in of_classes.items()]
    left = [column for column in header if column not in {*found.values(), *of_classes.values()}]
    return Columns(found, tuple(guessed), (*classes, *filter(None, map(_of_a_class, left))))


def _of_a_class(column: str) -> ClassColumn | None:
    if not column.strip():
        return None
    match = _OF_A_CLASS.fullmatch(re.sub(r"[\s.-]+", "_", column.strip()))
    if match is None:
        return ClassColumn(column, column.strip(), False, False)
    word, name = match["prefix"] or match["suffix"], match["last"] or match["first"]
    return ClassColumn(column, name, True, word.lower().startswith("logit"))
