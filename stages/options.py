"""What every command shares: common options, the config file, results, errors. No heavy import here."""

import functools
import json
import os
import shlex
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError

Command = TypeVar("Command", bound=Callable[..., Any])

NEXT = "mmer.next"  # keys of click's meta, which the commands of a chain share
RUN = "mmer.run"
DEFAULT_RUN = "mmer"
PART_OF_DEMO = "demo"  # click's obj of a command that the demo runs
COMMON = ("cache_dir", "runs_dir", "device", "as_json", "quiet", "debug")
FILE = click.Path(path_type=Path, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


class Failure(click.ClickException):
    """A failure that the user can mend, on its way to the terminal: the message alone, exit code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Common:
    """The options that mean the same everywhere."""

    cache: Path  # where manifests and features lie
    runs: Path  # where runs lie
    device: str  # "auto", "cpu", "cuda", "cuda:1" …
    as_json: bool  # print one JSON object on standard output, everything else on standard error
    quiet: bool  # print results alone

    def manifest(self, flag: Path | None) -> Path:
        """The manifest: the flag, or `<cache>/manifest.csv`."""
        return flag or self.cache / paths.MANIFEST_NAME

    def result(self, value: Any) -> None:
        """Print a command's result as one JSON object, where `--json` asked for it."""
        if self.as_json:
            click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _load_config(context: click.Context, _parameter: click.Parameter, value: Path | None) -> Path | None:
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


def common_options(command: Command) -> Command:
    """Add the common options; the callback gets one `common: Common` in their place.

    They can stand before the first command of a chain (for all of it) or behind any command (for that one).
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        mine = {name: kwargs.pop(name) for name in COMMON}
        kwargs.pop("config")
        context = click.get_current_context()
        inherited = context.parent.params if context.parent is not None else {}
        value = {name: inherited.get(name) if mine[name] is None else mine[name] for name in COMMON}
        is_main = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` started
        common = Common(
            cache=paths.cache_dir(value["cache_dir"]),
            runs=paths.runs_dir(value["runs_dir"]),
            device=value["device"] or "auto",
            as_json=bool(value["as_json"]) and is_main,
            quiet=bool(value["quiet"]) or bool(value["as_json"]) or not is_main,
        )
        try:
            return command(*args, common=common, **kwargs)
        except UserError as error:
            if value["debug"]:
                raise
            raise Failure(str(error)) from error
        except OSError as error:
            if value["debug"] or error.filename is None:
                raise
            raise Failure(f"{error.filename} cannot be read or written: {error.strerror}.") from error

    for option in reversed(_common_parameters()):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def _common_parameters() -> list[Callable[[Any], Any]]:
    return [
        click.option("--cache-dir", type=DIRECTORY, help="Manifests and features.  [$MMER_CACHE_DIR or ./cache]"),
        click.option("--runs-dir", type=DIRECTORY, help="Trained runs.  [$MMER_RUNS_DIR or ./runs]"),
        click.option(
            "--config",
            type=FILE,
            callback=_load_config,
            is_eager=True,
            help="Settings, one TOML table a command; flags override them.  [./mmer.toml]",
        ),
        click.option("--device", help="auto, cpu, cuda, cuda:1 …  [auto]"),
        click.option("--json", "as_json", is_flag=True, default=None, help="Print the result as one JSON object."),
        click.option("--quiet/--verbose", "quiet", default=None, help="Print results alone, or progress too."),
        click.option("--debug", is_flag=True, default=None, help="Show the traceback of a failure."),
    ]


class LeadingArgument(click.Command):
    """A command whose one argument may stand before its options: `prepare iemocap --root DIR extract`.

    In a chain click reads a command's options up to the first argument alone, so the argument moves behind them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move a leading argument behind the options that follow it."""
        if args and not args[0].startswith("-"):
            leading, rest = args[0], args[1:]
            name = next(parameter.name or "" for parameter in self.params if isinstance(parameter, click.Argument))
            values, left, _ = self.make_parser(ctx).parse_args(list(rest))
            after = ([values[name]] if isinstance(values.get(name), str) else []) + left  # the next commands
            args = [*rest[: len(rest) - len(after)], leading, *after]
        return super().parse_args(ctx, args)


def say(common: Common, message: str) -> None:
    """A line of progress for a person; on standard error, so that standard output holds results alone."""
    if not common.quiet:
        click.echo(message, err=True)


def suggest(common: Common, command: str, *shared: str) -> None:
    """Say which command comes next, with the places and the shared options that were typed for this one."""
    context: click.Context | None = click.get_current_context()
    words = []
    while context is not None:
        words += [
            word
            for parameter in context.command.params
            if parameter.name in ("config", "cache_dir", "runs_dir", *shared)
            and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
            for word in _flag(parameter, context.params[parameter.name])
        ]
        context = context.parent
    root = click.get_current_context().find_root()
    # Under make, or as a part of the demo, something else comes next.
    unasked = common.quiet or "MAKELEVEL" in os.environ or root.obj == PART_OF_DEMO
    root.meta[NEXT] = None if unasked else shlex.join(["mmer-pipe", command, *words])


def show_suggestion() -> None:
    """Print what the last command of a chain suggested."""
    if suggestion := click.get_current_context().find_root().meta.get(NEXT):
        click.echo(f"Next: {suggestion}", err=True)


def _flag(parameter: click.Parameter, value: Any) -> list[str]:
    """A parameter as it is typed."""
    if isinstance(value, bool):
        return [parameter.opts[0] if value else parameter.secondary_opts[0]]
    return [parameter.opts[0], str(value)]


def interactive() -> bool:
    """Whether a person looks at standard error."""
    return sys.stderr.isatty()


def manifest_option(command: Command) -> Command:
    """Add `--manifest`."""
    return click.option("--manifest", type=FILE, help="The corpus.  [<cache>/manifest.csv]")(command)


def encoder_options(command: Command) -> Command:
    """Add the options that say which features: encoders, revisions, annotation policy, number format."""
    options = [
        click.option("--text-encoder", default="roberta-base", show_default=True, metavar="NAME", callback=_absolute,
                     help="Hub id or directory of the frozen text encoder."),
        click.option("--text-revision", metavar="REV", help="Its commit, tag or branch on the hub."),
        click.option("--speech-encoder", default="facebook/wav2vec2-base", show_default=True, metavar="NAME",
                     callback=_absolute, help="Hub id or directory of the speech encoder."),
        click.option("--speech-revision", metavar="REV", help="Its commit, tag or branch on the hub."),
        click.option("--annotations", default="strip", show_default=True,
                     type=click.Choice(["strip", "keep", "mask"]),
                     help="[LAUGHTER] and the like in the encoder's text."),
        click.option("--dtype", default="float16", show_default=True, type=click.Choice(["float16", "float32"]),
                     help="Number format of the stored features."),
        click.option("--speech-features/--no-speech-features", default=True, show_default=True,
                     help="Store the front end's output, or compute it each time."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _absolute(_context: click.Context, _parameter: click.Parameter, encoder: str) -> str:
    """A directory's whole path, for whoever reads the settings elsewhere; a hub id as it is."""
    path = Path(encoder).expanduser()
    return str(path.parent.resolve() / path.name) if path.is_dir() else encoder


def check_run_name(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """A run is a directory just below the runs: its name is no path."""
    for name in (value,) if isinstance(value, str) else value or ():
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise click.BadParameter(f"{name!r} is a path; expected the name of a directory below --runs-dir.")
        if name == paths.REPORT_NAME:
            raise click.BadParameter(f"{name!r} is where reports of several runs lie; give the run another name.")
    return value


def chain_run() -> str:
    """The run that `train` worked on earlier in this chain, else the default one."""
    return str(click.get_current_context().find_root().meta.get(RUN, DEFAULT_RUN))


def run_option(command: Command) -> Command:
    """Add `--run` for one run."""
    text = "The run's directory below the runs.  [the one trained in this chain, or mmer]"
    return click.option("--run", "run_name", metavar="NAME", callback=check_run_name, help=text)(command)
