"""The systems that can be trained, by name. This module imports nothing heavy.

All systems share the same folds, features, training loop and metrics. A system is a class with the interface of
`systems.base.EmotionModel` and an entry in one of three places: in `SYSTEMS`; in another package, as an entry point in
the group `mmer_pipeline.systems`; or in the dictionary `SYSTEMS` of a Python file, selected as FILE.py:NAME.
"""

import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.errors import UserError
from mmer_pipeline.paths import encoder_name
from mmer_pipeline.settings import DEFAULTS, OPTIONAL_SETTINGS, RECIPES, Settings

if TYPE_CHECKING:
    from mmer_pipeline.systems.base import EmotionModel

ENTRY_POINTS = "mmer_pipeline.systems"
_IN_A_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>[^:]+)")


@dataclass(frozen=True)
class System:
    """The entry of one system."""

    model: "str | type[EmotionModel]"  # its class, or "module:Class", which is imported when the model is built
    title: str  # its name in tables
    reads: tuple[str, ...]  # its inputs: "speech" (front-end frames), "text" (tokens)
    options: tuple[str, ...] = ()  # the optional settings that it supports; a system with "alpha" has a CTC head


SYSTEMS = {
    # The paper's system (section 3).
    "mmer": System(
        "mmer_pipeline.systems.mmer:MMER",
        "MMER",
        ("speech", "text"),
        ("alpha", "gate", "r_branch", "q_branch", "pooled", "text_self_attention", "speech_projections", "dropout_at"),
    ),
    # Speech encoder, emotion and CTC heads together (Cai et al., Interspeech 2021; the paper's [28]).
    "cai": System(
        "mmer_pipeline.systems.unimodal:SpeechClassifier", "Cai et al.", ("speech",), ("alpha", "dropout_at")
    ),
    # Speech encoder, mean pooling, one linear layer (section 4.2).
    "wav2vec2": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "wav2vec2", ("speech",), ("dropout_at",)),
    # Text encoder, mean pooling, one linear layer (section 4.2).
    "roberta": System(
        "mmer_pipeline.systems.unimodal:TextClassifier", "RoBERTa", ("text",), ("finetune_text", "text_pooling")
    ),
}

NAMED_LISTS = {  # for `mmer-pipe cv --systems NAME`
    # The systems that the paper's Table 1 trains. Our α is twice the paper's: the authors' code sums the CTC loss over
    # batches of two.
    "table-1": "roberta:finetune-text,wav2vec2,cai:alpha=0.2,"
    "mmer:alpha=0,mmer:alpha=0.002,mmer:alpha=0.02,mmer:alpha=0.2",
    # The same systems as the authors' code builds and trains them.
    "table-1-reference": "roberta:recipe=reference,wav2vec2:recipe=reference,cai:recipe=reference,"
    "mmer:recipe=reference:alpha=0,mmer:recipe=reference:alpha=0.002,mmer:recipe=reference:alpha=0.02,"
    "mmer:recipe=reference:alpha=0.2",
    # What each part of MMER contributes. "no CTC" is α = 0.
    "ablations": "mmer,mmer:no-gate,mmer:no-r-branch,mmer:no-q-branch,mmer:alpha=0,mmer:pooled=speech,"
    "mmer:pooled=fused,mmer:pooled=text",
    # What annotations such as [LAUGHTER] contribute to the text.
    "annotations": "mmer,mmer:annotations=keep,mmer:annotations=mask",
    # What the quality of the transcripts contributes: gold, automatic, gold in training only, none.
    "transcripts": "mmer,mmer:transcripts=asr,mmer:test-transcripts=asr,mmer:transcripts=none",
}


def find_system(name: str) -> System:
    """Find a system: built in, from another package, or FILE.py:NAME.

    Raises:
        UserError: there is no such system, or its entry is not a `System`.
    """
    if name in SYSTEMS:
        return SYSTEMS[name]
    if in_file := _IN_A_FILE.fullmatch(name):
        system = _systems_of_file(Path(in_file["file"]).expanduser().absolute()).get(in_file["name"])
        if system is None:
            raise UserError(
                f"{in_file['file']} has no entry {in_file['name']!r} in its dictionary SYSTEMS. Add the entry, or "
                "correct the name."
            )
    elif found := entry_points(group=ENTRY_POINTS, name=name):
        system = _loaded(next(iter(found)))
    else:
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


def _loaded(entry: EntryPoint) -> Any:
    """Import the entry of a system from another package.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:  # another package can raise anything
        raise UserError(
            f"System {entry.name!r} cannot be loaded from {entry.value}: {type(error).__name__}: {error}. Correct or "
            "install the package that registers it."
        ) from error


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
    in_file = _IN_A_FILE.fullmatch(name)
    return f"{Path(in_file['file']).expanduser().absolute()}:{in_file['name']}" if in_file else name


def file_of_system(system: str) -> Path | None:
    """The file that a system is taken from; None for a registered one."""
    in_file = _IN_A_FILE.fullmatch(system)
    return Path(in_file["file"]).expanduser().absolute() if in_file else None


def system_names() -> list[str]:
    """The names of the built-in systems and of those registered by other packages."""
    return [*SYSTEMS, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]


def split_name(entry: str) -> tuple[str, list[str]]:
    """Split an entry of `--systems` into the system's name and the settings after it: "mmer:alpha=0:no-gate"."""
    in_file = _IN_A_FILE.match(entry)
    name = in_file[0] if in_file else entry.partition(":")[0]
    return name, entry[len(name) :].split(":")[1:]


