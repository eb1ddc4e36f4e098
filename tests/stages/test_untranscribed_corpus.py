"""A corpus without a single transcript, from the manifest to the report."""

import json
from pathlib import Path

import pytest
from helpers.asr_models import hear_tones
from helpers.audit_example import changed
from helpers.command_line import fail, succeed

from mmer_pipeline import paths


@pytest.fixture
def untranscribed(manifest):
    return changed(manifest, lambda *_: {"transcript": ""})


@pytest.fixture
def training(encoders):
    return [*encoders, "--epochs", "1", "--asr-model", encoders[3]]


def test_with_automatic_transcripts(untranscribed, training, monkeypatch):
    hear_tones(monkeypatch)
    words = ["--transcripts", "asr", *training[:4], *training[6:]]
    result = succeed("audit", "extract", *words, "train", *training, "--transcripts", "asr", "evaluate", "report")
    assert "Next:" not in result.stdout
    assert "transcribed 16 of 16 utterances" in result.stderr
    assert "their word error rate is unknown" in " ".join(result.stdout.split())
    report = json.loads(Path("runs/mmer/report.json").read_text())["systems"][0]
    assert report["title"] == "MMER (α = 0.1, ASR transcripts)"
    assert report["spelling"] is None  # there is nothing to compare with
    assert {error["transcript"] for error in report["errors"]} <= {""}


@pytest.mark.parametrize("alphabet", ["wav2vec2", "corpus"])
def test_without_words(untranscribed, training, alphabet):
    words = ["--transcripts", "none"]
    succeed(
        "extract", *training[:4], *words, "train", *training, *words, "--ctc-alphabet", alphabet, "evaluate", "report"
    )
    settings = json.loads(paths.fold(Path("runs/mmer"), 1).settings.read_text())
    assert settings["facts"]["without_ctc_target"] == 16
    assert json.loads(Path("runs/mmer/report.json").read_text())["systems"][0]["title"].endswith("no transcripts)")


def test_with_the_words_that_nobody_wrote(untranscribed, training):
    for command in (["extract", *training[:4]], ["train", *training], ["train", "--system", "cai", *training]):
        assert "Use automatic ones (--transcripts asr) or none (--transcripts none)." in fail(*command)


def test_a_system_that_reads_no_words_needs_none(untranscribed, training):
    system = ["--system", "wav2vec2"]
    succeed("extract", *system, *training[:4], "train", *system, *training, "--fold", 1, "evaluate")
    assert paths.fold(Path("runs/wav2vec2"), 1).evaluation.is_file()
