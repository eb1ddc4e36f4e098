"""--recipe: defaults of each system, which a preset, mmer.toml and flags replace, and which a run's record has."""

import json
from pathlib import Path

import pytest
from helpers.command_line import fail, succeed

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import PRESETS, RECIPES
from mmer_pipeline.settings import DEFAULTS
from stages import cv, system_list

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "last_frame.py"


@pytest.fixture
def parsed(monkeypatch):
    """A function that returns the settings `train` would use."""

    def settings_of(*arguments):
        seen = {}

        def stop_after_parsing(**options):
            seen.update(options)
            raise UserError("that is enough")

        monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", lambda _: None)
        monkeypatch.setattr("mmer_pipeline.systems.registry.settings_for", stop_after_parsing)
        fail("train", "--fold", 1, *arguments)
        return seen

    return settings_of


@pytest.mark.parametrize("system", RECIPES["reference"])
def test_a_recipe_replaces_the_defaults_of_its_system_alone(parsed, system):
    recipe = RECIPES["reference"][system]
    found, plain = parsed("--system", system, "--recipe", "reference"), parsed("--system", system)
    assert {name: found[name] for name in recipe} == recipe
    assert {name for name in plain if plain[name] != found[name]} == recipe.keys() - _same_as_default(recipe)
    assert plain == parsed("--system", system, "--recipe", "paper")


def _same_as_default(recipe):
    return {name for name, value in recipe.items() if value == DEFAULTS[name]}


def test_a_preset_then_mmer_toml_then_flags_replace_the_recipe(parsed):
    Path("mmer.toml").write_text('[train]\nrecipe = "reference"\nclip-norm = 2.0\n')
    found = parsed("--system", "cai", "--preset", "small", "--bucket-batches", 4)
    small = PRESETS["small"]
    assert (found["alpha"], found["learning_rate"]) == (small["alpha"], small["learning_rate"])
    assert (found["clip_norm"], found["bucket_batches"]) == (2.0, 4)
    assert (found["spec_augment"], found["dropout_at"]) == (False, "inputs")


def test_the_record_of_a_run_has_the_recipe_s_settings(corpus, encoders):
    succeed("train", *encoders, "--recipe", "reference", "--fold", 1, "--epochs", 1)
    settings = json.loads(paths.fold(Path("runs/mmer"), 1).settings.read_text())["settings"]
    recipe = RECIPES["reference"]["mmer"]
    assert {name: settings[name] for name in recipe} == recipe


def test_extract_leaves_out_the_text_features_of_an_encoder_that_is_trained(manifest, encoders):
    def made(*options):
        return set(json.loads(succeed("extract", *encoders, *options, "--json").stdout))

    assert made("--finetune-text") == {"speech"}
    assert made("--system", "roberta", "--recipe", "reference") == set()
    assert "has no setting finetune-text" in fail("extract", *encoders, "--system", "cai", "--finetune-text")
    assert not list(Path("cache/features").rglob("text-*"))


def test_an_entry_of_cv_may_name_its_recipe():
    entry = system_list.Entry.parse("mmer:recipe=reference:alpha=0.02")
    assert (entry.recipe, entry.options, entry.run) == (
        "reference",
        {"alpha": 0.02},
        "mmer-recipe-reference-alpha-0.02",
    )
    assert "'mine' is not one of 'paper', 'reference'" in fail("cv", "--systems", "mmer:recipe=mine", code=2)
    shown = " ".join(
        fail("cv", "--systems", f"{EXAMPLE}:last-frame:recipe=reference", code=2).replace("│", " ").split()
    )
    assert "--recipe reference covers mmer, cai, wav2vec2, roberta, and not last-frame" in shown


def test_cv_gives_each_system_its_recipe(monkeypatch):
    seen = {}

    def stop_before_training(entries, *_):
        seen.update({entry.text: entry.options for entry in entries})
        raise UserError("that is enough")

    monkeypatch.setattr("mmer_pipeline.corpora.manifest.read_manifest", lambda _: None)
    monkeypatch.setattr(cv, "_jobs", stop_before_training)
    fail("cv", "--recipe", "reference", "--systems", "mmer:alpha=0.02,cai,mmer:recipe=paper", "--clip-norm", 3)
    mmer, cai = ({**RECIPES["reference"][name]} for name in ("mmer", "cai"))
    del mmer["clip_norm"], cai["clip_norm"]  # the flag is for all
    assert seen == {"mmer:alpha=0.02": {**mmer, "alpha": 0.02}, "cai": cai, "mmer:recipe=paper": {}}
    assert "covers" in fail("cv", "--recipe", "reference", "--systems", f"{EXAMPLE}:last-frame")
