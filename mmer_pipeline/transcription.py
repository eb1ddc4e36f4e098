"""Automatic transcripts of a corpus: transcribe the recordings whose transcripts are missing or out of date."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmer_pipeline import audio, files, paths
from mmer_pipeline.corpora.asr_transcripts import (
    AsrTranscript,
    ErrorRate,
    error_rates,
    read_facts,
    read_transcripts,
    write_transcripts,
)
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.devices import resolve_device, usable_cores
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.features.feature import Inputs
from mmer_pipeline.features.speech_features import speech_inputs

GROUP = 128  # utterances that are decoded, then transcribed together
SECONDS_BETWEEN_SAVES = 30.0

Progress = Callable[[int, int], None]  # (utterances just transcribed, utterances to transcribe)


@dataclass(frozen=True)
class Transcription:
    """The automatic transcripts of a corpus."""

    path: Path
    computed: int  # utterances that were transcribed by this call
    utterances: int
    error_rates: dict[str, ErrorRate]  # "all" and each class; empty without gold transcripts


def transcribe(
    manifest: Manifest, asr_model: str, revision: str | None, *, device: str, progress: Progress
) -> Transcription:
    """Write the missing automatic transcripts of a corpus, and the word error rates of all.

    What is finished is saved every half a minute, and when `progress` raises an exception.

    Raises:
        Busy: another process is writing them.
        UserError: the ASR model is not available, or a recording cannot be read.
    """
    path = paths.asr_transcripts(manifest.path, asr_model)
    model_files = resolve_encoder(asr_model, revision)
    with files.locked(paths.lock_of(path)):
        found = _reusable(path, model_files)
        inputs = speech_inputs(manifest, {key: (row.stamp, row.input_digest) for key, row in found.items()})
        found = {
            key: AsrTranscript(row.text, row.input_digest, inputs.stamps[key])
            for key, row in found.items()
            if inputs.digests.get(key) == row.input_digest
        }
        missing = [u for u in manifest.utterances if u.utterance_id not in found]
        if missing:
            _transcribe_missing(manifest, missing, found, inputs, path, model_files, device, progress)
        rates = error_rates(manifest, {key: row.text for key, row in found.items()})
        facts = {
            "asr_model": asr_model,
            "revision": model_files.revision,
            "digest": model_files.digest(),
            "word_errors": {name: rate.as_dict() for name, rate in rates.items()},
        }
        if missing or read_facts(path) != facts:
            files.write_json(paths.asr_facts(path), facts)
    return Transcription(path, len(missing), len(manifest.utterances), rates)


def _reusable(path: Path, model_files: EncoderFiles) -> dict[str, AsrTranscript]:
    """The transcripts at `path` if this model wrote them."""
    facts = read_facts(path)
    return read_transcripts(path) if facts and facts.get("digest") == model_files.digest() else {}


def _transcribe_missing(
    manifest: Manifest,
    missing: Sequence[Utterance],
    found: dict[str, AsrTranscript],
    inputs: Inputs,
    path: Path,
    model_files: EncoderFiles,
    device: str,
    progress: Progress,
) -> None:
    """Add the missing transcripts to `found`, and save them to `path`."""
    from mmer_pipeline.encoders.asr import AsrModel

    order = [utterance.utterance_id for utterance in manifest.utterances]
    progress(0, len(missing))
    model = AsrModel(model_files, resolve_device(device))
    if not found:
        path.unlink(missing_ok=True)  # it may be another model's, which the facts would claim as this one's
    # Saved before the transcripts: they say whose these are.
    files.write_json(paths.asr_facts(path), {"asr_model": model_files.name, "digest": model_files.digest()})
    saved = time.monotonic()
    try:
        for group, waveforms in _decoded(manifest, missing):
            for utterance, text in zip(group, model.transcribe(waveforms), strict=True):
                key = utterance.utterance_id
                found[key] = AsrTranscript(text, inputs.digests[key], inputs.stamps[key])
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                write_transcripts(path, found, order)
                saved = time.monotonic()
            progress(len(group), len(missing))
    finally:
        if found:
            write_transcripts(path, found, order)


def _decoded(
    manifest: Manifest, utterances: Sequence[Utterance]
) -> Iterator[tuple[Sequence[Utterance], list[np.ndarray]]]:
    """Groups of utterances of similar length, longest first, with their waveforms; the next group is decoded ahead."""

    def samples(utterance: Utterance) -> int:
        return audio.sample_count(manifest.audio_path(utterance), utterance.start_seconds, utterance.end_seconds)

    def load(utterance: Utterance) -> np.ndarray:
        return audio.load(manifest.audio_path(utterance), utterance.start_seconds, utterance.end_seconds)

    lengths = {utterance.utterance_id: samples(utterance) for utterance in utterances}
    ordered = sorted(utterances, key=lambda utterance: -lengths[utterance.utterance_id])
    groups = [ordered[first : first + GROUP] for first in range(0, len(ordered), GROUP)]
    with ThreadPoolExecutor(usable_cores()) as pool:  # libsndfile and soxr release the GIL
        ahead = [pool.submit(load, utterance) for utterance in groups[0]] if groups else []
        for number, group in enumerate(groups):
            now, following = ahead, groups[number + 1] if number + 1 < len(groups) else []
            ahead = [pool.submit(load, utterance) for utterance in following]
            yield group, [future.result() for future in now]
