"""The entry of a system: its class, title, inputs and settings. This module imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmer_pipeline.systems.base import EmotionModel

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
    # Inputs in place of `reads`, by the name of an optional setting and one of its values.
    reads_instead: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
