"""The command line as a person types it: chains, directories, settings, and the commands that it suggests."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed

from mmer_pipeline import paths
from mmer_pipeline.features.feature_file import FeatureFile

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = Path("runs/mmer")


@pytest.fixture
def training(encoders):
    return ["train", *encoders, "--epochs", "2", "--learning-rate", "1e-3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cv --import x.csv", "No such option '--import' of cv. Use `mmer-pipe report --import`."),
        ("evaluate --alpha 3", "Use `mmer-pipe train --alpha` or `mmer-pipe cv --alpha` or `mmer-pipe tune --alpha`."),
        ("train --seeds 1,2", "No such option '--seeds'. Did you mean '--seed'?"),
        ("report --nonsense", "No such option '--nonsense'."),
    ],
)
def test_an_option_that_only_another_command_has_is_said_to_be_its(line, said):
    assert said in fail(*line.split(), code=2)


def test_one_chain_goes_from_a_corpus_to_a_report(tmp_path, manifest, encoders):
    written_by_hand = tmp_path / "corpus" / "manifest.csv"
    written_by_hand.write_bytes(manifest.path.read_bytes())
    result = succeed(
        *("--cache-dir", "c", "--runs-dir", "r"),
        *("prepare", "csv", "--root", written_by_hand, "--label-map", "iemocap-4"),
        *("extract", *encoders),
        *("train", *encoders, "--epochs", "2", "--run", "first"),
        *("evaluate", "--run", "first"),
        *("report", "--run", "first"),
    )
    assert (tmp_path / "c" / "manifest.csv").is_file()
    for number in (1, 2):
        fold = paths.fold(tmp_path / "r" / "first", number)
        for path in (fold.settings, fold.metrics, fold.weights, fold.evaluation, fold.predictions):
            assert path.is_file()
    assert "2-fold cross-validation, sessions held out" in result.output
    report = json.loads((tmp_path / "r" / "first" / "report.json").read_text())["systems"][0]
    assert report["selections"]["final"]["summary"]["wa"]["pooled"] is not None


def test_evaluating_the_saved_model_gives_the_last_epochs_metrics(manifest, encoders, training):
    succeed("extract", *encoders, *training, "evaluate")
    for number in (1, 2):
        fold = paths.fold(RUN, number)
        last = json.loads(fold.metrics.read_text().splitlines()[-1])["held_out"]
        fresh = json.loads(fold.evaluation.read_text())["metrics"]
        assert fresh["confusion"] == last["confusion"]
        assert fresh["ece"] == pytest.approx(last["ece"], abs=1e-6)
        assert fresh["cer"] == last["cer"]


def test_predictions_have_the_columns_of_the_contract(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1, "evaluate")
    header, *rows = paths.fold(RUN, 1).predictions.read_text().splitlines()
    assert header == (
        "utterance_id,fold,speaker,dialogue,truth,prediction,probability_happy,probability_angry,"
        "probability_neutral,probability_sad,transcript_ctc,gate"
    )
    held_out = [u.utterance_id for u in manifest.utterances if u.session == "1"]
    assert [row.split(",")[0] for row in rows] == held_out
    for row in rows:
        assert sum(map(float, row.split(",")[6:10])) == pytest.approx(1, abs=1e-5)


def test_every_stage_run_again_does_nothing_and_says_so(manifest, encoders, training):
    chain = ["extract", *encoders, *training, "--fold", 2, "evaluate", "--fold", 2]
    succeed(*chain)
    again = succeed(*chain).stderr
    assert again.count("are up to date") == 2
    assert "Fold 2 of runs/mmer has already been trained with these settings; skipping it." in again
    assert "Fold 2 of runs/mmer has already been evaluated; skipping it." in again


def test_json_is_one_object_on_standard_output(manifest, encoders, training):
    extracted = json.loads(succeed("extract", *encoders, "--json").stdout)
    assert extracted["text"]["computed"] == extracted["speech"]["computed"] == 16
    succeed(*training)
    evaluated = json.loads(succeed("evaluate", "--json").stdout)
    assert [fold["fold"] for fold in evaluated["folds"]] == [1, 2]
    reported = json.loads(succeed("report", "--json").stdout)
    assert reported["systems"][0]["folds_expected"] == 2


def test_help_is_quick_and_loads_no_library_of_numbers():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from stages.cli import main\n"
        "for words in ([], ['prepare'], ['extract'], ['train'], ['evaluate'], ['report'], ['demo']):\n"
        "    result = CliRunner().invoke(main, [*words, '--help'])\n"
        "    assert result.exit_code == 0 and 'Usage' in result.output, result.output\n"
        "print(*sorted({'torch', 'transformers', 'numpy', 'h5py', 'rich', 'distributed'} & set(sys.modules)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert answer.stdout.strip() == ""


def test_settings_come_from_one_table_of_mmer_toml_and_flags_override_them(manifest, encoders, training):
    text, speech = encoders[1], encoders[3]
    Path("mmer.toml").write_text(
        textwrap.dedent(f"""
            [train]
            text-encoder = "{text}"
            speech_encoder = "{speech}"
            epochs = 1
            alpha = 0.5
            fold = [2]
        """)
    )
    succeed("extract", "train", "--alpha", "0.25")
    settings = json.loads(paths.fold(RUN, 2).settings.read_text())["settings"]
    assert (settings["epochs"], settings["alpha"]) == (1, 0.25)
    assert not paths.fold(RUN, 1).directory.exists()


def test_a_misspelt_setting_is_not_ignored():
    Path("mmer.toml").write_text("[train]\nepoch = 3\n")
    assert "[train] has no option 'epoch'" in fail("train", code=2)
    Path("mmer.toml").write_text("[trian]\nepochs = 3\n")
    assert "no command 'trian'" in fail("train", code=2)


def test_a_config_file_can_be_named_behind_a_command(manifest, encoders):
    Path("other.toml").write_text(f'[extract]\ntext-encoder = "{encoders[1]}"\nspeech-encoder = "{encoders[3]}"\n')
    succeed("extract", "--config", "other.toml")


def test_a_config_file_behind_a_command_brings_its_places_along(manifest, encoders):
    Path("other.toml").write_text('cache-dir = "cache"\nruns-dir = "far"\n[train]\nepochs = 1\nfold = [1]\n')
    succeed("extract", *encoders, "train", "--config", "other.toml", *encoders)
    assert paths.fold(Path("far/mmer"), 1).weights.is_file()


def test_places_come_from_the_environment_where_no_flag_says_otherwise(manifest, encoders, monkeypatch):
    monkeypatch.setenv("MMER_CACHE_DIR", str(manifest.path.parent))
    monkeypatch.setenv("MMER_RUNS_DIR", "elsewhere")
    succeed("extract", *encoders, "train", *encoders, "--epochs", 1, "--fold", 1)
    assert paths.fold(Path("elsewhere/mmer"), 1).weights.is_file()


def test_the_next_command_carries_what_was_given_to_this_one(manifest, encoders):
    shown = succeed("extract", *encoders, "--dtype", "float32").stderr
    assert f"Next: mmer-pipe train --text-encoder {encoders[1]} --speech-encoder {encoders[3]} --dtype float32" in shown


def test_a_run_can_be_evaluated_from_another_folder_and_without_its_encoders(
    tmp_path, manifest, encoders, training, monkeypatch
):
    chain = ["--text-encoder", "text", "--speech-encoder", "speech"]
    for source, name in ((encoders[1], "text"), (encoders[3], "speech")):
        shutil.copytree(source, name)
    succeed("extract", *chain, "train", *chain, "--epochs", 1, "--fold", 1)
    shutil.rmtree("text")
    shutil.rmtree("speech")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    places = ["--cache-dir", manifest.path.parent, "--runs-dir", tmp_path / "runs"]
    assert "WA" in succeed(*places, "evaluate", "--fold", 1).stdout


def test_evaluate_and_report_go_on_with_the_run_that_the_chain_trained(manifest, encoders, training):
    succeed("extract", *encoders, *training, "evaluate")
    result = succeed(*training, "--alpha", "0.5", "--run", "other", "evaluate", "report")
    assert "On tones, MMER (α = 0.5)" in result.stdout
    assert Path("runs/other/report.md").is_file()
    assert not Path("runs/mmer/report.md").exists()


def test_the_next_command_is_said_once_at_the_end_of_a_chain(manifest, encoders, training):
    shown = succeed("extract", *encoders, *training, "--fold", 1, "--run", "one").stderr
    assert shown.count("Next:") == 1
    assert shown.endswith("Next: mmer-pipe evaluate --run one\n")


def test_train_and_evaluate_name_system_and_run_and_so_does_the_next_command(manifest, encoders, training):
    succeed("extract", *encoders)
    shown = succeed(*training, "--system", "roberta", "--fold", 1).stderr
    assert "roberta, fold 1  epoch" in shown
    assert shown.endswith("Next: mmer-pipe evaluate --run roberta\n")
    places = ["--runs-dir", "my runs", "--cache-dir", "cache"]
    shown = succeed(*places, *training, "--system", "roberta", "--fold", 1, "--run", "first try").stderr
    assert "first try (roberta), fold 1  epoch" in shown
    (following,) = [line for line in shown.splitlines() if line.startswith("Next: mmer-pipe ")]
    assert "--run 'first try'" in following
    evaluated = succeed(*shlex.split(following.removeprefix("Next: mmer-pipe ")))
    assert "first try (roberta), fold 1, held out 1, 8 utterances" in evaluated.stdout
    assert "--runs-dir 'my runs'" in evaluated.stderr.splitlines()[-1]


def test_a_report_with_a_validation_part_fits_a_terminal_of_80_columns(manifest, encoders, training, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = succeed("extract", *encoders, *training, "--validation", "0.5", "evaluate")
    assert "Warning: The validation part of a fold has up to 2 speakers and" in result.stderr
    assert result.stdout.count("validated, epoch ") == 2
    shutil.rmtree(paths.fold(RUN, 2).validated_model)  # as in a run of an earlier version
    again = succeed("evaluate")
    assert again.stdout.count("validated, epoch ") == 1
    assert "Fold 2 of runs/mmer has no model of the validated epoch" in again.stderr
    assert "mmer-pipe train --run mmer --fold 2 --validation 0.5" in again.stderr
    shown = succeed("report").stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "validated" in shown


def test_the_command_of_a_missing_fold_carries_the_settings_of_the_others(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1, "--schedule", "linear", "evaluate")
    missing = json.loads(succeed("report", "--json").stdout)["holes"][0]["why"]
    assert missing == (
        f"not trained: mmer-pipe train --run mmer --fold 2 --text-encoder {encoders[1]} --speech-encoder {encoders[3]} "
        "--epochs 2 --learning-rate 0.001 --schedule linear --precision fp32"
    )


def test_the_demo_keeps_to_its_own_folder():
    assert "demo takes no --cache-dir" in fail("demo", "--cache-dir", "x", code=2)


def test_debug_shows_the_traceback():
    answer = subprocess.run(
        [sys.executable, "-m", "stages.cli", "--debug", "report"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "No trained fold" in answer.stderr


def test_bf16_is_trained_and_scored_where_it_is_asked_for(manifest, encoders, training):
    succeed("extract", *encoders, *training, "--fold", 1, "--precision", "bf16", "evaluate")
    fold = paths.fold(RUN, 1)
    assert json.loads(fold.settings.read_text())["settings"]["precision"] == "bf16"
    assert json.loads(fold.evaluation.read_text())["precision"] == "fp32"  # "auto" on a CPU


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "used"), [("auto", 16.0), ("0.5", 0.5)])
def test_parts_of_a_step_are_as_long_as_fits_or_as_asked_for_and_the_peak_is_said(
    asked, used, manifest, encoders, training
):
    result = succeed("extract", *encoders, *training, "--max-batch-seconds", asked, "--fold", "1")
    line = json.loads(paths.fold(RUN, 1).metrics.read_text().splitlines()[-1])["speed"]
    assert 0 < line["max_batch_seconds"] <= used
    peak, seconds = line["peak_memory_gib"], line["max_batch_seconds"]
    assert f"peak memory {peak:.2f} GiB, micro-batches of at most {seconds:.0f} s" in result.output


def test_a_dask_scheduler_elsewhere_gives_the_features_that_threads_give(manifest, encoders):
    from distributed import LocalCluster

    succeed("extract", *encoders, "--cache-dir", "near", "--manifest", manifest.path, "--dtype", "float32")
    options = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(processes=True, **options) as cluster:
        far = ["--cache-dir", "far", "--scheduler", cluster.scheduler_address]
        succeed("extract", *encoders, *far, "--manifest", manifest.path, "--dtype", "float32")
    for near in Path("near/features").rglob("*.h5"):
        mine, other = FeatureFile(near), FeatureFile("far" / near.relative_to("near"))
        assert mine.utterance_ids == other.utterance_ids
        for row in range(len(mine.utterance_ids)):
            assert mine.at(row) == pytest.approx(other.at(row), abs=1e-5)