@cache
def _systems_of_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise UserError(f"There is no file {path}. Expected a Python file with a dictionary SYSTEMS.")
    name = f"mmer_system_file_{digest_of_texts([str(path)])}"  # no library's, whatever the file is called
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's code can raise anything
        del sys.modules[name]
        raise UserError(f"{path} cannot be loaded: {type(error).__name__}: {error}. Correct the file.") from error
    systems = getattr(module, "SYSTEMS", None)
    if not isinstance(systems, dict):
        raise UserError(
            f"{path} has no dictionary SYSTEMS. Expected one that maps names to mmer_pipeline.systems.registry.System."
        )
    return systems


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
        UserError: an optional setting that this system does not support differs from its default, or there is patience
            without a validation part.
    """
    if settings.get("patience") and settings.get("validation", DEFAULTS["validation"]) == DEFAULTS["validation"]:
        raise UserError(
            f"--patience {settings['patience']} needs a validation part, whose WA it watches, but --validation is "
            f"{DEFAULTS['validation']}. Add --validation session (or speaker, or a fraction such as 0.1)."
        )
    entry = find_system(system)
    has = entry.options
    has_ctc = "alpha" in has and settings.get("alpha", DEFAULTS["alpha"]) > 0
    if "text" not in entry.reads and not has_ctc:  # it reads no words
        settings = {name: value for name, value in settings.items() if name not in ("transcripts", "test_transcripts")}
    if "speech" not in entry.reads:
        settings.pop("spec_augment", None)
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
    return Settings(system=system, **settings)


def reads_words(settings: Settings) -> bool:
    """Whether a run with these settings reads transcripts, or learns to spell them with a CTC head."""
    return "text" in find_system(settings.system).reads or settings.alpha > 0


def reads_text_features(settings: Settings) -> bool:
    """Whether a run with these settings reads text features from the cache."""
    return "text" in find_system(settings.system).reads and not settings.finetune_text


def reads_speech_features(settings: Settings) -> bool:
    """Whether a run with these settings reads front-end frames from the cache."""
    return "speech" in find_system(settings.system).reads and settings.speech_features


_REMOVED = {"gate": "no gate", "r_branch": "no R branch", "q_branch": "no Q branch"}
_POOLED = {"speech": "only speech pooled", "fused": "only fused words pooled", "text": "only text pooled"}
_WORDS = {"gold": "gold transcripts", "asr": "ASR transcripts", "none": "no transcripts"}
_VARIANTS = {  # settings in which the authors' code differs from the paper, and how a title says so
    "text_self_attention": "self-attention over T",
    "speech_projections": "A mapped twice",
    "dropout_at": "dropout on inputs",
    "spec_augment": "no SpecAugment",
    "text_pooling": "pooler",
}
_NAMED_AFTER = {"wav2vec2": "speech_encoder", "roberta": "text_encoder"}  # systems whose title is that of an encoder
_ANNOTATIONS = {"keep": "annotations kept", "mask": "annotations masked"}


def title(settings: Mapping[str, Any]) -> str:
    """The title of a system in a table, with the settings that distinguish it: "MMER (α = 0.1, no gate)".

    A system that is named after an encoder and has another one says so: "wav2vec2 (moonshine-tiny)".
    """
    system = describe_system(settings["system"])
    notes = [f"α = {settings['alpha']:g}"] if "alpha" in system.options else []
    if named_after := _NAMED_AFTER.get(settings["system"]):
        encoder = encoder_name(settings[named_after])
        if settings["system"] not in re.sub("[^a-z0-9]", "", encoder.lower()):
            notes.append(encoder.rpartition("/")[2])
    notes += [note for name, note in _REMOVED.items() if name in system.options and not settings[name]]
    if "pooled" in system.options and settings["pooled"] in _POOLED:
        notes.append(_POOLED[settings["pooled"]])
    if "finetune_text" in system.options:
        notes.append("fine-tuned" if settings["finetune_text"] else "frozen")
    notes += _variants(settings)
    if "text" in system.reads and settings["annotations"] in _ANNOTATIONS:
        notes.append(_ANNOTATIONS[settings["annotations"]])
    trained, tested = settings.get("transcripts", "gold"), settings.get("test_transcripts", "same")
    if trained != "gold":
        notes.append(_WORDS[trained])
    if tested != "same":
        notes.append("tested without transcripts" if tested == "none" else f"tested on {_WORDS[tested]}")
    if settings["text_disjoint"]:
        notes.append("text-disjoint")
    return system.title + (f" ({', '.join(notes)})" if notes else "")


def _variants(settings: Mapping[str, Any]) -> list[str]:
    """Notes on the settings in which the authors' code differs from the paper; one note if all of several do."""
    notes = [note for name, note in _VARIANTS.items() if settings.get(name, DEFAULTS[name]) != DEFAULTS[name]]
    wanted = RECIPES["reference"].get(settings["system"], {}).keys() & _VARIANTS.keys()
    return ["reference's variant"] if len(notes) == len(wanted) > 1 else notes
