"""The command transcribe: what it prints, what it suggests, and how extract makes missing transcripts itself."""

import json
import threading
from pathlib import Path

import pytest
from helpers.asr_models import ERRORS, hear_tones, refuse_asr_models
from helpers.audit_example import changed
from helpers.command_line import fail, succeed

from mmer_pipeline import files, paths


@pytest.fixture
def calls(monkeypatch):
    return hear_tones(monkeypatch)


@pytest.fixture
def asr(tiny_speech):
    """The options that name the ASR model; its directory is that of a speech encoder."""
    return ["--asr-model", str(tiny_speech)]


def test_the_result_is_a_table_of_word_error_rates_and_the_next_command_is_said(manifest, asr, calls):
    result = succeed("transcribe", *asr)
    rows = [line.replace("│", " ").split() for line in result.stdout.splitlines() if "│" in line]
    words, errors = (sum(column) for column in zip(*ERRORS.values(), strict=True))
    assert rows == [
        ["all", f"{100 * errors / words:.2f}", "16", str(4 * words)],
        *([name, f"{100 * wrong / spoken:.2f}", "4", str(4 * spoken)] for name, (spoken, wrong) in ERRORS.items()),
    ]
    assert "Transcripts: transcribed 16 of 16 utterances. cache/manifest.asr-" in result.stderr
    assert result.stderr.endswith(f"Next: mmer-pipe extract --transcripts asr --asr-model {asr[1]}\n")


def test_json_is_one_object(manifest, asr, calls):
    value = json.loads(succeed("transcribe", *asr, "--json").stdout)
    path = paths.asr_transcripts(Path("cache/manifest.csv"), asr[1])
    assert (value["path"], value["computed"], value["utterances"]) == (str(path), 16, 16)
    assert value["word_errors"]["angry"] == {"utterances": 4, "words": 24, "errors": 8, "wer": 0.333333}


def test_the_second_run_does_nothing_and_loads_no_model(manifest, asr, calls, monkeypatch):
    first = succeed("transcribe", *asr)
    refuse_asr_models(monkeypatch)
    again = succeed("transcribe", *asr)
    assert "all 16 utterances have up-to-date transcripts" in again.stderr
    assert again.stdout == first.stdout
    assert json.loads(succeed("transcribe", *asr, "--json").stdout)["computed"] == 0


def test_without_gold_transcripts_the_command_says_that_there_is_no_rate(manifest, asr, calls):
    changed(manifest, lambda *_: {"transcript": ""})
    assert "no gold transcripts, so there is no word error rate" in succeed("transcribe", *asr).stdout


def test_the_suggestion_carries_the_manifest(manifest, asr, calls):
    other = manifest.path.rename(manifest.path.with_name("other.csv"))
    paths.manifest_facts(manifest.path).rename(paths.manifest_facts(other))
    shown = succeed("transcribe", *asr, "--manifest", other).stderr
    assert f"Next: mmer-pipe extract --transcripts asr --manifest {other} --asr-model {asr[1]}\n" in shown


def test_quiet_prints_the_table_alone(manifest, asr, calls):
    result = succeed("--quiet", "transcribe", *asr)
    assert result.stderr == ""
    assert "Word error rate of" in result.stdout


def test_it_waits_for_another_process_that_is_transcribing(manifest, asr, calls):
    path = paths.asr_transcripts(manifest.path, asr[1])
    locked, done = threading.Event(), threading.Event()

    def other():
        with files.locked(paths.lock_of(path)):
            locked.set()
            done.wait(1.0)

    process = threading.Thread(target=other)
    process.start()
    locked.wait()
    shown = succeed("transcribe", *asr).stderr
    process.join()
    assert "Another process is writing" in shown
    assert "transcribed 16 of 16" in shown


def test_a_text_encoder_as_asr_model_is_refused(manifest, tiny_text):
    assert "does not turn speech into text" in fail("transcribe", "--asr-model", tiny_text)
    assert not list(Path("cache").glob("manifest.asr*"))


def test_a_model_that_is_not_there_is_refused(manifest):
    assert "no such directory" in fail("transcribe", "--asr-model", "./nowhere")


def test_extract_makes_the_transcripts_that_are_missing(manifest, asr, encoders, calls, monkeypatch):
    result = json.loads(succeed("extract", *encoders, *asr, "--transcripts", "asr", "--json").stdout)
    assert list(result) == ["transcripts", "text_asr", "speech"]
    assert result["text_asr"]["computed"] == 16
    refuse_asr_models(monkeypatch)
    both = json.loads(succeed("extract", *encoders, *asr, "--test-transcripts", "asr", "--json").stdout)
    assert list(both) == ["transcripts", "text", "text_asr", "speech"]
    assert [both[name]["computed"] for name in both] == [0, 16, 0, 0]
