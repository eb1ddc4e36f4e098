"""The features that a system can read, by name. This module imports nothing heavy.

A feature is a subclass of `features.feature.Feature` and an entry in one of three places: in `FEATURES`; in another
package, as an entry point in the group `mmer_pipeline.features`; or in the dictionary `FEATURES` of a Python file,
selected as FILE.py:NAME.
"""

import pkgutil
import re
from typing import Any

from mmer_pipeline import plugins
from mmer_pipeline.errors import UserError

ENTRY_POINTS = "mmer_pipeline.features"
FEATURES = {
    "speech": "mmer_pipeline.features.speech_features:Frames",
    "text": "mmer_pipeline.features.text_features:Tokens",
    "speech-layers": "mmer_pipeline.features.speech_features:SpeechLayers",
    "speech-states": "mmer_pipeline.features.speech_features:SpeechStates",
    "text-layers": "mmer_pipeline.features.text_features:TextLayers",
    "speaker": "mmer_pipeline.features.speaker_features:Speaker",
    "resemblyzer": "mmer_pipeline.features.resemblyzer_features:ResemblyzerEmbedding",
    "resemblyzer-mel": "mmer_pipeline.features.resemblyzer_features:ResemblyzerMel",
    "egemaps": "mmer_pipeline.features.acoustic_features:Egemaps",
    "egemaps-lld": "mmer_pipeline.features.acoustic_features:EgemapsDescriptors",
    "prosody": "mmer_pipeline.features.acoustic_features:Prosody",
    "loudness": "mmer_pipeline.features.acoustic_features:Loudness",
    "log-mel": "mmer_pipeline.features.acoustic_features:LogMel",
    "mfcc": "mmer_pipeline.features.acoustic_features:Mfcc",
    "mel-512": "mmer_pipeline.features.acoustic_features:Mel512",
    "mel-1024": "mmer_pipeline.features.acoustic_features:Mel1024",
    "spectrogram": "mmer_pipeline.features.acoustic_features:Spectrogram",
}
_OF_TRAINED_ENCODERS = ("speech", "text")  # read by systems that train what follows after them


def find_feature(name: str) -> type[Any]:
    """Find the class of a feature, a subclass of `features.feature.Feature`.

    Raises:
        UserError: there is no such feature, or its entry is not a subclass of `Feature`.
    """
    if name in FEATURES:
        found: type[Any] = pkgutil.resolve_name(FEATURES[name])
        return found
    in_file = plugins.split_file(name)
    entry = plugins.from_file(in_file[0], "FEATURES", in_file[1]) if in_file else None
    entry = entry or plugins.from_package(ENTRY_POINTS, name)
    if entry is None:
        raise UserError(
            f"There is no feature {name!r}. Available features: {', '.join(feature_names())}; from a file: "
            "FILE.py:NAME."
        )
    if not (isinstance(entry, type) and hasattr(entry, "modality")):  # this module does not import the base class
        raise UserError(
            f"Feature {name!r}: expected a subclass of mmer_pipeline.features.feature.Feature, found {entry!r:.100}."
        )
    return entry


def feature_names() -> list[str]:
    """The names of the features that can be a frozen input (`--inputs`), without those in files."""
    own = [name for name in FEATURES if name not in _OF_TRAINED_ENCODERS]
    return [*own, *plugins.package_names(ENTRY_POINTS)]


def keyword(name: str) -> str:
    """The argument of a system's `forward` that gets a feature: "speech_layers"; its mask is "speech_layers_mask"."""
    return re.sub(r"\W", "_", name.rpartition(":")[2])
