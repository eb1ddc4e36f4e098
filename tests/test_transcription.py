"""Automatic transcripts of a corpus: what is transcribed again and what is kept, and word error rates."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.asr_models import ERRORS, TONES, hear_tones, refuse_asr_models
from helpers.audit_example import changed, rewritten

from mmer_pipeline import files, paths, transcription
from mmer_pipeline.corpora.asr_transcripts import read_facts, read_transcripts
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.errors import Busy, UserError
from mmer_pipeline.transcription import Transcription, transcribe


class StopError(Exception):
    """Stands for Ctrl-C."""


def quiet(done: int, total: int) -> None:
    pass


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return hear_tones(monkeypatch)


@pytest.fixture
def asr_model(tiny_speech: Path) -> Path:
    """A directory that stands for an ASR model."""
    return shutil.copytree(tiny_speech, Path("models/tones"))


def run(manifest: Manifest, asr_model: Path, progress: transcription.Progress = quiet) -> Transcription:
    return transcribe(manifest, str(asr_model), None, device="cpu", progress=progress)


def texts(manifest: Manifest, asr_model: Path) -> dict[str, str]:
    """The transcripts on disk, in their order."""
    path = paths.asr_transcripts(manifest.path, str(asr_model))
    return {key: row.text for key, row in read_transcripts(path).items()}


def test_every_utterance_gets_its_words_in_the_order_of_the_manifest(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    seen: list[tuple[int, int]] = []
    done = run(manifest, asr_model, lambda n, total: seen.append((n, total)))
    assert done.path == manifest.path.parent / "manifest.asr-tones.csv"
    assert (done.computed, done.utterances) == (16, 16)
    heard = dict(zip(("hap", "ang", "neu", "sad"), TONES.values(), strict=True))
    expected = {u.utterance_id: heard[u.emotion] for u in manifest.utterances}
    assert list(texts(manifest, asr_model).items()) == list(expected.items())
    assert seen == [(0, 16), (16, 16)]
    assert calls == [16]


def test_word_errors_are_counted_per_class_and_written_beside_the_transcripts(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    rates = run(manifest, asr_model).error_rates
    words, errors = (sum(column) for column in zip(*ERRORS.values(), strict=True))
    assert {name: (rate.utterances, rate.words, rate.errors) for name, rate in rates.items()} == {
        "all": (16, 4 * words, 4 * errors),
        **{name: (4, 4 * spoken, 4 * wrong) for name, (spoken, wrong) in ERRORS.items()},
    }
    assert rates["sad"].rate == 0.25
    facts = json.loads((manifest.path.parent / "manifest.asr-tones.json").read_text())
    assert facts["asr_model"] == str(asr_model)
    assert facts["word_errors"]["sad"] == {"utterances": 4, "words": 16, "errors": 4, "wer": 0.25}


def test_utterances_without_gold_words_do_not_count_as_errors(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    missing = changed(manifest, lambda n, u: {"transcript": ("", "[LAUGHTER]")[n % 2] if u.emotion != "sad" else "Yes"})
    rates = run(missing, asr_model).error_rates
    assert {name: (rate.utterances, rate.words) for name, rate in rates.items()} == {"all": (4, 4), "sad": (4, 4)}
    assert rates["all"].rate == 5.0  # five words for one


def test_without_gold_transcripts_there_is_no_word_error_rate(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    done = run(changed(manifest, lambda *_: {"transcript": ""}), asr_model)
    assert (done.computed, done.error_rates) == (16, {})
    facts = read_facts(done.path)
    assert facts is not None
    assert facts["word_errors"] == {}


def test_what_is_there_is_not_transcribed_again_and_no_model_is_loaded(
    manifest: Manifest, asr_model: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(manifest, asr_model)
    refuse_asr_models(monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in manifest.path.parent.glob("manifest.asr*")}
    again = run(manifest, asr_model)
    assert again == replace(first, computed=0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_word_errors_follow_the_gold_transcripts(
    manifest: Manifest, asr_model: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(manifest, asr_model)
    refuse_asr_models(monkeypatch)
    corrected = changed(manifest, lambda _, u: {"transcript": TONES[110] if u.emotion == "sad" else ""})
    done = run(corrected, asr_model)
    assert (done.computed, done.error_rates["all"].errors) == (0, 0)
    facts = read_facts(done.path)
    assert facts is not None
    assert facts["word_errors"]["all"]["wer"] == 0.0


def test_only_changed_and_new_recordings_are_transcribed_again(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    *known, new = manifest.utterances
    run(rewritten(manifest, known), asr_model)
    one = next(u for u in known if u.emotion == "ang")
    time = np.arange(8_000) / 16_000
    soundfile.write(manifest.audio_path(one), 0.3 * np.sin(2 * np.pi * 440 * time), 16_000)
    os.utime(manifest.audio_path(known[-1]), ns=(1, 1))  # touched, with the same content
    whole = rewritten(manifest, [*known, new])
    done = run(whole, asr_model)
    assert (done.computed, calls) == (2, [15, 2])
    found = texts(whole, asr_model)
    assert list(found) == [u.utterance_id for u in whole.utterances]
    assert found[one.utterance_id] == TONES[440]


def test_another_segment_of_a_recording_is_transcribed_again(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    run(manifest, asr_model)
    shorter = changed(manifest, lambda n, _: {"end_seconds": 0.3} if n == 0 else {})
    assert run(shorter, asr_model).computed == 1


def test_another_model_of_the_same_name_transcribes_all_again(
    manifest: Manifest, asr_model: Path, calls: list[int], tmp_path: Path
) -> None:
    run(manifest, asr_model)
    other = shutil.copytree(asr_model, tmp_path / "other" / "tones")
    assert run(manifest, other).computed == 0  # a copy is the same model
    (other / "generation_config.json").write_text("{}")
    assert run(manifest, other).computed == 16


def test_each_model_has_a_file_of_its_own(
    manifest: Manifest, asr_model: Path, calls: list[int], tmp_path: Path
) -> None:
    other = shutil.copytree(asr_model, tmp_path / "other")
    assert run(manifest, asr_model).path != run(manifest, other).path
    assert run(manifest, asr_model).computed == 0


def stop_after(utterances: int) -> transcription.Progress:
    """A progress that raises once so many utterances are transcribed."""
    done = 0

    def progress(more: int, total: int) -> None:
        nonlocal done
        done += more
        if done >= utterances:
            raise StopError

    return progress


def test_a_stop_keeps_what_is_transcribed_and_the_next_call_goes_on(
    manifest: Manifest, asr_model: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcription, "GROUP", 3)
    with pytest.raises(StopError):
        run(manifest, asr_model, stop_after(6))
    assert len(texts(manifest, asr_model)) == 6
    assert run(manifest, asr_model).computed == 10
    assert sum(calls) == 16


def test_finished_groups_are_saved_while_others_are_transcribed(
    manifest: Manifest, asr_model: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcription, "GROUP", 4)
    monkeypatch.setattr(transcription, "SECONDS_BETWEEN_SAVES", -1.0)
    saved: list[int] = []
    run(manifest, asr_model, lambda *_: saved.append(len(texts(manifest, asr_model))))
    assert saved == [0, 4, 8, 12, 16]


def fail_at_once(manifest: Manifest, asr_model: Path) -> None:
    """Transcribe with a model that fails at the first group."""
    with pytest.MonkeyPatch.context() as patch:
        hear_tones(patch, {})
        with pytest.raises(KeyError):
            run(manifest, asr_model)


def test_a_failure_before_the_first_transcript_leaves_nothing_that_stands_in_the_way(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    """It once left a file without rows, which the next call refused to read."""
    fail_at_once(manifest, asr_model)
    assert not paths.asr_transcripts(manifest.path, str(asr_model)).exists()
    assert run(manifest, asr_model).computed == 16


def test_a_failure_before_the_first_transcript_does_not_pass_off_another_model_s_work(
    manifest: Manifest, asr_model: Path, calls: list[int]
) -> None:
    run(manifest, asr_model)
    (asr_model / "generation_config.json").write_text("{}")  # from here on it is another model
    fail_at_once(manifest, asr_model)
    assert run(manifest, asr_model).computed == 16


def test_a_damaged_file_is_refused_with_what_to_do(manifest: Manifest, asr_model: Path, calls: list[int]) -> None:
    path = run(manifest, asr_model).path
    path.write_text(path.read_text() + "one cell\n")
    with pytest.raises(UserError) as caught:
        run(manifest, asr_model)
    assert str(caught.value) == (
        f"{path}, line 18: expected 4 cells, found 1. If you cannot correct the file, delete it: "
        "`mmer-pipe transcribe` writes it again."
    )
    path.unlink()
    assert run(manifest, asr_model).computed == 16


def test_damaged_facts_only_cost_time(manifest: Manifest, asr_model: Path, calls: list[int]) -> None:
    paths.asr_facts(run(manifest, asr_model).path).write_text("{")
    assert run(manifest, asr_model).computed == 16


def test_two_processes_do_not_write_the_same_file(manifest: Manifest, asr_model: Path, calls: list[int]) -> None:
    lock = paths.lock_of(paths.asr_transcripts(manifest.path, str(asr_model)))
    with files.locked(lock), pytest.raises(Busy):
        run(manifest, asr_model)
    assert run(manifest, asr_model).computed == 16


def test_a_missing_recording_is_named(manifest: Manifest, asr_model: Path, calls: list[int]) -> None:
    manifest.audio_path(manifest.utterances[3]).unlink()
    with pytest.raises(UserError, match=f"{manifest.utterances[3].utterance_id}: its recording .* cannot be read"):
        run(manifest, asr_model)
    assert not calls


def test_a_transcript_keeps_quotes_and_other_scripts(
    manifest: Manifest, asr_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken: dict[int, str] = {440: 'He said "no", twice', 330: "Tschüß, ça va", 220: "不行", 110: "-"}
    hear_tones(monkeypatch, spoken)
    run(manifest, asr_model)
    assert set(texts(manifest, asr_model).values()) == set(spoken.values())
