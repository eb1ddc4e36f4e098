"""Reading mmer.toml: default options with one TOML table per command; options on the command line take precedence."""

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from mmer_pipeline import files, paths
from mmer_pipeline.errors import UserError

AUDITED = {"folds", "text_encoder", "speech_encoder", "preset"}  # what audit takes from the table of train
HEIRS = ("cv", "tune", "extract", "transcribe")  # commands that take from it every option that they share with train


def load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Use the options in `mmer.toml` as click's `default_map`; options on the command line take precedence.

    Raises:
        click.BadParameter: the file cannot be read, is not valid TOML, or names an unknown command or option.
    """
    path = value or Path(paths.CONFIG_NAME)
    if value is None and (context.parent is not None or not os.path.lexists(path)):
        return None
    try:
        files.check_is_file(path)
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UserError as error:
        raise click.BadParameter(str(error)) from None
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number too long, tables too deep
        raise click.BadParameter(f"{path} is not valid TOML: {error}.") from None
    context.default_map = {**(context.default_map or {}), **_default_map(context, path, table)}
    return value


def _default_map(context: click.Context, path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The file's options under click's names, for the group or for one command; several inherit those of train.

    Unknown tables and keys are errors: a misspelt option must not be silently ignored.
    """
    group = context.find_root().command
    assert isinstance(group, click.Group)
    settings: dict[str, Any] = {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            parameter = _parameter(
                group, name, f"{path}: the part before the first table applies to all commands, which"
            )
            settings[parameter.name or ""] = _typed(parameter, entry, f"{path}: {name}")
        elif name not in group.commands:
            raise click.BadParameter(
                f"{path}: there is no command {name!r}. Available commands: {', '.join(group.commands)}."
            )
        else:
            command = group.commands[name]
            settings[name] = {}
            for key, item in entry.items():
                parameter = _parameter(command, key, f"{path}: [{name}]")
                settings[name][parameter.name or ""] = _typed(parameter, item, f"{path}: [{name}] {key}")
    shared = {heir: {parameter.name for parameter in group.commands[heir].params} for heir in HEIRS}
    for heir, names in {**shared, "audit": AUDITED}.items():
        inherited = {name: value for name, value in settings.get("train", {}).items() if name in names}
        settings[heir] = {**inherited, **settings.get(heir, {})}
    if context.parent is None:
        return settings
    common = {name: entry for name, entry in settings.items() if name not in group.commands}
    return {**common, **settings.get(context.info_name or "", {})}


def _typed(parameter: click.Option, value: Any, where: str) -> Any:
    """A value of the file as typed on the command line, so that its check is the same: 2.5 is no number of epochs.

    Raises:
        click.BadParameter: no such value could be typed.
    """
    takes_list = parameter.multiple or parameter.type is click.UNPROCESSED
    values = value if isinstance(value, list) and takes_list else [value]
    expected = bool if parameter.is_flag else str | int | float
    for one in values:
        if not isinstance(one, expected) or (isinstance(one, bool) and not parameter.is_flag):
            kind = "true or false" if parameter.is_flag else "a text or a number"
            raise click.BadParameter(f"{where}: expected {kind}, found {str(one)[:40]}.")
        if "\0" in str(one):
            raise click.BadParameter(f"{where}: {str(one)[:40]!r} contains NUL, which no option can have.")
    typed = [one if isinstance(one, bool) else str(one) for one in values]
    return typed if parameter.multiple or values is value else typed[0]


def _parameter(command: click.Command, key: str, where: str) -> click.Option:
    """The option with this name in the file, `max-batch-seconds` or `max_batch_seconds`."""
    options = {
        flag.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in parameter.opts
        if flag.startswith("--")
    }
    if key.replace("_", "-") not in options:
        raise click.BadParameter(f"{where} has no option {key!r}. Available options: {', '.join(sorted(options))}.")
    return options[key.replace("_", "-")]
