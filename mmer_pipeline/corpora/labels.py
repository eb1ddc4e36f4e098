"""Label maps: a corpus's own emotion labels → the classes of an experiment; the rest is dropped."""

import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmer_pipeline.errors import UserError


@dataclass(frozen=True)
class LabelMap:
    """Which labels make which class. Classes keep the order in which they are listed."""

    name: str
    classes: Mapping[str, tuple[str, ...]]  # class → the corpus's labels in it
    dropped: tuple[str, ...]  # labels that the experiment leaves out on purpose

    def __post_init__(self) -> None:
        labels = [label for group in self.classes.values() for label in group] + list(self.dropped)
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise UserError(f"Label map {self.name}: {', '.join(twice)} stands in more than one place.")
        if empty := [name for name, group in self.classes.items() if not group]:
            raise UserError(f"Label map {self.name}: class {', '.join(empty)} has no labels.")
        if len(self.classes) < 2:
            raise UserError(f"Label map {self.name}: {len(self.classes)} class, at least 2 are needed.")

    def class_of(self, label: str) -> str | None:
        """The class of a corpus label, or None for one that is dropped.

        Raises:
            UserError: the map does not know the label.
        """
        for name, labels in self.classes.items():
            if label in labels:
                return name
        if label in self.dropped:
            return None
        known = ", ".join([label for group in self.classes.values() for label in group] + list(self.dropped))
        raise UserError(
            f"Unknown emotion label {label!r}: label map {self.name} knows {known}.\n"
            "Correct the label, or write a label map of your own (TOML: `drop = [...]` and a table "
            "`[classes]`) and give it with --label-map FILE."
        )

    def keeps(self, label: str, utterance_id: str) -> bool:
        """Whether an utterance of this label is in a class; the error of an unknown label names the utterance."""
        try:
            return self.class_of(label) is not None
        except UserError as error:
            raise UserError(f"{utterance_id}: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        """The map as plain values, for JSON."""
        return {
            "name": self.name,
            "classes": {name: list(labels) for name, labels in self.classes.items()},
            "drop": list(self.dropped),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> "LabelMap":
        """The inverse of `as_dict`; labels become composed Unicode (NFC)."""
        classes = {_composed(name): tuple(map(_composed, labels)) for name, labels in value["classes"].items()}
        return LabelMap(str(value["name"]), classes, tuple(map(_composed, value.get("drop", ()))))


IDENTITY = "identity"  # the map that keeps every label; it depends on the labels that a corpus has

BUILT_IN = {
    "iemocap-4": LabelMap(  # the benchmark's 5,531 utterances (paper, section 4.1)
        "iemocap-4",
        {"happy": ("hap", "exc"), "angry": ("ang",), "neutral": ("neu",), "sad": ("sad",)},
        ("fru", "sur", "fea", "dis", "oth", "xxx"),
    ),
    # Five classes: the literature has several; the one that contains the benchmark's four and adds the largest
    # label left (happy and excited joined, frustrated by itself) is the commonest. 7,380 utterances.
    "iemocap-5": LabelMap(
        "iemocap-5",
        {"happy": ("hap", "exc"), "angry": ("ang",), "neutral": ("neu",), "sad": ("sad",), "frustrated": ("fru",)},
        ("sur", "fea", "dis", "oth", "xxx"),
    ),
    # Six classes, as in emotion recognition in conversation since DialogueRNN (Majumder et al. 2019): the same
    # 7,380 utterances. The features passed around with those papers hold 7,433: 53 of them are `xxx` relabelled.
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
    """Every label a class of its own, in alphabetical order."""
    return LabelMap(IDENTITY, {label: (label,) for label in sorted(labels)}, ())


def load_label_map(name: str) -> LabelMap:
    """A built-in map by its name, or a TOML file with `drop = [...]` and a table `[classes]`.

    `identity_map` is not made here: it needs the labels of a corpus.

    Raises:
        UserError: neither, or the file has not that form.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    if not path.is_file():
        raise UserError(
            f"No label map {name!r}: it is neither built in ({', '.join((*BUILT_IN, IDENTITY))}) nor a TOML file."
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number too long, tables too deep
        raise UserError(f"Label map {path} is not TOML: {error}.") from None
    classes, drop = table.get("classes"), table.get("drop", [])
    if not (
        isinstance(classes, dict)
        and all(_is_list_of_strings(labels) for labels in classes.values())
        and _is_list_of_strings(drop)
    ):
        raise UserError(
            f"Label map {path}: expected a table `[classes]` of lists of labels, such as "
            'happy = ["hap", "exc"], and an optional list `drop` before it.'
        )
    return LabelMap.from_dict({"name": path.stem, "classes": classes, "drop": drop})


def _composed(label: object) -> str:
    """A label in composed Unicode (NFC), as the manifest has it."""
    return unicodedata.normalize("NFC", str(label))


def _is_list_of_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
