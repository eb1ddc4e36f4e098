"""JSON files with a digest of their content, and the shapes of JSON values."""

import json

import pytest

from mmer_pipeline import sealed_json
from mmer_pipeline.errors import UserError
from mmer_pipeline.json_shapes import mismatch

VALUE = {"b": [1, 2.5, None, "é"], "a": {"x": 1e-9, "10": True, "9": False}}


def test_an_object_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.json"
    sealed_json.write(path, VALUE)
    assert sealed_json.read(path, "make") == VALUE
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))  # layout and order do not matter
    assert sealed_json.read(path, "make") == VALUE


def test_an_object_with_keys_that_are_no_texts_is_read(tmp_path):
    sealed_json.write(tmp_path / "a.json", {"by number": {9: "a", 10: ("b",)}})
    assert sealed_json.read(tmp_path / "a.json", "make") == {"by number": {"9": "a", "10": ["b"]}}


@pytest.mark.parametrize("change", [{"a": 1}, {"c": 0}, {"digest": "0" * 50_000}, {"digest": 3}])
def test_a_changed_object_is_refused_in_few_words(tmp_path, change):
    path = tmp_path / "a.json"
    sealed_json.write(path, VALUE)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"a\.json was changed after it was written: .* or run `make` to w") as caught:
        sealed_json.read(path, "make")
    assert len(str(caught.value)) < 500


def test_an_object_of_an_earlier_version_has_no_digest(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(VALUE))
    assert sealed_json.read(path, "make") == VALUE
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"a\.json contains list, expected an object\. Run `make`"):
        sealed_json.read(path, "make")


SHAPE = {"n": int, "x": (float, None), "s?": str, "l": [{"a": int}], "m?": {str: bool}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"n": 1, "x": 2, "l": []}, ""),
        ({"n": 1, "x": None, "l": [{"a": 1, "more": 2}], "s": "", "m": {"k": True}}, ""),
        (3, "it is 3, expected an object"),
        ({"x": None, "l": []}, "n is missing"),
        ({"n": True, "x": None, "l": []}, "n is True, expected an integer"),
        ({"n": 1.0, "x": None, "l": []}, "n is 1.0, expected an integer"),
        ({"n": 10**30, "x": None, "l": []}, f"n is {10**30}, expected an integer"),
        ({"n": 1, "x": float("inf"), "l": []}, "x is inf, expected a number or null"),
        ({"n": 1, "x": "2", "l": []}, "x is '2', expected a number or null"),
        ({"n": 1, "x": 1, "l": {}}, "l is {}, expected a list"),
        ({"n": 1, "x": 1, "l": [{"a": 1}, {}]}, "l[1].a is missing"),
        ({"n": 1, "x": 1, "l": [], "m": {"k": 0}}, "m.k is 0, expected true or false"),
        ({"n": "y" * 100, "x": 1, "l": []}, f"n is '{'y' * 58}…, expected an integer"),
    ],
)
def test_the_first_difference_in_shape_is_said(value, said):
    assert mismatch(value, SHAPE) == said
