"""Where the words of a corpus come from, and what is said if they are missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.audit_example import changed

from mmer_pipeline import files, paths
from mmer_pipeline.corpora.asr_transcripts import (
    AsrTranscript,
    error_rates,
    read_facts,
    read_transcripts,
    transcripts_used,
    with_source,
    write_transcripts,
)
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.errors import UserError

MODEL = "some/model"


def write(manifest: Manifest, text_of: Callable[[int], str], leave_out: int = 0) -> Path:
    """Automatic transcripts of all utterances but the last few."""
    path = paths.asr_transcripts(manifest.path, MODEL)
    ids = [u.utterance_id for u in manifest.utterances]
    kept = ids[: len(ids) - leave_out]
    write_transcripts(path, {key: AsrTranscript(text_of(n), f"digest {n}", "") for n, key in enumerate(kept)}, ids)
    return path


def test_automatic_transcripts_are_read_as_they_were_written(manifest: Manifest) -> None:
    path = write(manifest, lambda number: ("", 'a "quoted" word, and more')[number % 2])
    found = read_transcripts(path)
    assert list(found) == [u.utterance_id for u in manifest.utterances]
    assert found["1F-1-ang"] == AsrTranscript('a "quoted" word, and more', "digest 1", "")
    assert read_transcripts(path.with_name("no such file")) == {}


def test_each_source_gives_its_own_words_and_changes_nothing_else(manifest: Manifest) -> None:
    write(manifest, lambda number: f"heard {number}")
    assert with_source(manifest, "gold", MODEL) is manifest
    assert {u.transcript for u in with_source(manifest, "none", MODEL).utterances} == {""}
    heard = with_source(manifest, "asr", MODEL)
    assert [u.transcript for u in heard.utterances] == [f"heard {number}" for number in range(16)]
    gold = [u.transcript for u in manifest.utterances]
    assert changed(heard, lambda number, _: {"transcript": gold[number]}).utterances == manifest.utterances


def test_words_that_nobody_wrote_are_refused_with_the_ways_out(manifest: Manifest) -> None:
    partly = changed(manifest, lambda number, _: {"transcript": " "} if number in (3, 5) else {})
    with pytest.raises(UserError) as caught:
        with_source(partly, "gold", MODEL)
    assert str(caught.value) == (
        f"2 of 16 utterances in {manifest.path} have no transcript (1F-1-sad, 1M-1-ang). All systems must see the "
        "same utterances. To leave these out for all of them, run `mmer-pipe prepare` again with "
        "--drop-untranscribed. To keep them, use automatic transcripts of all utterances (--transcripts asr), none "
        "(--transcripts none), or only systems that hear (wav2vec2, cai:alpha=0)."
    )


@pytest.mark.parametrize("leave_out", [2, 16])
def test_missing_automatic_transcripts_are_refused_with_the_command(manifest: Manifest, leave_out: int) -> None:
    if leave_out < 16:
        write(manifest, str, leave_out)
    with pytest.raises(UserError, match=rf"{leave_out} of 16 .*\. Run `mmer-pipe transcribe --asr-model some/model`"):
        with_source(manifest, "asr", MODEL, "mmer-pipe transcribe --asr-model some/model")


def test_a_silent_recording_counts_as_transcribed(manifest: Manifest) -> None:
    write(manifest, lambda _: "")
    assert {u.transcript for u in with_source(manifest, "asr", MODEL).utterances} == {""}


def test_case_punctuation_and_annotations_are_no_errors(manifest: Manifest) -> None:
    heard = {u.utterance_id: f"{u.transcript.upper().replace('[LAUGHTER]', '')} ..." for u in manifest.utterances}
    rates = error_rates(manifest, heard)
    assert list(rates) == ["all", *manifest.labels]
    assert {rate.errors for rate in rates.values()} == {0}
    assert error_rates(manifest, {}) == {}


@pytest.mark.parametrize("text", ["", "nonsense\n", "utterance_id,transcript,input_digest,input_stamp\n"])
def test_a_damaged_file_names_the_command_that_writes_it_again(manifest: Manifest, text: str) -> None:
    path = write(manifest, str)
    path.write_text(text)
    with pytest.raises(UserError, match=r"delete it: `mmer-pipe transcribe` writes it again"):
        with_source(manifest, "asr", MODEL)


def test_a_record_names_the_model_and_its_word_errors(manifest: Manifest) -> None:
    path = paths.asr_transcripts(manifest.path, MODEL)
    unknown = {"asr_model": MODEL, "wer": None, "utterances": 0}
    assert transcripts_used(manifest, MODEL) == unknown
    files.write_json(paths.asr_facts(path), {"asr_model": MODEL, "word_errors": {}})
    assert transcripts_used(manifest, MODEL) == unknown
    errors = {"all": {"utterances": 12, "words": 40, "errors": 10, "wer": 0.25}}
    files.write_json(paths.asr_facts(path), {"asr_model": MODEL, "word_errors": errors})
    assert transcripts_used(manifest, MODEL) == {"asr_model": MODEL, "wer": 0.25, "utterances": 12}


def test_damaged_facts_are_as_good_as_none(manifest: Manifest) -> None:
    path = write(manifest, str)
    for text in ("{", "[]"):
        paths.asr_facts(path).write_text(text)
        assert read_facts(path) is None
