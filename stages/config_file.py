"""mmer.toml: settings of the commands, one TOML table a command, which flags override."""

import tomllib
from pathlib import Path
from typing import Any

import click

from mmer_pipeline import paths


def load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
    """Feed `mmer.toml` (one table a command) to click's `default_map`; flags override it."""
    path = value or Path(paths.CONFIG_NAME)
    if value is None and (context.parent is not None or not path.is_file()):
        return None
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is not TOML: {error}.") from None
    context.default_map = _default_map(context, path, table)
    return value


def _default_map(context: click.Context, path: Path, table: dict[str, Any]) -> dict[str, Any]:
    """The file's settings under click's names, for the group or for one command; cv inherits those of train.

    A table or a key that no command has is refused: a misspelt setting must not be silently ignored.
    """
    group = context.find_root().command
    assert isinstance(group, click.Group)
    settings: dict[str, Any] = {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            settings[
                _parameter_name(group, name, f"{path}: what stands outside a table is for all commands, which")
            ] = entry
        elif name not in group.commands:
            raise click.BadParameter(f"{path}: no command {name!r}. Commands: {', '.join(group.commands)}.")
        else:
            command = group.commands[name]
            settings[name] = {_parameter_name(command, key, f"{path}: [{name}]"): item for key, item in entry.items()}
    shared = {parameter.name for parameter in group.commands["cv"].params}
    settings["cv"] = {
        **{name: value for name, value in settings.get("train", {}).items() if name in shared},
        **settings.get("cv", {}),
    }
    if context.parent is None:
        return settings
    places = {name: entry for name, entry in settings.items() if name not in group.commands}
    return {**places, **settings.get(context.info_name or "", {})}


def _parameter_name(command: click.Command, key: str, where: str) -> str:
    """Click's name of the option that a key of the file means: `max-batch-seconds` or `max_batch_seconds`."""
    options = {
        flag.removeprefix("--"): parameter.name or ""
        for parameter in command.params
        for flag in parameter.opts
        if flag.startswith("--")
    }
    if key.replace("_", "-") not in options:
        raise click.BadParameter(f"{where} has no option {key!r}. Options: {', '.join(sorted(options))}.")
    return options[key.replace("_", "-")]
