"""The systems that can be trained, by name. This module imports nothing heavy.

All systems share the same folds, features, training loop and metrics. A system is a class with the interface of
`systems.base.EmotionModel` and an entry in one of three places: in `SYSTEMS`; in another package, as an entry point in
the group `mmer_pipeline.systems`; or in the dictionary `SYSTEMS` of a Python file, selected as FILE.py:NAME.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmer_pipeline import plugins
from mmer_pipeline.errors import UserError
from mmer_pipeline.feature_registry import find_feature
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.setting_metadata import OPTIMISATION
from mmer_pipeline.settings import DEFAULTS, OPTIONAL_SETTINGS, OPTIONS, SPEECH_CONFIG, Settings
from mmer_pipeline.systems.catalogue import SYSTEMS
from mmer_pipeline.systems.entry import INPUTS
from mmer_pipeline.systems.entry import System as System  # other packages and files import it from here

ENTRY_POINTS = "mmer_pipeline.systems"


def find_system(name: str) -> System:
    """Find a system: built in, from another package, or FILE.py:NAME.

    Raises:
        UserError: there is no such system, or its entry is not a `System`.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if in_file := plugins.split_file(name):
        system = plugins.from_file(in_file[0], "SYSTEMS", in_file[1])
    else:
        system = plugins.from_package(ENTRY_POINTS, name)
        if system is None:
            hint = " Name the system in the file: FILE.py:NAME." if name.endswith(".py") else ""
            raise UserError(
                f"There is no system {name!r}. Available systems: {', '.join(system_names())}; from a file: "
                f"FILE.py:NAME.{hint}"
            )
    if not isinstance(system, System):
        raise UserError(
            f"System {name!r}: expected an entry of type mmer_pipeline.systems.registry.System, found "
            f"{type(system).__name__}."
        )
    return system


def describe_system(name: str) -> System:
    """As `find_system`; if the system's file or package is gone, an entry that has only its name."""
    try:
        return find_system(name)
    except UserError:
        return System("", short_name(name), ())


def short_name(system: str) -> str:
    """The name without the file: "last-frame" for /path/to/file.py:last-frame."""
    return system.rpartition(":")[2]


def absolute_name(name: str) -> str:
    """The name with the absolute path of its file, if it has one."""
    in_file = plugins.split_file(name)
    return f"{in_file[0]}:{in_file[1]}" if in_file else name


def file_of_system(system: str) -> Path | None:
    """The file that a system is taken from; None for a registered one."""
    in_file = plugins.split_file(system)
    return in_file[0] if in_file else None


def system_names() -> list[str]:
    """The names of the built-in systems and of those registered by other packages."""
    return [*SYSTEMS, *plugins.package_names(ENTRY_POINTS)]


def split_name(entry: str) -> tuple[str, list[str]]:
    """Split an entry of `--systems` into the system's name and the settings after it: "mmer:alpha=0:no-gate"."""
    name, *words = plugins.split_words(entry)
    return name, words


def recipe_for(system: str, recipe: str) -> dict[str, Any]:
    """The settings of a system in a recipe that differ from the paper's.

    Raises:
        UserError: the recipe does not cover this system.
    """
    systems = RECIPES[recipe]
    if not systems or system in systems:
        return systems.get(system, {})
    raise UserError(
        f"--recipe {recipe} covers {', '.join(systems)}, and not {short_name(system)}. Leave it out, or give the "
        "settings themselves."
    )


