"""mmer-pipe init, and the settings that commands inherit from one table of mmer.toml."""

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from helpers.command_line import fail, succeed

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import PRESETS
from mmer_pipeline.settings import DEFAULTS
from stages.init import SHOWN, settings_file


@pytest.fixture
def found(monkeypatch):
    """Record the arguments of the command that reads the manifest."""
    params = {}

    def look(*_, **__):
        params.clear()
        params.update(click.get_current_context().params)
        raise UserError("That was all.")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", look)
    return params


def test_it_writes_the_small_preset_for_a_machine_without_a_gpu_and_keeps_what_is_there(manifest):
    result = succeed("--cache-dir", "my cache", "init", "--device", "cpu")
    assert "Wrote mmer.toml with the preset small for " in result.stderr
    written = Path("mmer.toml").read_text()
    table = tomllib.loads(written)
    assert (table["cache-dir"], table["train"]["preset"]) == ("my cache", "small")
    assert "mmer.toml exists already" in fail("init")
    assert Path("mmer.toml").read_text() == written


def test_directories_come_from_the_environment_where_no_option_names_them(monkeypatch):
    monkeypatch.setenv(paths.RUNS_DIR_VARIABLE, "/far/runs")
    succeed("init", "--preset", "small")
    assert tomllib.loads(Path("mmer.toml").read_text())["runs-dir"] == "/far/runs"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_commented_lines_are_the_values_of_the_preset(preset):
    lines = settings_file(preset, Path("cache"), Path("runs")).splitlines()
    assert max(map(len, lines)) <= 120
    settings = tomllib.loads("\n".join(line[2:] for line in lines if re.match("# [a-z-]+ = ", line)))
    values = {**DEFAULTS, **PRESETS[preset]}
    assert {name.replace("-", "_"): value for name, value in settings.items() if name not in ("systems", "seeds")} == {
        name: values[name] for name in (*SHOWN, *PRESETS[preset])
    }


def test_a_file_of_init_without_its_marks_can_be_read(found):
    succeed("init", "--preset", "small")
    text = Path("mmer.toml").read_text()
    Path("mmer.toml").write_text(re.sub("^# (?=[a-z-]+ = )", "", text, flags=re.MULTILINE))
    assert "That was all" in fail("cv")
    assert (found["text_encoder"], found["epochs"]) == ("embedded/minilm-l6", 8)


@pytest.mark.parametrize("command", ["extract", "train", "cv", "audit"])
def test_encoders_are_named_once_for_all_commands(command, found):
    Path("mmer.toml").write_text('[train]\npreset = "small"\ntext-encoder = "a/b"\n')
    assert "That was all" in fail(command)
    assert (found["text_encoder"], found["speech_encoder"]) == ("a/b", "embedded/moonshine-tiny")


def test_transcribe_and_extract_take_the_asr_model_of_train_and_their_own_tables_override_it(found):
    Path("mmer.toml").write_text('[train]\nasr-model = "a/b"\n[extract]\nasr-model = "c/d"\n')
    assert "That was all" in fail("transcribe")
    assert found["asr_model"] == "a/b"
    assert "That was all" in fail("extract")
    assert found["asr_model"] == "c/d"


def test_the_manifest_of_train_is_not_another_corpus_for_evaluate(trained):
    Path("mmer.toml").write_text(f'runs-dir = "{trained}/runs"\ncache-dir = "{trained}/cache"\n'
                                 '[train]\nmanifest = "elsewhere.csv"\n')  # fmt: skip
    result = json.loads(succeed("--json", "evaluate", "--fold", 1).stdout)
    assert [fold["fold"] for fold in result["folds"]] == [1]
