"""The option `--search` of `tune`: a setting with a range or a list of values, checked against the setting's limits."""

from typing import Any

import click

from mmer_pipeline.settings import DEFAULTS, OPTIONS
from mmer_pipeline.tuning.space import Dimension
from stages.setting_options import parse_settings

FORM = "expected NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C"
# They define what a score means, so trials that differ in them cannot be compared.
FIXED = ("folds", "validation", "text_disjoint", "transcripts", "test_transcripts", "seed")
ON, OFF = "on", "off"


def parse_search(_context: click.Context, _parameter: click.Parameter, value: Any) -> tuple[Dimension, ...]:
    """Parse `--search`.

    Raises:
        click.BadParameter: there is no such setting, it cannot be searched, a value is not valid, or one appears twice.
    """
    space = [_dimension(str(text)) for text in ([value] if isinstance(value, str) else value)]
    for dimension in space:
        if sum(other.name == dimension.name for other in space) > 1:
            raise click.BadParameter(f"{dimension.option} appears twice. Leave one of them out.")
    return tuple(space)


def _dimension(text: str) -> Dimension:
    option, _, values = text.partition("=")
    name = option.strip().replace("-", "_")
    if name in FIXED:
        raise click.BadParameter(f"{option} cannot be searched: trials that differ in it cannot be compared.")
    if name not in OPTIONS:
        known = ", ".join(one.replace("_", "-") for one in OPTIONS if one not in FIXED)
        raise click.BadParameter(f"{text!r}: there is no setting {option!r}. Settings: {known}.")
    if not values:
        raise click.BadParameter(f"{text!r}: {FORM}, such as learning-rate=1e-5:1e-3:log.")
    low, *rest = values.split(":")
    if "," in values or not rest or not _is_number(low):  # an encoder's name may contain colons
        return _choices(name, text, values)
    if len(rest) > 2 or (len(rest) == 2 and rest[1] != "log"):
        raise click.BadParameter(f"{text!r}: {FORM}.")
    return _range(name, text, low, rest[0], log=len(rest) == 2)


def _choices(name: str, text: str, values: str) -> Dimension:
    words = [word.strip() for word in values.split(",")]
    choices = tuple(_value(name, word, text) for word in words)
    if len(choices) < 2 or len(set(choices)) < len(choices):
        raise click.BadParameter(f"{text!r}: expected at least two different values, between commas.")
    return Dimension(name, values, choices=choices)


def _range(name: str, text: str, low: str, high: str, *, log: bool) -> Dimension:
    ends = [_value(name, word, text) for word in (low, high)]
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in ends):
        raise click.BadParameter(f"{text!r}: only numbers have a range. List the values: A,B,C.")
    if not ends[0] < ends[1]:
        raise click.BadParameter(f"{text!r}: expected the lower end first, found {low}:{high}.")
    if log and ends[0] <= 0:
        raise click.BadParameter(f"{text!r}: a logarithmic range begins above 0, found {low}. Or leave out :log.")
    return Dimension(name, text.partition("=")[2], low=ends[0], high=ends[1], log=log)


def _value(name: str, word: str, text: str) -> Any:
    """A value of a setting, as its option on the command line reads it."""
    option, flags = name.replace("_", "-"), {ON: "", OFF: "no-"}
    is_switch = isinstance(DEFAULTS[name], bool)
    if is_switch and word not in flags:
        raise click.BadParameter(f"{text!r}: expected {ON} or {OFF}, found {word!r}.")
    typed = f"{flags[word]}{option}" if is_switch else f"{option}={word}"
    try:
        return parse_settings([typed], text)[name]
    except click.UsageError as error:
        raise click.BadParameter(f"{text!r}: {error.message}") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
