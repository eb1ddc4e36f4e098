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
        assert "Use automatic transcripts (--transcripts asr), none (--transcripts none), or a" in fail(*command)


def test_a_system_that_reads_no_words_needs_none(untranscribed, training):
    system = ["--system", "wav2vec2"]
    succeed("extract", *system, *training[:4], "train", *system, *training, "--fold", 1, "evaluate")
    assert paths.fold(Path("runs/wav2vec2"), 1).evaluation.is_file()


def test_cross_validation_by_ear_needs_no_words_and_counts_every_row(untranscribed, training):
    table = Path("corpus/manifest.csv")
    table.write_text(untranscribed.path.read_text())
    prepared = succeed("prepare", "csv", "--root", "corpus", "--label-map", "iemocap-4", "--json")
    assert len(json.loads(prepared.stdout)["problems"]["untranscribed"]) == 16
    succeed("cv", "--systems", "wav2vec2", "--folds", "2", *training, "--device", "cpu")
    report = json.loads(Path("runs/report/report.json").read_text())["systems"][0]
    assert (report["utterances"], report["folds_expected"]) == (16, 2)
    assert report["spelling"] is None
    assert [fold["held_out"] for fold in report["selections"]["final"]["folds"]] == ["group 1", "group 2"]
    assert Path("cache/manifest.folds-2.csv").read_text().startswith("speaker,fold\n")
    audited = succeed("audit", "--folds", 2, "--no-audio")
    assert "2 folds by group of speakers" in audited.stdout


def test_other_groups_make_a_trained_run_stale(untranscribed, training):
    speakers = ["--system", "wav2vec2", *training, "--folds", 2, "--fold", 1]
    succeed("extract", *speakers[:2], *training[:4], "train", *speakers)
    groups = Path("cache/manifest.folds-2.csv")
    rows = [row.split(",") for row in groups.read_text().splitlines()]
    groups.write_text("".join(f"{name},{ {'1': '2', '2': '1'}.get(fold, fold) }\n" for name, fold in rows))
    assert "Changed since" in fail("evaluate", "--run", "wav2vec2")
    assert "fold_column: " in fail("train", *speakers)


def test_systems_that_read_words_are_refused_at_once_and_named(untranscribed, training, manifest):
    systems = ["cv", "--systems", "wav2vec2,mmer,cai,roberta", *training]
    said = fail(*systems)
    assert "16 of 16 utterances have no transcript in" in said
    assert "but mmer, cai, roberta read words. Use automatic transcripts (--transcripts asr)" in said
    assert "--drop-untranscribed" not in said  # nothing would be left
    changed(manifest, lambda number, row: {"transcript": row.transcript if number else ""})
    said = fail(*systems)
    assert "1 of 16 utterances have no transcript" in said
    assert "run `mmer-pipe prepare` with --drop-untranscribed" in said
    assert not Path("cache/features").exists()
    assert not Path("runs").exists()
