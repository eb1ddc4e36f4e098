"""Translate the class names of another system into ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Usual names and abbreviations of one emotion, a line each. A name is translated only if exactly one of our classes is
# in its line. Excited speech is no line of happy: only a label map can say that a corpus counts it as happy.
ALIASES = (
    {"angry", "anger", "ang"},
    {"happy", "happiness", "hap", "joy", "joyful"},
    {"neutral", "neu"},
    {"sad", "sadness"},
    {"fear", "fearful", "afraid", "fea"},
    {"disgust", "disgusted", "dis"},
    {"surprise", "surprised", "sur"},
    {"excited", "excitement", "exc"},
    {"frustrated", "frustration", "fru"},
    {"bored", "boredom"},
    {"calm", "calmness"},
    {"contempt", "contemptuous"},
)
_NUMBER = re.compile(r"(?:LABEL_)?(?P<number>\d+)(?:\.0+)?")


@dataclass(frozen=True)
class ClassNames:
    """The classes that the names in a file stand for."""

    of: Mapping[str, str]  # the file's name → our class
    how: str = ""  # what the numbers of classes mean: "0 = sad, 1 = happy (config.json)"; "": there are none

    def translate(self, name: str) -> str | None:
        """Return our class; None if it is unknown."""
        return self.of.get(name)


def class_number(name: str) -> int | None:
    """Return the number of a class that is given as a number, as "2", "2.0" or "LABEL_2"; otherwise None."""
    match = _NUMBER.fullmatch(name)
    return int(match["number"]) if match else None


def names_of(values: Iterable[str], labels: Sequence[str], corpus_labels: Mapping[str, str]) -> ClassNames:
    """Translate the names in a file into our classes; names that mean none, or may mean two, are left out.

    `corpus_labels` maps the corpus's own labels to classes, as the label map does.
    """
    of = {value: found for value in values if (found := _class_of(value, labels, corpus_labels)) is not None}
    return ClassNames(of)


def numbered(names: Mapping[int, str], values: Iterable[str], where: str) -> ClassNames:
    """Translate numbers of classes by `names`, which `where` gives: "config.json"."""
    numbers = {value: class_number(value) for value in values}
    of = {value: names[number] for value, number in numbers.items() if number is not None and number in names}
    listed = ", ".join(f"{number} = {name}" for number, name in sorted(names.items()))
    return ClassNames(of, f"{listed} ({where})")


def numbers_by_truth(pairs: Iterable[tuple[str, str]]) -> dict[int, str] | None:
    """Infer what class numbers mean from pairs of a file's true number and our true class of the same utterance.

    None if a number is given to two classes, or two numbers to one: then the numbers mean something else.
    """
    found: dict[int, str] = {}
    for value, label in pairs:
        number = class_number(value)
        if number is None or found.setdefault(number, label) != label:
            return None
    return found if found and len(set(found.values())) == len(found) else None


def _class_of(value: str, labels: Sequence[str], corpus_labels: Mapping[str, str]) -> str | None:
    if value in labels:
        return value
    folded = value.strip().casefold()
    same = [label for label in labels if label.casefold() == folded]
    of_corpus = [label for name, label in corpus_labels.items() if name.casefold() == folded]
    alike = [label for line in ALIASES if folded in line for label in labels if label.casefold() in line]
    for found in (same, of_corpus, alike):
        if len(set(found)) == 1:
            return found[0]
        if found:
            return None
    return None
