"""The systems that can be trained, each on the same folds, features, loop and metrics. No heavy import here.

A new system is a class and a line in `SYSTEMS`: see "Adding a system" in the README.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmer_pipeline.errors import UserError


@dataclass(frozen=True)
class System:
    """One system."""

    model: str  # its class, "module:Class", imported when it is built
    title: str  # its name in tables
    reads: tuple[str, ...]  # of each utterance: "speech" (front-end frames), "text" (tokens)
    options: tuple[str, ...] = ()  # settings that not every system has; a system with "alpha" has a CTC head


SYSTEMS = {
    # The paper's system (section 3).
    "mmer": System(
        "mmer_pipeline.systems.mmer:MMER",
        "MMER",
        ("speech", "text"),
        ("alpha", "gate", "r_branch", "q_branch", "pooled"),
    ),
    # Speech encoder, emotion and CTC heads together (Cai et al., Interspeech 2021; the paper's [28]).
    "cai": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "Cai et al.", ("speech",), ("alpha",)),
    # Speech encoder, mean pooling, one linear layer (section 4.2).
    "wav2vec2": System("mmer_pipeline.systems.unimodal:SpeechClassifier", "wav2vec2", ("speech",)),
    # Text encoder, mean pooling, one linear layer (section 4.2).
    "roberta": System("mmer_pipeline.systems.unimodal:TextClassifier", "RoBERTa", ("text",), ("finetune_text",)),
}

NAMED_LISTS = {  # for `mmer-pipe cv --systems NAME`
    # The paper's own rows of Table 1. Its α is half of ours: see "IEMOCAP, with a GPU" in the README.
    "table-1": "roberta:finetune-text,wav2vec2,cai:alpha=0.2,"
    "mmer:alpha=0,mmer:alpha=0.002,mmer:alpha=0.02,mmer:alpha=0.2",
    # What each part of MMER is worth. "no CTC" is α = 0.
    "ablations": "mmer,mmer:no-gate,mmer:no-r-branch,mmer:no-q-branch,mmer:alpha=0,mmer:pooled=speech,"
    "mmer:pooled=fused,mmer:pooled=text",
    # What annotations such as [LAUGHTER] in the text are worth.
    "annotations": "mmer,mmer:annotations=keep,mmer:annotations=mask",
}
POOLED = ("both", "speech", "fused", "text")  # what the emotion head of MMER reads
_OPTIONAL = {name for system in SYSTEMS.values() for name in system.options}


def applied(system: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A system's settings: without a CTC head α is 0.

    Raises:
        UserError: an option, other than its default, that this system does not have.
    """
    settings = dict(options)
    for name in sorted(_OPTIONAL - set(SYSTEMS[system].options)):
        if name == "alpha":
            settings[name] = 0.0
        elif settings.get(name, defaults[name]) != defaults[name]:
            have = " and ".join(other for other, entry in SYSTEMS.items() if name in entry.options)
            raise UserError(f"System {system} has no setting {name.replace('_', '-')}; {have} has it.")
    return settings


_TAKEN_AWAY = {"gate": "no gate", "r_branch": "no R branch", "q_branch": "no Q branch"}
_POOLED_ALONE = {"speech": "speech pooled alone", "fused": "words pooled alone", "text": "text alone"}
_ANNOTATIONS = {"keep": "annotations kept", "mask": "annotations masked"}


def title(settings: Mapping[str, Any]) -> str:
    """A system with what sets it apart, for a table's row: "MMER (α = 0.1, no gate)"."""
    system = SYSTEMS[settings["system"]]
    notes = [f"α = {settings['alpha']:g}"] if "alpha" in system.options else []
    notes += [note for name, note in _TAKEN_AWAY.items() if name in system.options and not settings[name]]
    if "pooled" in system.options and settings["pooled"] in _POOLED_ALONE:
        notes.append(_POOLED_ALONE[settings["pooled"]])
    if "finetune_text" in system.options:
        notes.append("fine-tuned" if settings["finetune_text"] else "frozen")
    if "text" in system.reads and settings["annotations"] in _ANNOTATIONS:
        notes.append(_ANNOTATIONS[settings["annotations"]])
    if settings["text_disjoint"]:
        notes.append("no words of the held-out part in training")
    return system.title + (f" ({', '.join(notes)})" if notes else "")
