"""Corpora that runs were not trained on: tones like those of the tiny corpus, of other people."""

import shutil
from dataclasses import replace
from pathlib import Path

import soundfile
from conftest import write_tiny_corpus

from mmer_pipeline.corpora.labels import LabelMap
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest

ORDER = {"sad": ("sad",), "neutral": ("neu",), "angry": ("ang",), "happy": ("hap",)}  # not that of training


def write_other(
    directory: Path,
    *,
    classes: dict[str, tuple[str, ...]] = ORDER,
    drop: tuple[str, ...] = (),
    name: str = "elsewhere",
    gain: float = 0.5,
) -> Manifest:
    """Write `<directory>/{corpus/,cache/manifest.csv}`: the tiny corpus at another loudness, with other ids.

    A gain of 1 leaves the recordings as they are in the tiny corpus.
    """
    tiny = write_tiny_corpus(directory)
    utterances = []
    for utterance in tiny.utterances:
        path = tiny.audio_path(utterance)
        samples, rate = soundfile.read(path)
        if gain != 1:
            soundfile.write(path, gain * samples, rate, subtype="PCM_16")
        other = {"utterance_id": f"other-{utterance.utterance_id}", "speaker": f"other-{utterance.speaker}"}
        utterances.append(replace(utterance, **other))
    label_map = LabelMap("other", classes, drop)
    write_manifest(tiny.path, utterances, root=tiny.root, corpus=name, label_map=label_map)
    return read_manifest(tiny.path)


def copy_trained(trained: Path, *runs: str) -> None:
    """Copy the corpus, its features and runs to the working directory, where their records say that they are."""
    shutil.copytree(trained / "cache", "cache")
    for run in runs:
        shutil.copytree(trained / "runs" / run, Path("runs") / run)
