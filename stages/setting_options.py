"""Click options created from the fields of `Settings`, and commands whose help shows options in groups."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

import click

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import PRESETS, RECIPES
from mmer_pipeline.setting_metadata import Option
from mmer_pipeline.settings import DEFAULTS, OPTIONS, Settings
from mmer_pipeline.systems.registry import absolute_name, find_system, recipe_for, split_name, system_names

Command = TypeVar("Command", bound=Callable[..., Any])

PRESET, OF_PRESET = "mmer.preset", "mmer.of-preset"  # keys in click's `meta`
OWN, GENERAL = "Options", "General options"  # headings: options of one command, options of all commands
MISSPELT = 0.8  # similarity (difflib) of an unknown option to one that is probably meant: --seed and --seeds have 0.92
_TYPES = get_type_hints(Settings)


class GroupedOption(click.Option):
    """An option that help shows under the heading of its group."""

    def __init__(self, *args: Any, group: str = OWN, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows options in groups: its own, then those of `Settings`, then the general ones."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; name the other commands that have an option which this one lacks."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            option, group = error.option_name, ctx.parent.command if ctx.parent else None
            known = group.commands if isinstance(group, click.Group) else {}
            others = [name for name, command in known.items() if any(option in p.opts for p in command.params)]
            is_misspelt = get_close_matches(option, error.possibilities or (), cutoff=MISSPELT)
            if is_misspelt or not others:
                raise
            commands = " or ".join(f"`mmer-pipe {name} {option}`" for name in others)
            said = f"No such option '{option}' of {ctx.info_name}. Use {commands}."
            raise click.NoSuchOption(option, said, ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record:
                default = GENERAL if "--help" in parameter.opts else OWN
                groups.setdefault(getattr(parameter, "group", default), []).append(record)
        for name in sorted(groups, key=lambda name: (name != OWN, name == GENERAL)):
            with formatter.section(name):
                formatter.write_dl(groups[name])


class SystemName(click.ParamType[str]):
    """The name of a registered system, or FILE.py:NAME, whose path is made absolute."""

    name = "system"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that the system exists."""
        system = absolute_name(str(value))
        try:
            find_system(system)
        except UserError as error:
            name, words = split_name(system)
            hint = f" Give its settings as options: --system {name} --{words[0]}" if words else ""
            self.fail(f"{error}{hint}", param, ctx)
        return system

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        """The names of all registered systems."""
        return f"[{'|'.join(system_names())}|FILE.py:NAME]"


class NumberRange(click.FloatRange):
    """A number within limits; `nan` is none, although it is not beyond any limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert to a number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class NumberOrWord(click.ParamType[float | None]):
    """A number, or a word that stands for None."""

    def __init__(self, number: click.ParamType[float], word: str) -> None:
        self.number, self.word, self.name = number, word, word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert to a number, or to None if the value is the word."""
        return None if value in (None, self.word) else self.number.convert(value, param, ctx)


def setting_options(names: Iterable[str]) -> Callable[[Command], Command]:
    """Add an option for each of these settings, and `--preset` and `--recipe` if they have values for any."""
    names = tuple(names)
    in_recipes = {name for systems in RECIPES.values() for settings in systems.values() for name in settings}

    def add(command: Command) -> Command:
        preset = [_preset] if PRESETS["small"].keys() & set(names) else []
        recipe = [_recipe] if in_recipes & set(names) else []
        for option in reversed([*preset, *recipe, *_decorators(names)]):
            command = option(command)
        return command

    return add


