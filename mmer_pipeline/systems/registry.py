"""The systems that can be trained, by name. This module imports nothing heavy.

All systems share the same folds, features, training loop and metrics. A system is a class with the interface of
`systems.base.EmotionModel` and an entry in one of three places: in `SYSTEMS`; in another package, as an entry point in
the group `mmer_pipeline.systems`; or in the dictionary `SYSTEMS` of a Python file, selected as FILE.py:NAME.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline import plugins
from mmer_pipeline.errors import UserError
from mmer_pipeline.feature_registry import find_feature
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.settings import DEFAULTS, OPTIMISATION, OPTIONAL_SETTINGS, OPTIONS, SPEECH_CONFIG, Settings

if TYPE_CHECKING:
    from mmer_pipeline.systems.base import EmotionModel

ENTRY_POINTS = "mmer_pipeline.systems"
INPUTS = "inputs"  # in the place of a name in `System.reads`: the features that the setting of this name names


@dataclass(frozen=True)
class System:
    """The entry of one system."""

    model: "str | type[EmotionModel]"  # its class, or "module:Class", which is imported when the model is built
    title: str  # its name in tables
    # Its inputs: "speech" (front-end frames) and "text" (tokens), for encoders that follow after them; names of other
    # features (`feature_registry`); INPUTS: those that the user names.
    reads: tuple[str, ...]
    options: tuple[str, ...] = ()  # the optional settings that it supports; a system with "alpha" has a CTC head
    defaults: Mapping[str, Any] = field(default_factory=dict)  # its own defaults; they take precedence over a preset's
    is_fitted: bool = False  # True: the model's `fit` trains it at once, in place of epochs of steps


# Of small models on stored features, which take seconds an epoch. SUPERB's recipe for emotion makes 30,000 steps.
_TRAINED_HEADS = {
    "learning_rate": 1e-4, "batch_size": 32, "epochs": 100, "schedule": "constant", "weight_decay": 0.0,
    "precision": "fp32",
}  # fmt: skip
_OF_SPEECH = (
    "lora",
    "dropout_at",
    "layer_sum",
    "speech_pooling",
    "frozen_layers",
)  # settings of all built-in systems that read speech

SYSTEMS = {
    # The paper's system (section 3).
    "mmer": System(
        "mmer_pipeline.systems.mmer:MMER",
        "MMER",
        ("speech", "text"),
        ("alpha", "gate", "r_branch", "q_branch", "pooled", "text_self_attention", "speech_projections", *_OF_SPEECH),
    ),
    # Speech encoder, emotion and CTC heads together (Cai et al., Interspeech 2021; the paper's [28]).
    "cai": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "Cai et al.", ("speech",), ("alpha", *_OF_SPEECH)),
    # Speech encoder, mean pooling, one linear layer (section 4.2).
    "wav2vec2": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "wav2vec2", ("speech",), _OF_SPEECH),
    # Text encoder, mean pooling, one linear layer (section 4.2).
    "roberta": System(
        "mmer_pipeline.systems.unimodal:TextClassifier", "RoBERTa", ("text",), ("finetune_text", "text_pooling", "lora")
    ),
    # Frozen features, logistic regression.
    "probe": System(
        "mmer_pipeline.systems.probe:LinearProbe", "Probe", (INPUTS,), ("inputs", "layer", "statistics"), is_fitted=True
    ),
    # Frozen features, linear support vector machine.
    "svm": System(
        "mmer_pipeline.systems.probe:LinearProbe",
        "SVM",
        (INPUTS,),
        ("inputs", "layer", "statistics"),
        {"inputs": "egemaps"},
        is_fitted=True,
    ),
    # The audit's baseline: logistic regression on two numbers.
    "loudness": System("mmer_pipeline.systems.probe:LinearProbe", "Length and loudness", ("loudness",), is_fitted=True),
    # Frozen speech encoder, learned weighted sum of all layers, mean over frames, linear layers (SUPERB, Yang et al.,
    # Interspeech 2021); rates, batch and number of steps for IEMOCAP as in its recipe.
    "superb": System(
        "mmer_pipeline.systems.frozen:WeightedLayers",
        "SUPERB",
        (INPUTS,),
        ("inputs",),
        {"inputs": "speech-layers", **_TRAINED_HEADS},
    ),
    # Frames of frozen features, attentive statistics pooling (Okabe et al., Interspeech 2018), one linear layer.
    "attentive": System(
        "mmer_pipeline.systems.frozen:AttentivePooling",
        "Attentive pooling",
        (INPUTS,),
        ("inputs", "layer"),
        {
            "inputs": "speech-states",
            "layer": "last",
            **_TRAINED_HEADS,
            "learning_rate": 2e-3,
            "schedule": "linear",
            "epochs": 30,
        },
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
        UserError: an optional setting that this system does not support differs from its default, or there is patience
            without a validation part.
    """
    if settings.get("patience") and settings.get("validation", DEFAULTS["validation"]) == DEFAULTS["validation"]:
        raise UserError(
            f"--patience {settings['patience']} needs a validation part, whose WA it watches, but --validation is "
            f"{DEFAULTS['validation']}. Add --validation session (or speaker, or a fraction such as 0.1)."
        )
    entry = find_system(system)
    settings = {**entry.defaults, **settings}
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
    return list(dict.fromkeys(name for read in entry.reads for name in (named if read == INPUTS else [read])))


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