def settings_for(system: str, **settings: Any) -> Settings:
    """Create the settings of a system; those that concern a head or an input that it lacks are unset.

    Raises:
        UserError: an optional setting that this system does not support differs from its default; patience or an
            average of the best epochs needs a validation part; a feature or a version to augment with does not exist.
    """
    entry = find_system(system)
    settings = {**entry.defaults, **settings}
    for name in ("patience", "average_best"):
        if settings.get("validation", "none") == "none" and settings.get(name, DEFAULTS[name]) != DEFAULTS[name]:
            raise UserError(
                f"--{name.replace('_', '-')} {settings[name]} needs a validation part, whose WA it watches, but "
                "--validation is none. Add --validation session (or speaker, or a fraction such as 0.1)."
            )
    has = entry.options
    if entry.is_fitted:  # there are no epochs
        settings = {name: value for name, value in settings.items() if not _is_of_epochs(name)}
        settings |= {"epochs": 1, "precision": "fp32"}
    if not _reads_words(entry, settings):
        settings = {name: value for name, value in settings.items() if name not in ("transcripts", "test_transcripts")}
    if "speech" not in entry.reads:
        settings = {name: value for name, value in settings.items() if name not in ("spec_augment", *SPEECH_CONFIG)}
    masks = [name for name in ("mask_time_prob", "mask_feature_prob") if settings.get(name) is not None]
    if masks and not settings.get("spec_augment", True):
        raise UserError(
            f"--no-spec-augment masks nothing, but --{masks[0].replace('_', '-')} is given. Leave one of them out."
        )
    if settings.get("test_transcripts") == settings.get("transcripts", DEFAULTS["transcripts"]):
        settings.pop("test_transcripts", None)
    for name in OPTIONAL_SETTINGS:
        if name in has:
            continue
        if name == "alpha":
            settings[name] = 0.0
        elif settings.get(name, DEFAULTS[name]) != DEFAULTS[name]:
            others = " and ".join(other for other, entry in SYSTEMS.items() if name in entry.options)
            raise UserError(
                f"System {short_name(system)} has no setting {name.replace('_', '-')}. Leave it out; of the built-in "
                f"systems, it applies to {others}."
            )
    for name in _features_read(entry, settings):
        find_feature(name)  # which raises an error if there is none
    if "augment" in settings and settings["augment"] != DEFAULTS["augment"]:
        from mmer_pipeline.waveform_versions import versions  # NumPy

        versions(settings["augment"])  # likewise
    return Settings(system=system, **settings)


def _is_of_epochs(name: str) -> bool:
    """Whether a setting describes training by steps, which a system that is fitted at once does not make."""
    option = OPTIONS.get(name)
    return option is not None and option.group == OPTIMISATION and name not in ("balanced_classes", "seed")


def _reads_words(entry: System, settings: Mapping[str, Any]) -> bool:
    has_ctc = "alpha" in entry.options and settings.get("alpha", DEFAULTS["alpha"]) > 0
    return has_ctc or any(find_feature(name).modality == "text" for name in _features_read(entry, settings))


def _features_read(entry: System, settings: Mapping[str, Any]) -> list[str]:
    """The names of all inputs of a system, whether they are stored or computed on the fly."""
    named = str(settings.get("inputs", DEFAULTS["inputs"])).split("+")
    reads = entry.reads
    for (setting, value), instead in entry.reads_instead.items():
        if settings.get(setting, DEFAULTS[setting]) == value:
            reads = instead
    return list(dict.fromkeys(name for read in reads for name in (named if read == INPUTS else [read])))


def reads_words(settings: Settings) -> bool:
    """Whether a run with these settings reads transcripts, or learns to spell them with a CTC head."""
    return _reads_words(find_system(settings.system), asdict(settings))


def all_inputs(settings: Settings) -> list[str]:
    """The names of the features that a run with these settings reads, from the cache or computed on the fly."""
    return _features_read(find_system(settings.system), asdict(settings))


def modalities_read(settings: Mapping[str, Any], *, with_encoder: bool = False) -> set[str]:
    """The modalities, "speech" and "text", that a system with these settings reads, as far as is known here.

    `with_encoder`: only those that it reads by a pretrained encoder.
    """
    found = set()
    for name in _features_read(describe_system(settings["system"]), settings):
        with suppress(UserError):  # a feature's file or package may be gone
            feature = find_feature(name)
            if feature.has_encoder or not with_encoder:
                found.add(feature.modality)
    return found


def read_features(settings: Settings) -> list[str]:
    """The names of the features that a run with these settings reads from the cache."""
    on_the_fly = {"text": settings.finetune_text, "speech": not settings.speech_features}
    return [name for name in all_inputs(settings) if not on_the_fly.get(name)]


def encoders_read(settings: Settings) -> set[str]:
    """The kinds of pretrained encoders that a run with these settings uses: "speech", "text"."""
    classes = [find_feature(name) for name in all_inputs(settings)]
    return {feature.modality for feature in classes if feature.has_encoder}
