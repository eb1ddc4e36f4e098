"""Extraction computes again only the rows that a change affects."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.extraction import (
    Work,
    quiet,
    refusing_models,
    speech_extraction,
    text_extraction,
    with_transcript,
)

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.demo.encoders import tiny_text_encoder
from mmer_pipeline.encoders.encoder_files import EncoderFiles, resolve_encoder
from mmer_pipeline.errors import Busy
from mmer_pipeline.features import extraction, speech_features
from mmer_pipeline.features.extraction import Extraction
from mmer_pipeline.features.feature_file import FeatureFile
from mmer_pipeline.features.required_features import requests_of
from mmer_pipeline.features.text_features import Tokens
from mmer_pipeline.systems.registry import settings_for

text = pytest.fixture(text_extraction)
speech = pytest.fixture(speech_extraction)
no_models = pytest.fixture(refusing_models)


def test_a_second_run_computes_nothing_and_loads_no_model(
    manifest: Manifest, text: Work, speech: Work, request: pytest.FixtureRequest
) -> None:
    text(manifest)
    speech(manifest)
    before = [Path(name).read_bytes() for name in ("text.h5", "speech.h5")]
    request.getfixturevalue("no_models")
    assert text(manifest).computed == 0
    assert speech(manifest).computed == 0
    assert [Path(name).read_bytes() for name in ("text.h5", "speech.h5")] == before


def test_a_moved_encoder_computes_nothing(
    manifest: Manifest, text: Work, tiny_text: Path, request: pytest.FixtureRequest
) -> None:
    text(manifest)
    copy = resolve_encoder(str(shutil.copytree(tiny_text, "copy")))
    request.getfixturevalue("no_models")
    assert text(manifest, copy).computed == 0


def test_one_changed_transcript_is_one_text_to_encode(manifest: Manifest, text: Work) -> None:
    text(manifest)
    before = FeatureFile(Path("text.h5"))
    before.at(0)  # mapped now: the file is replaced below
    changed = with_transcript(manifest, 5, "Something else altogether!")
    assert text(changed).computed == 1
    after = FeatureFile(Path("text.h5"))
    for utterance in manifest.utterances[:5] + manifest.utterances[6:]:
        np.testing.assert_array_equal(after.rows(utterance.utterance_id), before.rows(utterance.utterance_id))
    assert after.length(5) != before.length(5)
    assert text(changed).computed == 0


def test_an_annotation_that_the_policy_removes_changes_nothing(manifest: Manifest, text: Work) -> None:
    text(manifest)
    transcript = manifest.utterances[5].transcript
    assert text(with_transcript(manifest, 5, f"[SIGH] {transcript} {{BR}}")).computed == 0


def test_another_policy_encodes_every_text_anew(manifest: Manifest, text: Work) -> None:
    text(manifest)
    assert text(manifest, annotations="keep").computed == 16


def test_another_encoder_encodes_every_text_anew(manifest: Manifest, text: Work, tmp_path: Path) -> None:
    text(manifest)
    other = tiny_text_encoder(tmp_path / "other", ["a b"], seed=1)
    assert text(manifest, resolve_encoder(str(other))).computed == 16


def test_fewer_utterances_compute_nothing_and_new_ones_alone_are_computed(manifest: Manifest, text: Work) -> None:
    part = replace(manifest, utterances=manifest.utterances[:10])
    assert text(part).computed == 10
    assert text(manifest).computed == 6
    assert text(part).computed == 0


def test_a_part_of_the_corpus_leaves_the_stamps_of_the_rest_alone(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    content = Path("speech.h5").read_bytes()
    assert speech(replace(manifest, utterances=manifest.utterances[:10])).computed == 0
    assert Path("speech.h5").read_bytes() == content


def test_a_touched_recording_is_read_and_not_computed_again(
    manifest: Manifest, speech: Work, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    speech(manifest)
    os.utime(manifest.audio_path(manifest.utterances[3]), (1, 1))
    request.getfixturevalue("no_models")
    assert speech(manifest).computed == 0

    def refuse(_: Path) -> bytes:
        raise AssertionError("a recording was read whose stamp is known")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(EncoderFiles, "digest", lambda _: FeatureFile(Path("speech.h5")).identity.encoder_digest)
    assert speech(manifest).computed == 0


def test_a_recording_of_many_segments_is_looked_at_once(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = manifest.utterances[0]
    cuts = [n / 100 for n in range(20)]
    segments = [replace(first, utterance_id=f"{cut}", start_seconds=cut, end_seconds=cut + 0.1) for cut in cuts]
    manifest = replace(manifest, utterances=(*segments, *manifest.utterances))
    state, seen = speech_features._state, []
    monkeypatch.setattr(speech_features, "_state", lambda path, utterance: seen.append(path) or state(path, utterance))
    inputs = speech_features.speech_inputs(manifest)
    assert len(set(inputs.stamps.values())) == len(set(inputs.digests.values())) == 36
    assert len(seen) == len(set(seen)) == 16


def test_one_replaced_recording_is_one_to_compute(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    first, second = (manifest.audio_path(manifest.utterances[position]) for position in (3, 4))
    first.write_bytes(second.read_bytes())
    assert speech(manifest).computed == 1
    file = FeatureFile(Path("speech.h5"))
    np.testing.assert_array_equal(file.at(3), file.at(4))


def test_a_changed_segment_is_one_to_compute(manifest: Manifest, speech: Work) -> None:
    speech(manifest)
    utterances = [replace(manifest.utterances[0], end_seconds=0.3), *manifest.utterances[1:]]
    assert speech(replace(manifest, utterances=tuple(utterances))).computed == 1


@pytest.mark.parametrize(
    ("system", "options", "kinds"),
    [
        ("mmer", {}, ["text", "speech"]),
        ("mmer", {"speech_features": False}, ["text"]),
        ("cai", {}, ["speech"]),
        ("roberta", {}, ["text"]),
        ("roberta", {"finetune_text": True}, []),
        ("mmer", {"finetune_text": True}, ["speech"]),
    ],
)
def test_a_run_asks_for_the_features_that_its_system_reads(
    system: str, options: dict[str, bool], kinds: list[str]
) -> None:
    assert [request.kind for request in requests_of(settings_for(system, fold=1, **options))] == kinds


def test_a_requested_file_lies_where_a_run_looks_for_it(manifest: Manifest, tiny_text: Path, tmp_path: Path) -> None:
    request = Tokens("text", str(tiny_text), None, "float16")
    done = extraction.extract(request, manifest, tmp_path, extraction.Execution("cpu", "threads", quiet))
    assert done == Extraction(tmp_path / "features/manifest/text-tiny-text-strip-float16.h5", 16, 16)


@pytest.mark.parametrize("kind", ["text", "speech"])
def test_a_file_that_another_process_writes_is_left_to_it_and_one_that_is_whole_needs_no_lock(
    kind: str, manifest: Manifest, text: Work, speech: Work
) -> None:
    extract, path = (text, Path("text.h5")) if kind == "text" else (speech, Path("speech.h5"))
    with files.locked(paths.lock_of(path)), pytest.raises(Busy, match="Another process"):
        extract(manifest)
    assert extract(manifest).computed == 16
    with files.locked(paths.lock_of(path)):
        assert extract(manifest).computed == 0
