"""The common base of all commands: options, results, messages, errors. This module imports nothing heavy."""

import functools
import json
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError, printable
from mmer_pipeline.names import fault_of_run, fault_of_title
from mmer_pipeline.systems.registry import short_name
from stages.setting_options import GENERAL, PRESET, Command, GroupedOption
from stages.settings_file import load_config

NEXT = "mmer.next"  # keys in click's `meta`, which the commands of a chain share
RUN = "mmer.run"
DEFAULT_RUN = "mmer"
PART_OF_DEMO = "demo"  # click's `obj` for commands that the demo runs
COMMON = ("cache_dir", "runs_dir", "device", "as_json", "quiet", "debug")
FILE = click.Path(path_type=Path, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


class Failure(click.ClickException):
    """A `UserError` as click reports it: only the message is printed, and the exit code is 1."""

    exit_code = 1


@dataclass(frozen=True)
class Common:
    """The values of the options that all commands have."""

    cache: Path  # directory of manifests and features
    runs: Path  # directory of runs
    device: str  # "auto", "cpu", "cuda", "cuda:1" …
    as_json: bool  # print one JSON object on standard output, and everything else on standard error
    quiet: bool  # print only results
    tables: bool  # print the tables of results: not with --json, and only by the first of several processes

    def manifest(self, flag: Path | None) -> Path:
        """The manifest's path: the flag if given, else `<cache>/manifest.csv`."""
        return flag or self.cache / paths.MANIFEST_NAME

    def result(self, value: Any) -> None:
        """Print a command's result as one JSON object if `--json` was given."""
        if self.as_json:
            has_all_letters = (sys.stdout.encoding or "").lower().startswith("utf")
            click.echo(json.dumps(value, ensure_ascii=not has_all_letters, allow_nan=False))


def common_options(command: Command) -> Command:
    """Add the common options; the callback receives them as one argument, `common: Common`.

    They may be given before the first command of a chain (for all its commands) or after a command (for that one).
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        own = {name: kwargs.pop(name) for name in COMMON}
        kwargs.pop("config")
        context = click.get_current_context()
        inherited = context.parent.params if context.parent is not None else {}
        value = {name: inherited.get(name) if own[name] is None else own[name] for name in COMMON}
        is_main = os.environ.get("RANK", "0") == "0"  # of the processes that `accelerate launch` started
        common = Common(
            cache=paths.cache_dir(value["cache_dir"]),
            runs=paths.runs_dir(value["runs_dir"]),
            device=value["device"] or "auto",
            as_json=bool(value["as_json"]) and is_main,
            quiet=bool(value["quiet"]) or bool(value["as_json"]) or not is_main,
            tables=not value["as_json"] and is_main,
        )
        try:
            return command(*args, common=common, **kwargs)
        except UserError as error:
            if value["debug"]:
                raise
            raise Failure(printable(str(error))) from error
        except OSError as error:
            if value["debug"] or error.filename is None:
                raise
            raise Failure(f"{error.filename} could not be read or written: {error.strerror}.") from error

    for option in reversed(_common_parameters()):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]


def _common_parameters() -> list[Callable[[Any], Any]]:
    option = functools.partial(click.option, cls=GroupedOption, group=GENERAL)
    return [
        option("--cache-dir", type=DIRECTORY, help="Directory of manifest and features.  [$MMER_CACHE_DIR or ./cache]"),
        option("--runs-dir", type=DIRECTORY, help="Directory of trained runs.  [$MMER_RUNS_DIR or ./runs]"),
        option("--config", type=FILE, callback=load_config, is_eager=True,
               help="TOML file with one table of options per command.  [./mmer.toml]"),
        option("--device", help="Device to compute on: auto, cpu, cuda, cuda:1 …  [auto]"),
        option("--json", "as_json", is_flag=True, default=None, help="Print the result as one JSON object."),
        option("--quiet/--verbose", "quiet", default=None, help="Print only results, or also progress."),
        option("--debug", is_flag=True, default=None, help="Show the traceback of an error."),
    ]  # fmt: skip


def say(common: Common, message: str) -> None:
    """Print a progress message on standard error; standard output is reserved for results."""
    if not common.quiet:
        click.echo(printable(message), err=True)


def last_written(path: Path) -> str:
    """When a file was last written, in local time: "2026-03-14 15:09"."""
    return f"{datetime.fromtimestamp(path.stat().st_mtime):%Y-%m-%d %H:%M}"


def suggest(common: Common, command: str, *shared: str) -> None:
    """Suggest the next command, with the directories and the `shared` options that were given to this one."""
    words = given_options("config", "cache_dir", "runs_dir", *shared)
    root = click.get_current_context().find_root()
    # Make and the demo run the next step themselves.
    suppressed = common.quiet or "MAKELEVEL" in os.environ or root.obj == PART_OF_DEMO
    root.meta[NEXT] = None if suppressed else shlex.join(["mmer-pipe", *shlex.split(command), *words])


def given_options(*names: str) -> list[str]:
    """Those of the named options that were given on the command line, before the command or after it, as typed."""
    context: click.Context | None = click.get_current_context()
    words = []
    while context is not None:
        words += [
            word
            for parameter in context.command.params
            if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
            for word in _flag(parameter, {"preset": context.meta.get(PRESET), **context.params}[parameter.name])
        ]
        context = context.parent
    return words


def show_suggestion() -> None:
    """Print the suggestion of the last command of a chain."""
    if suggestion := click.get_current_context().find_root().meta.get(NEXT):
        click.echo(f"Next: {suggestion}", err=True)


def _flag(parameter: click.Parameter, value: Any) -> list[str]:
    """A parameter as typed on the command line."""
    if parameter.multiple:
        return [word for one in value for word in (parameter.opts[0], str(one))]
    if isinstance(value, bool):
        return [parameter.opts[0] if value else parameter.secondary_opts[0]]
    return [parameter.opts[0], str(value)]


def interactive() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


def manifest_option(command: Command) -> Command:
    """Add `--manifest`."""
    return click.option("--manifest", type=FILE, help="Manifest of the corpus.  [<cache>/manifest.csv]")(command)


def directory_name(text: str) -> str:
    """The name of a directory for a system: "mmer", "mmer-alpha-0.01"."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def run_title(run: str, system: str) -> str:
    """The name of a run, with its system's if it differs: "roberta", "first-try (roberta)"."""
    name = short_name(system)
    return run if run == directory_name(name) else f"{run} ({name})"


def check_run_name(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Check that the name of a run can be that of its directory.

    Raises:
        click.BadParameter: it cannot.
    """
    return _check_names(value, fault_of_run)


def check_title(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    """Check the name of a corpus or of an imported system.

    Raises:
        click.BadParameter: it cannot be shown.
    """
    return _check_names(value, fault_of_title)


def _check_names(value: Any, fault_of: Callable[[str], str]) -> Any:
    for name in (value,) if isinstance(value, str) else value or ():
        if fault := fault_of(name):
            raise click.BadParameter(f"{fault}.")
    return value


def chain_run() -> str:
    """The run that `train` trained earlier in this chain, else the default run."""
    return str(click.get_current_context().find_root().meta.get(RUN, DEFAULT_RUN))


def run_option(command: Command) -> Command:
    """Add `--run`, the name of one run."""
    text = "Name of the run's directory in --runs-dir.  [the run trained in this chain, else mmer]"
    return click.option("--run", "run_name", metavar="NAME", callback=check_run_name, help=text)(command)
