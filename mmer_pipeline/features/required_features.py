"""Which features a run reads, and whether their files are up to date.

A feature file is up to date if it has the expected identity and the input digests match those of the manifest's
utterances. This check loads no model.
"""

from dataclasses import replace
from pathlib import Path

from mmer_pipeline.corpora.transcripts import ASR, GOLD
from mmer_pipeline.errors import UserError
from mmer_pipeline.feature_registry import find_feature
from mmer_pipeline.features.feature import AsrTranscripts, Feature, Inputs
from mmer_pipeline.features.feature_file import FeatureFile, FeatureIdentity
from mmer_pipeline.features.speech_features import Frames
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import read_features
from mmer_pipeline.waveform_versions import versions

Request = Feature | AsrTranscripts  # what a run needs


def requests_of(settings: Settings) -> list[Request]:
    """The needs of a run with these settings: automatic transcripts, features of text, features of recordings.

    Raises:
        UserError: a feature does not exist, or does not fit the settings.
    """
    found: list[Request] = []
    if ASR in settings.sources:
        found.append(AsrTranscripts(settings.asr_model, settings.asr_revision))
    return found + sorted(features_of(settings), key=lambda feature: feature.modality != "text")


def features_of(settings: Settings) -> list[Feature]:
    """The features that a run with these settings reads, those of text for each source of transcripts."""
    found: list[Feature] = []
    for name in read_features(settings):
        sources = dict.fromkeys(settings.sources) if find_feature(name).modality == "text" else (GOLD,)
        found += [feature_of(name, settings, source) for source in sources]
        if name == "speech":
            found += frame_versions(settings)
    return found


def frame_versions(settings: Settings) -> list[Frames]:
    """The front-end frames of the versions of each recording, of which training draws one besides the recording."""
    frames = Frames.of("speech", settings)
    return [replace(frames, version=version) for version in versions(settings.augment)]


def feature_of(name: str, settings: Settings, source: str = GOLD) -> Feature:
    """A feature as a run with these settings reads it; `source` is that of the transcripts, for text."""
    feature: Feature = find_feature(name).of(name, settings, source)
    return feature


def existing_features(path: Path, identity: FeatureIdentity | None) -> FeatureFile | None:
    """Open the file at `path` if it is complete and has this identity (None: any); otherwise return None."""
    if not path.is_file():
        return None
    try:
        file = FeatureFile(path)
    except UserError:
        return None
    return file if file.complete and not (identity and identity.mismatches(file.identity)) else None


def covers(file: FeatureFile, inputs: Inputs) -> bool:
    """Whether a file has rows computed from these inputs for every utterance."""
    return all(
        key in file.index and file.input_digests[file.index[key]] == digest for key, digest in inputs.digests.items()
    )
