"""Label maps: from a corpus's emotion labels to the classes of an experiment; other labels are dropped."""

import difflib
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmer_pipeline.corpora.utterances import SHOWN, name_fault
from mmer_pipeline.errors import UserError, first_few

MOST_NAMED = 20  # unknown labels that a message lists
MOST_CLASSES = 1_000  # of more, the column is not that of emotions
RARE = 2  # a class of so few utterances may be a misspelling of another
SIMILAR = 0.7  # ratio of difflib from which two labels are similar: "angr" and "anger" have 0.89, "sad" and "glad" 0.57


@dataclass(frozen=True)
class LabelMap:
    """The labels of each class. Classes keep the order in which they are listed."""

    name: str
    classes: Mapping[str, tuple[str, ...]]  # class → its labels
    dropped: tuple[str, ...]  # labels that the experiment deliberately leaves out

    def __post_init__(self) -> None:
        repeated = sorted(label for label, count in Counter(self._labels()).items() if count > 1)
        if repeated:
            raise UserError(f"Label map {self.name}: label {first_few(repeated)} is listed more than once.")
        if empty := [name for name, group in self.classes.items() if not group]:
            raise UserError(f"Label map {self.name}: class {first_few(empty)} has no labels.")
        if len(self.classes) < 2:
            raise UserError(f"Label map {self.name}: expected at least 2 classes, found {len(self.classes)}.")
        if len(self.classes) > MOST_CLASSES:
            raise UserError(
                f"Label map {self.name}: expected at most {MOST_CLASSES:,} classes, found {len(self.classes):,}. If "
                "they are not emotions, name the column of emotions with --column emotion=COLUMN."
            )
        for name in (*self.classes, *self._labels()):
            if fault := name_fault(name) or (None if name else "a name is empty"):
                raise UserError(f"Label map {self.name}: {fault}.")

    def _labels(self) -> list[str]:
        return [label for group in self.classes.values() for label in group] + list(self.dropped)

    def class_of(self, label: str) -> str | None:
        """The class of a label, or None if the label is dropped.

        Raises:
            UserError: the map does not know the label.
        """
        for name, labels in self.classes.items():
            if label in labels:
                return name
        if label in self.dropped:
            return None
        raise UserError(f"Unknown emotion label {label[:SHOWN]!r}. {self._known_labels()}")

    def check(self, labels: Sequence[str], place: Callable[[int], str]) -> None:
        """Check that the map knows all labels of a corpus; `place` says where the n-th label is.

        Raises:
            UserError: it does not; the message lists the unknown labels, each with its count, where it appears first,
                and the label that is most like it.
        """
        known = dict.fromkeys(self._labels())
        counts = Counter(label for label in labels if label not in known)
        if not counts:
            return
        lines = []
        for label, count in list(counts.most_common())[:MOST_NAMED]:
            close = _most_similar(label[:SHOWN], list(known))
            first = f"{count} utterances, the first in " if count > 1 else ""
            lines.append(
                f"{label[:SHOWN]!r} ({first}{place(labels.index(label))})"
                + (f": did you mean {close!r}?" if close else "")
            )
        if len(counts) == 1:
            heading = f"Unknown emotion label {lines[0]}{'' if lines[0].endswith('?') else '.'}"
        else:
            more = [f"and {len(counts) - MOST_NAMED} more"] if len(counts) > MOST_NAMED else []
            heading = f"{len(counts)} unknown emotion labels:" + "".join(f"\n  {line}" for line in [*lines, *more])
        raise UserError(f"{heading}\n{self._known_labels()}")

    def _known_labels(self) -> str:
        return (
            f"Label map {self.name} has: {first_few(self._labels(), MOST_NAMED)}.\n"
            "Correct the label, or write your own label map (a TOML file with `drop = [...]` and a table "
            "`[classes]`) and pass it with --label-map FILE."
        )

    def as_dict(self) -> dict[str, Any]:
        """The label map as plain values, for JSON."""
        return {
            "name": self.name,
            "classes": {name: list(labels) for name, labels in self.classes.items()},
            "drop": list(self.dropped),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "LabelMap":
        """Make a label map from the values of `as_dict`; labels become composed Unicode (NFC).

        Raises:
            UserError: two classes have the same name once composed, or see `__post_init__`.
        """
        classes = {_composed(name): tuple(map(_composed, labels)) for name, labels in value["classes"].items()}
        if len(classes) < len(value["classes"]):
            raise UserError(
                f"Label map {value['name']}: the names of two classes differ only in how an accent is encoded. "
                "Rename one of them."
            )
        return LabelMap(str(value["name"]), classes, tuple(map(_composed, value.get("drop", ()))))


IDENTITY = "identity"  # the label map that makes every label of the corpus a class

BUILT_IN = {
    "iemocap-4": LabelMap(  # the benchmark's 5,531 utterances (paper, section 4.1)
        "iemocap-4",
        {"happy": ("hap", "exc"), "angry": ("ang",), "neutral": ("neu",), "sad": ("sad",)},
        ("fru", "sur", "fea", "dis", "oth", "xxx"),
    ),
    # There are several five-class sets in the literature. The most common one adds the largest remaining label,
    # frustrated, to the benchmark's four (happy and excited merged). 7,380 utterances.
    "iemocap-5": LabelMap(
        "iemocap-5",
        {"happy": ("hap", "exc"), "angry": ("ang",), "neutral": ("neu",), "sad": ("sad",), "frustrated": ("fru",)},
        ("sur", "fea", "dis", "oth", "xxx"),
    ),
    # Six classes, as in emotion recognition in conversation since DialogueRNN (Majumder et al. 2019): the same
    # 7,380 utterances. The features distributed with those papers contain 7,433, of which 53 are relabelled `xxx`.
    "iemocap-6": LabelMap(
        "iemocap-6",
        {
            **{"happy": ("hap",), "sad": ("sad",), "neutral": ("neu",)},
            **{"angry": ("ang",), "excited": ("exc",), "frustrated": ("fru",)},
        },
        ("sur", "fea", "dis", "oth", "xxx"),
    ),
    "ravdess-4": LabelMap(
        "ravdess-4",
        {"happy": ("happy",), "angry": ("angry",), "neutral": ("neutral",), "sad": ("sad",)},
        ("calm", "fearful", "disgust", "surprised"),
    ),
    "crema-d-4": LabelMap(
        "crema-d-4",
        {"happy": ("happy",), "angry": ("anger",), "neutral": ("neutral",), "sad": ("sad",)},
        ("disgust", "fear"),
    ),
    "emo-db-4": LabelMap(
        "emo-db-4",
        {"happy": ("happiness",), "angry": ("anger",), "neutral": ("neutral",), "sad": ("sadness",)},
        ("boredom", "disgust", "fear"),
    ),
    "meld-4": LabelMap(
        "meld-4",
        {"happy": ("joy",), "angry": ("anger",), "neutral": ("neutral",), "sad": ("sadness",)},
        ("surprise", "fear", "disgust"),
    ),
    "esd-4": LabelMap(
        "esd-4",
        {"happy": ("happy",), "angry": ("angry",), "neutral": ("neutral",), "sad": ("sad",)},
        ("surprise",),
    ),
}


def identity_map(labels: set[str]) -> LabelMap:
    """A label map in which every label is its own class, in alphabetical order."""
    return LabelMap(IDENTITY, {label: (label,) for label in sorted(labels)}, ())


def likely_misspellings(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of a rare class and the more frequent class whose name it may be a misspelling of.

    Names that differ only in case are not such pairs. `counts` are the utterances of each class.
    """
    pairs = []
    for name, count in counts.items():
        others = {
            o.casefold(): o for o, n in counts.items() if n > max(count, RARE) and o.casefold() != name.casefold()
        }
        close = _most_similar(name.casefold(), list(others)) if 0 < count <= RARE else None
        if close is not None:
            pairs.append((name, others[close]))
    return pairs


def load_label_map(name: str) -> LabelMap:
    """Load a built-in label map by name, or one from a TOML file with `drop = [...]` and a table `[classes]`.

    For "identity", which needs the labels of a corpus, see `identity_map`.

    Raises:
        UserError: there is no such label map or file, or the file has another form.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"There is no label map {name!r}. Expected a TOML file or one of {', '.join((*BUILT_IN, IDENTITY))}."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number too long, tables too deep
        raise UserError(
            f"Label map {path} is not TOML: {error}. A name with other letters than a to z needs quotes: "
            '"verärgert" = ["verärgert"].'
        ) from None
    classes, drop = table.get("classes"), table.get("drop", [])
    if not (
        isinstance(classes, dict)
        and all(_is_list_of_strings(labels) for labels in classes.values())
        and _is_list_of_strings(drop)
    ):
        raise UserError(
            f"Label map {path}: expected a table `[classes]` of lists of labels, such as "
            '`happy = ["hap", "exc"]`, optionally preceded by a list `drop`.'
        )
    if unknown := sorted(table.keys() - {"classes", "drop"}):
        raise UserError(f"Label map {path}: unknown entries: {first_few(unknown)}. Expected `drop` and `[classes]`.")
    return LabelMap.from_dict({"name": path.stem, "classes": classes, "drop": drop})


def _most_similar(label: str, others: Sequence[str]) -> str | None:
    close = difflib.get_close_matches(label, others, n=1, cutoff=SIMILAR)
    return close[0] if close else None


def _composed(label: object) -> str:
    """A label in composed Unicode (NFC), as in the manifest."""
    return unicodedata.normalize("NFC", str(label))


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
