"""The titles of systems in tables, with the settings that distinguish them."""

import re
from collections.abc import Mapping
from typing import Any

from mmer_pipeline.layers import BEST
from mmer_pipeline.paths import encoder_name
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.settings import DEFAULTS
from mmer_pipeline.systems.entry import INPUTS, System
from mmer_pipeline.systems.registry import describe_system, modalities_read, short_name

_REMOVED = {"gate": "no gate", "r_branch": "no R branch", "q_branch": "no Q branch"}
_POOLED = {"speech": "only speech pooled", "fused": "only fused words pooled", "text": "only text pooled"}
_WORDS = {"gold": "gold transcripts", "asr": "ASR transcripts", "none": "no transcripts"}
_VARIANTS = {  # settings in which the authors' code differs from the paper, and how a title says so
    "text_self_attention": "self-attention over T",
    "speech_projections": "A mapped twice",
    "dropout_at": "dropout on inputs",
    "spec_augment": "no SpecAugment",
    "text_pooling": "pooler",
    "padding": "padding counted",
}
_ADDED = {"layer_sum": "layer sum", "speech_pooling": "attentive pooling"}
_NAMED_AFTER = {"wav2vec2": "speech_encoder", "roberta": "text_encoder"}  # systems whose title is that of an encoder
_SPEAKER_WEIGHTS = {"frozen": "Resemblyzer, frozen", "finetuned": "Resemblyzer, fine-tuned", "scratch": "from scratch"}
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
    if settings["system"] == "roberta":
        notes.append("fine-tuned" if settings["finetune_text"] else "frozen")
    elif settings["finetune_text"]:
        notes.append("text fine-tuned")
    if "speaker_weights" in system.options:
        notes.append(_SPEAKER_WEIGHTS[settings.get("speaker_weights", DEFAULTS["speaker_weights"])])
    notes += [note for name, note in _ADDED.items() if settings.get(name, DEFAULTS[name]) != DEFAULTS[name]]
    if rank := settings.get("lora"):
        notes.append(f"LoRA of rank {rank}")
    if lower := settings.get("frozen_layers"):
        notes.append(f"{lower} layer{'s' * (lower > 1)} frozen")
    if (versions := settings.get("augment", DEFAULTS["augment"])) != DEFAULTS["augment"]:
        notes.append(versions)
    notes += _variants(settings) + _inputs(system, settings)
    if "text" in system.reads and settings["annotations"] in _ANNOTATIONS:
        notes.append(_ANNOTATIONS[settings["annotations"]])
    trained, tested = settings.get("transcripts", "gold"), settings.get("test_transcripts", "same")
    if trained != "gold":
        notes.append(_WORDS[trained])
    if tested != "same":
        notes.append("tested without transcripts" if tested == "none" else f"tested on {_WORDS[tested]}")
    if settings.get("folds") == "random":
        notes.append("speakers shared")
    if settings["text_disjoint"]:
        notes.append("text-disjoint")
    return system.title + (f" ({', '.join(notes)})" if notes else "")


def _inputs(system: System, settings: Mapping[str, Any]) -> list[str]:
    """Notes on the frozen features that a system reads, and of which encoders they are."""
    named = INPUTS in system.reads
    if not named and not set(system.reads) - {"speech", "text"}:
        return []
    notes = list(map(short_name, str(settings.get("inputs", DEFAULTS["inputs"])).split("+"))) if named else []
    for modality in ("speech", "text"):
        if modality in modalities_read(settings, with_encoder=True):
            notes.append(encoder_name(settings[f"{modality}_encoder"]).rpartition("/")[2])
    layer = settings.get("layer", DEFAULTS["layer"])
    if "layer" in system.options and layer != (BEST if named else system.defaults.get("layer", BEST)):
        notes.append(f"layer {layer}")
    if settings.get("statistics", DEFAULTS["statistics"]) != DEFAULTS["statistics"]:
        notes.append(settings["statistics"])
    return notes


def _variants(settings: Mapping[str, Any]) -> list[str]:
    """Notes on the settings in which the authors' code differs from the paper; one note if all of several do."""
    notes = [note for name, note in _VARIANTS.items() if settings.get(name, DEFAULTS[name]) != DEFAULTS[name]]
    wanted = RECIPES["reference"].get(settings["system"], {}).keys() & _VARIANTS.keys()
    return ["reference's variant"] if len(notes) == len(wanted) > 1 else notes