def _use_preset(context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Use a preset's values as defaults; options on the command line and those of mmer.toml take precedence."""
    names = {parameter.name for parameter in context.command.params}
    preset = {name: setting for name, setting in PRESETS[value].items() if name in names}
    written = context.default_map or {}  # in mmer.toml
    context.meta[OF_PRESET] = preset.keys() - written.keys()
    context.default_map = {**preset, **written}
    context.meta[PRESET] = value
    return value


def _preset(command: Any) -> Any:
    return click.option(
        "--preset", type=click.Choice(tuple(PRESETS)), default="paper", show_default=True, is_eager=True,
        expose_value=False, callback=_use_preset,
        help="Defaults: the paper's; small: for a laptop, with encoders that need no model hub; large: for larger "
             "encoders.",
    )(command)  # fmt: skip


def _recipe(command: Any) -> Any:
    return click.option(
        "--recipe", type=click.Choice(tuple(RECIPES)), default="paper", show_default=True,
        help="Defaults of each system: the paper's, or those of the authors' code (reference).",
    )(command)  # fmt: skip


def system_defaults(system: str, recipe: str = "paper") -> dict[str, Any]:
    """A system's own defaults, and the recipe's, except those that a flag or mmer.toml gives.

    A preset takes precedence over a recipe, since it belongs to its encoders, but not over a system's own defaults.

    Raises:
        UserError: the recipe does not cover this system.
    """
    context = click.get_current_context()
    source, unset = context.get_parameter_source, (None, click.core.ParameterSource.DEFAULT)
    of_recipe = {name: value for name, value in recipe_for(system, recipe).items() if source(name) in unset}
    from_map, of_preset = click.core.ParameterSource.DEFAULT_MAP, context.meta.get(OF_PRESET, ())
    own = {
        name: value
        for name, value in find_system(system).defaults.items()
        if source(name) in unset or (source(name) is from_map and name in of_preset)
    }
    return {**own, **of_recipe}


def parse_settings(words: Sequence[str], name: str) -> dict[str, Any]:
    """Parse the settings after a system's name in `--systems`: "alpha=0.01", "no-gate", "recipe=reference".

    Raises:
        click.UsageError: there is no such setting, or its value is not valid.
    """
    params: list[click.Parameter] = [
        GroupedOption(_flags(setting), **_facts(setting)) for setting in OPTIONS if setting != "seed"
    ]
    params.append(click.Option(["--recipe"], type=click.Choice(tuple(RECIPES))))
    command = click.Command(name, params=params, add_help_option=False)
    context = command.make_context(name, [f"--{word}" for word in words])
    typed = click.core.ParameterSource.COMMANDLINE
    return {key: value for key, value in context.params.items() if context.get_parameter_source(key) is typed}


def _decorators(names: Iterable[str]) -> Iterator[Callable[[Any], Any]]:
    wanted = set(names)
    for setting in (entry.name for entry in fields(Settings)):
        if setting in wanted:
            yield click.option(*_flags(setting), cls=GroupedOption, **_facts(setting))


def _flags(setting: str) -> list[str]:
    flag = setting.replace("_", "-")
    return [f"--{flag}/--no-{flag}" if _TYPES[setting] is bool else f"--{flag}"]


def _facts(setting: str) -> dict[str, Any]:
    if setting == "system":
        return {"default": DEFAULTS[setting], "show_default": True, "type": SystemName(), "group": "Model options",
                "help": "System to train."}  # fmt: skip
    option = OPTIONS[setting]
    default = option.none or DEFAULTS[setting]
    callback = _absolute if setting.endswith("_encoder") else _absolute_features if setting == "inputs" else None
    return {"default": default, "show_default": default is not None, "type": _type(setting, option),
            "metavar": _metavar(option), "group": f"{option.group} options", "help": option.help,
            "callback": callback}  # fmt: skip


def _metavar(option: Option) -> str | None:
    return f"{option.metavar}|{option.none}" if option.none else option.metavar


def _type(setting: str, option: Option) -> Any:
    kind = _TYPES[setting]
    if option.choices:
        return click.Choice(option.choices)
    if kind is bool:
        return click.BOOL
    if kind is int:
        return click.IntRange(min=None if option.minimum is None else int(option.minimum))
    if kind in (float, float | None):
        number = NumberRange(
            min=option.minimum if option.above is None else option.above,
            max=option.below,
            min_open=option.above is not None,
            max_open=option.below is not None,
        )
        return NumberOrWord(number, option.none) if option.none else number
    return click.STRING


def _absolute(_context: click.Context, _parameter: click.Parameter, encoder: str) -> str:
    """Make a directory's path absolute, because settings may be read from elsewhere; a hub id is unchanged."""
    path = paths.expanded(encoder)
    return str(path.parent.resolve() / path.name) if paths.is_directory(path) else encoder


class TakesTheRest(GroupedCommand):
    """A command that takes all remaining arguments of a chain, with its options before, between or after them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Allow options after arguments, which click forbids in a chain."""
        ctx.allow_interspersed_args = True
        return super().parse_args(ctx, args)


def _absolute_features(_context: click.Context, _parameter: click.Parameter, names: str) -> str:
    """Make the paths of files with features absolute, for the same reason."""
    return "+".join(map(absolute_name, names.split("+")))


class LeadingArgument(GroupedCommand):
    """A command whose single argument may come before its options: `prepare iemocap --root DIR extract`.

    In a chain, click reads a command's options only up to the first argument, so the argument is moved after them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Move a leading argument after the options that follow it."""
        if args and not args[0].startswith("-"):
            leading, rest = args[0], args[1:]
            name = next(parameter.name or "" for parameter in self.params if isinstance(parameter, click.Argument))
            values, left, _ = self.make_parser(ctx).parse_args(list(rest))
            after = ([values[name]] if isinstance(values.get(name), str) else []) + left  # the next commands
            args = [*rest[: len(rest) - len(after)], leading, *after]
        return super().parse_args(ctx, args)
