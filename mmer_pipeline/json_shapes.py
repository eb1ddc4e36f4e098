"""Checks of the shape of JSON values, so that a damaged file gives one message and no traceback."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmer_pipeline.errors import shortened

_NAMES: Mapping[Any, str] = {
    str: "a text", int: "an integer", float: "a number", bool: "true or false", dict: "an object", None: "null",
}  # fmt: skip
_LARGEST = 2**53  # integers up to this are exact as numbers of every kind
_OPTIONAL = "?"  # ends the name of a key that may be missing


def mismatch(value: Any, shape: Any, name: str = "") -> str:
    """Say where a JSON value has another shape than expected: "wa is 'x', expected a number"; "" if it has this one.

    A shape is a type or None, a tuple of alternatives, a list with the shape of its entries, a dictionary with the
    shapes of its keys, of which those that end in "?" may be missing and others may be added, or `{str: shape}` for
    any keys. An integer is also a number; NaN and infinity are not.
    """
    if isinstance(shape, tuple):
        found = [mismatch(value, one, name) for one in shape]
        return "" if "" in found else _said(name, value, " or ".join(map(_named, shape)))
    if isinstance(shape, list) and isinstance(value, list):
        return _first(mismatch(entry, shape[0], f"{name}[{number}]") for number, entry in enumerate(value))
    if isinstance(shape, dict) and isinstance(value, dict):
        if str in shape:
            return _first(mismatch(entry, shape[str], _inner(name, key)) for key, entry in value.items())
        return _first(_key(value, key, inner, name) for key, inner in shape.items())
    return "" if _is(value, shape) else _said(name, value, _named(shape))


def _key(value: Mapping[str, Any], key: str, shape: Any, name: str) -> str:
    plain = key.removesuffix(_OPTIONAL)
    if plain not in value:
        return "" if key != plain else f"{_inner(name, plain)} is missing"
    return mismatch(value[plain], shape, _inner(name, plain))


def _is(value: Any, shape: Any) -> bool:
    if shape is None or isinstance(value, bool):
        return value is None if shape is None else shape is bool
    if isinstance(value, int):
        return shape in (int, float) and abs(value) <= _LARGEST
    if shape is float:
        return isinstance(value, float) and math.isfinite(value)
    return isinstance(shape, type) and isinstance(value, shape)


def _first(found: Iterable[str]) -> str:
    return next(filter(None, found), "")


def _inner(name: str, key: str) -> str:
    return f"{name}.{shortened(key)}" if name else shortened(key)


def _said(name: str, value: Any, expected: str) -> str:
    return f"{name or 'it'} is {shortened(repr(value))}, expected {expected}"


def _named(shape: Any) -> str:
    if isinstance(shape, list):
        return "a list"
    return "an object" if isinstance(shape, dict) else _NAMES[shape]
