"""Label maps: built in, from a file, and what is refused."""

import os
from pathlib import Path

import pytest

from mmer_pipeline.corpora.labels import BUILT_IN, LabelMap, identity_map, likely_misspellings, load_label_map
from mmer_pipeline.errors import UserError


def test_the_benchmark_map_joins_happy_and_excited_and_drops_six_labels() -> None:
    labels = BUILT_IN["iemocap-4"]
    assert list(labels.classes) == ["happy", "angry", "neutral", "sad"]
    assert labels.class_of("exc") == labels.class_of("hap") == "happy"
    counts = {"neu": 1708, "hap": 595, "exc": 1041, "ang": 1103, "sad": 1084}
    counts |= {"fru": 1849, "sur": 107, "fea": 40, "dis": 2, "oth": 3, "xxx": 2507}
    assert sum(count for label, count in counts.items() if labels.class_of(label)) == 5531
    assert {label for label in counts if labels.class_of(label) is None} == set(labels.dropped)


def test_five_and_six_classes_keep_the_same_utterances_and_differ_in_excited() -> None:
    five, six = BUILT_IN["iemocap-5"], BUILT_IN["iemocap-6"]
    assert list(five.classes) == ["happy", "angry", "neutral", "sad", "frustrated"]
    assert list(six.classes) == ["happy", "sad", "neutral", "angry", "excited", "frustrated"]
    assert five.dropped == six.dropped == ("sur", "fea", "dis", "oth", "xxx")
    assert (five.class_of("exc"), six.class_of("exc")) == ("happy", "excited")


def test_an_unknown_label_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'bored'\. Label map iemocap-4 has: hap, exc, ang, neu, sad, fru"):
        BUILT_IN["iemocap-4"].class_of("bored")


def test_the_identity_map_has_a_class_a_label_in_alphabetical_order() -> None:
    assert identity_map({"sad", "glad"}).classes == {"glad": ("glad",), "sad": ("sad",)}
    with pytest.raises(UserError, match="expected at least 2 classes, found 1"):
        identity_map({"sad"})


def test_a_map_survives_its_way_through_plain_values_with_its_order() -> None:
    labels = LabelMap("own", {"z": ("a", "b"), "c": ("d",)}, ("e",))
    again = LabelMap.from_dict(labels.as_dict())
    assert again == labels
    assert list(again.classes) == ["z", "c"]


@pytest.mark.parametrize(
    ("classes", "dropped", "message"),
    [
        ({"a": ("x",), "b": ("x",)}, (), "x is listed more than once"),
        ({"a": ("x",), "b": ("y",)}, ("y",), "y is listed more than once"),
        ({"a": ("x",), "b": ()}, (), "class b has no labels"),
        ({"a": ("x",)}, (), "expected at least 2 classes, found 1"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(classes, dropped, message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelMap("own", classes, dropped)


def test_a_toml_file_is_a_map_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('drop = ["xxx"]\n[classes]\nup = ["hap", "exc"]\ndown = ["sad"]\n')
    labels = load_label_map(str(path))
    assert (labels.name, labels.dropped) == ("two", ("xxx",))
    assert labels.classes == {"up": ("hap", "exc"), "down": ("sad",)}


@pytest.mark.parametrize(
    "content",
    [
        "classes = 3",
        "[classes]\na = 'x'\nb = ['y']",
        "drop = 'x'\n[classes]\na = ['x']\nb = ['y']",
        "other = 1",
    ],
)
def test_a_toml_file_of_another_form_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"expected a table `\[classes\]`"):
        load_label_map(str(path))


def test_the_error_about_an_unknown_map_lists_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"iemocap-4, iemocap-5, iemocap-6, .*identity"):
        load_label_map("iemocap-7")
    path = tmp_path / "broken.toml"
    path.write_text("[classes")
    with pytest.raises(UserError, match="is not TOML"):
        load_label_map(str(path))


def test_all_unknown_labels_are_refused_at_once_with_their_counts_and_places() -> None:
    labels = LabelMap("own", {"happy": ("joy", "amused"), "angry": ("anger",)}, ("unclear",))
    labels.check(["joy", "unclear"], str)
    with pytest.raises(UserError) as caught:
        labels.check(["joy", "angr", "zzz", "anger", "angr"], lambda number: f"row {number + 2}")
    assert str(caught.value).splitlines()[:4] == [
        "2 unknown emotion labels:",
        "  'angr' (2 utterances, the first in row 3): did you mean 'anger'?",
        "  'zzz' (row 4)",
        "Label map own has: joy, amused, anger, unclear.",
    ]


def test_only_a_rare_class_is_a_likely_misspelling_of_a_frequent_one() -> None:
    assert likely_misspellings({"happy": 40, "hapy": 2, "sad": 30}) == [("hapy", "happy")]
    assert not likely_misspellings({"happy": 40, "hapy": 3, "sad": 30})
    assert not likely_misspellings({"happy": 2, "hapy": 1, "HAPPY": 1})  # all are rare
    assert not likely_misspellings({"Happy": 1, "happy": 40})  # another note says so


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('dropp = ["x"]\n[classes]\na = ["x"]\nb = ["y"]', "unknown entries: dropp"),  # its labels were not dropped
        ('[classes]\n"\u00e9" = ["x"]\n"e\u0301" = ["y"]', "differ only in how an accent is encoded"),  # one was lost
        ('[classes]\n"a\\u0000" = ["x"]\nb = ["y"]', "contains the control character"),
        ('[classes]\n"" = ["x"]\nb = ["y"]', "a name is empty"),
        ("[classes]\n" + "\n".join(f'c{n} = ["l{n}"]' for n in range(1001)), "at most 1,000 classes, found 1,001"),
        ('[classes]\na = ["x"]\na = ["y"]', "is not TOML"),
        ("x = " + "[" * 50_000, "is not TOML"),
        ("[classes]\na = [1]\nb = [nan]", "expected a table"),
    ],
)
def test_a_label_map_that_would_be_read_otherwise_than_meant_is_refused(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        load_label_map(str(path))
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_label_map(tmp_path: Path, make) -> None:
    make(tmp_path / "own.toml")
    with pytest.raises(UserError, match="There is no label map"):
        load_label_map(str(tmp_path / "own.toml"))
