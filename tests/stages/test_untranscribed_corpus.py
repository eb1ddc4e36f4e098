"""A corpus without a single transcript, from the manifest to the report."""

import json
import shlex
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
        assert "Use automatic transcripts of all utterances (--transcripts asr), none (--transcripts" in fail(*command)


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
    assert "None of the 16 utterances in cache/manifest.csv has a transcript" in said
    assert "but mmer, cai, roberta read words. Use automatic transcripts" in said
    assert "--drop-untranscribed" not in said  # nothing would be left
    changed(manifest, lambda number, row: {"transcript": row.transcript if number else ""})
    said = fail(*systems)
    assert "1 of 16 utterances in cache/manifest.csv have no transcript (1F-1-hap)" in said
    assert "run `mmer-pipe prepare` again with --drop-untranscribed" in said
    assert not Path("cache/features").exists()
    assert not Path("runs").exists()


def test_the_command_in_the_refusal_repeats_the_options_and_leads_on(manifest, training):
    source = Path("corpus/my calls.csv")
    rows = manifest.path.read_text().replace("speaker", "voice").splitlines()
    source.write_text("\n".join([*rows[:-2], *(row[: row.rindex(",") + 1] for row in rows[-2:])]) + "\n")
    options = ["--label-map", "iemocap-4", "--column", "speaker=voice", "--column", "dialogue="]
    limit = ["--max-audio-seconds", "9.0"]
    succeed("--cache-dir", "my cache", "prepare", "csv", "--root", source, *options, *limit, "--name", "calls")
    said = fail("train", "--system", "roberta", "--fold", 1, *training, "--cache-dir", "my cache")
    assert "2 of 16 utterances in my cache/manifest.csv have no transcript (2M-1-neu, 2M-1-sad)" in said
    command = said.partition("run `mmer-pipe ")[2].partition("`")[0]
    assert shlex.split(command) == [
        *("prepare", "csv", "--root", str(source), *options[2:], "--name", "calls", *options[:2]),
        *(*limit, "--cache-dir", "my cache", "--drop-untranscribed"),
    ]
    succeed(*shlex.split(command))
    system = ["--system", "roberta", *training, "--cache-dir", "my cache"]
    succeed("extract", *system[:6], "--cache-dir", "my cache", "train", *system, "--fold", 1)
