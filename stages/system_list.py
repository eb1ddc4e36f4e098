"""`--systems` and `--seeds` of `cv`: which systems are trained, with which settings of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.registry import NAMED_LISTS, find_system, settings_for, split_name
from stages.options import directory_name
from stages.setting_options import SystemName, parse_settings


@dataclass(frozen=True)
class Entry:
    """One entry of `--systems`: a system and the settings that follow it, separated by colons."""

    text: str  # as it was typed: "mmer:alpha=0.01"
    system: str
    options: Mapping[str, Any]  # the settings that follow it
    run: str  # the name of its directory: "mmer-alpha-0.01"

    @staticmethod
    def parse(text: str) -> "Entry":
        """Read an entry; what follows the colons are options of `train`.

        Raises:
            click.BadParameter: there is no such system, setting or value.
        """
        typed, words = split_name(text)
        if "" in words:
            raise click.BadParameter(f"{text!r}: expected a setting after each colon.")
        try:
            system = SystemName().convert(typed, None, None)
            options = parse_settings(words, text)
            if "alpha" in options and "alpha" not in find_system(system).options:
                raise UserError(f"System {system} has no CTC head, and therefore no alpha.")
            settings_for(system, fold=1, **options)
        except click.UsageError as error:
            lists = f" Lists: {', '.join(NAMED_LISTS)}." if isinstance(error, click.BadParameter) else ""
            raise click.BadParameter(f"{text!r}: {error.format_message()}{lists}") from None
        except UserError as error:
            raise click.BadParameter(f"{text!r}: {error}") from None
        return Entry(text, system, options, directory_name(":".join([system.rpartition(":")[2], *words])))


def _words(value: Any) -> list[str]:
    """A comma-separated list, or an array of mmer.toml, without repetitions."""
    words = [str(word).strip() for word in (value.split(",") if isinstance(value, str) else value)]
    for word in words:
        if not word:
            raise click.BadParameter("expected a value between two commas.")
        if words.count(word) > 1:
            raise click.BadParameter(f"{word!r} appears twice.")
    return words


def parse_systems(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[Entry]:
    """The entries of `--systems`; a named list is replaced by its entries."""
    words = [word for name in _words(value) for word in NAMED_LISTS.get(name, name).split(",")]
    entries: dict[str, Entry] = {}
    for word in dict.fromkeys(words):  # two named lists may share an entry
        entry = Entry.parse(word)
        if entry.run in entries:
            raise click.BadParameter(f"{word!r} and {entries[entry.run].text!r} would be the same run, {entry.run}.")
        entries[entry.run] = entry
    return list(entries.values())


def parse_seeds(_context: click.Context, _parameter: click.Parameter, value: Any) -> list[int]:
    """The seeds of `--seeds`."""
    words = _words([value] if isinstance(value, int) else value)
    if not all(word.isdecimal() for word in words):
        raise click.BadParameter(f"{value!r}: expected numbers from 0, such as 1,2,3.")
    seeds = [int(word) for word in words]
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r}: a seed appears twice.")
    return seeds
