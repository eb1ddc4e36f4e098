"""The options `--systems` and `--seeds` of `cv`: which systems are trained, each with which settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from mmer_pipeline.errors import UserError
from mmer_pipeline.names import fault_of_run
from mmer_pipeline.systems.catalogue import NAMED_LISTS
from mmer_pipeline.systems.registry import (
    absolute_name,
    find_system,
    recipe_for,
    settings_for,
    short_name,
    split_name,
)
from stages.setting_options import parse_settings
from stages.shared_options import directory_name


@dataclass(frozen=True)
class Entry:
    """One entry of `--systems`: a system and the settings that follow it, separated by colons."""

    text: str  # as typed: "mmer:alpha=0.01"
    system: str
    options: Mapping[str, Any]  # the settings after the system's name
    recipe: str | None  # the recipe after the system's name; None: that of all systems
    run: str  # the name of the run's directory: "mmer-alpha-0.01"

    @staticmethod
    def parse(text: str) -> "Entry":
        """Parse an entry; the settings after the colons are options of `train`.

        Raises:
            click.BadParameter: there is no such system or setting, or a value is not valid.
        """
        typed, words = split_name(text)
        if "" in words:
            raise click.BadParameter(f"{text!r}: expected a setting after each colon.")
        system = absolute_name(typed)
        try:
            supported = find_system(system).options
        except UserError as error:
            raise click.BadParameter(f"{text!r}: {error} Named lists: {', '.join(NAMED_LISTS)}.") from None
        try:
            options = parse_settings(words, text)
            if "alpha" in options and "alpha" not in supported:
                raise UserError(f"System {short_name(system)} has no CTC head and therefore no setting alpha.")
            recipe = options.pop("recipe", None)
            # Whether there is a validation part is known only with the options of all systems.
            known = {"validation": "session", **recipe_for(system, recipe or "paper"), **options}
            settings_for(system, fold=1, **known)
        except click.UsageError as error:
            raise click.BadParameter(f"{text!r}: {error.message}") from None
        except UserError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
        without_paths = (re.sub(r"[^=+]*\.py:", "", word) for word in words)
        run = directory_name(":".join([short_name(system), *without_paths]))
        if fault := fault_of_run(run):
            raise click.BadParameter(f"{text!r} would be a run with a name that is not possible: {fault}.")
        return Entry(text, system, options, recipe, run)


def _words(value: Any) -> list[str]:
    """Split a comma-separated list (or take an array from mmer.toml); its values must be distinct.

    Raises:
        click.BadParameter: a value is empty or appears twice.
    """
    words = [str(word).strip() for word in (value.split(",") if isinstance(value, str) else value)]
    for word in words:
        if not word:
            raise click.BadParameter(f"{value!r}: expected a value between commas, found none.")
        if words.count(word) > 1:
            raise click.BadParameter(f"{word!r} appears twice. Leave one of them out.")
    return words


def parse_systems(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[Entry]:
    """Parse `--systems`; a named list is replaced by its entries.

    Raises:
        click.BadParameter: an entry is not valid, or two entries would be the same run.
    """
    words = [word for name in _words(value) for word in NAMED_LISTS.get(name, name).split(",")]
    entries: dict[str, Entry] = {}
    for word in dict.fromkeys(words):  # two named lists may share an entry
        entry = Entry.parse(word)
        if entry.run in entries:
            raise click.BadParameter(
                f"{word!r} and {entries[entry.run].text!r} would be the same run, {entry.run}. Leave one of them out."
            )
        entries[entry.run] = entry
    return list(entries.values())


def parse_seeds(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[int]:
    """Parse `--seeds`.

    Raises:
        click.BadParameter: a seed is not a number or appears twice.
    """
    words = _words([value] if isinstance(value, int) else value)
    if not all(word.isdecimal() for word in words):
        raise click.BadParameter(f"{value!r}: expected non-negative integers such as 1,2,3.")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r}: a seed appears twice. Leave one of them out.")
    return seeds
