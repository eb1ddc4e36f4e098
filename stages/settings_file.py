"""Reading mmer.toml: default options with one TOML table per command; options on the command line take precedence."""

import tomllib
from pathlib import Path
from typing import Any

import click

from mmer_pipeline import paths

AUDITED = {"folds", "text_encoder", "speech_encoder", "preset"}  # what audit takes from the table of train
HEIRS = ("cv", "extract", "transcribe")  # commands that take from it every option that they share with train


def load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Use the options in `mmer.toml` as click's `default_map`; options on the command line take precedence.

    Raises:
        click.BadParameter: the file cannot be read, is not valid TOML, or names an unknown command or option.
    """
    path = value or Path(paths.CONFIG_NAME)
    if value is None and (context.parent is not None or not path.is_file()):
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
            settings[
                _parameter_name(group, name, f"{path}: the part before the first table applies to all commands, which")
            ] = entry
        elif name not in group.commands:
            raise click.BadParameter(
                f"{path}: there is no command {name!r}. Available commands: {', '.join(group.commands)}."
            )
        else:
            command = group.commands[name]
            settings[name] = {_parameter_name(command, key, f"{path}: [{name}]"): item for key, item in entry.items()}
    shared = {heir: {parameter.name for parameter in group.commands[heir].params} for heir in HEIRS}
    for heir, names in {**shared, "audit": AUDITED}.items():
        inherited = {name: value for name, value in settings.get("train", {}).items() if name in names}
        settings[heir] = {**inherited, **settings.get(heir, {})}
    if context.parent is None:
        return settings
    common = {name: entry for name, entry in settings.items() if name not in group.commands}
    return {**common, **settings.get(context.info_name or "", {})}


def _parameter_name(command: click.Command, key: str, where: str) -> str:
    """Click's name for an option in the file, written as `max-batch-seconds` or `max_batch_seconds`."""
    options = {
        flag.removeprefix("--"): parameter.name or ""
        for parameter in command.params
        for flag in parameter.opts
        if flag.startswith("--")
    }
    if key.replace("_", "-") not in options:
        raise click.BadParameter(f"{where} has no option {key!r}. Available options: {', '.join(sorted(options))}.")
    return options[key.replace("_", "-")]
