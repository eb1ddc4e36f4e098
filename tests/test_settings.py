"""Which settings belong to the identity of a run, and where the words of its two parts come from."""

import re
from dataclasses import asdict

import pytest

from mmer_pipeline.digests import digest_of_facts
from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import RECIPES
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import DEFAULTS, OPTIONS, Settings
from mmer_pipeline.systems.catalogue import SYSTEMS
from mmer_pipeline.systems.registry import recipe_for, settings_for


def test_the_identity_of_runs_of_version_0_1_0_is_kept():
    """Digests of that version's settings: a new setting, or another default, must not make its runs unreadable."""
    assert digest_of_facts(Settings(fold=1).identity()) == "31ad49bebc34f1f3"
    changed = Settings(fold=3, system="/a/b.py:x", alpha=0.5, annotations="keep", validation="0.1")
    assert digest_of_facts(changed.identity()) == "eab88a4e5d3e16c1"


def test_new_settings_are_in_the_identity_only_if_they_are_changed():
    new = [name for name, option in OPTIONS.items() if option.is_new]
    assert {"transcripts", "test_transcripts", "spec_augment", "dropout_at", "text_pooling"} <= set(new)
    assert not set(new) & Settings(fold=1).identity().keys()
    assert Settings(fold=1, transcripts="asr").identity() == {**Settings(fold=1).identity(), "transcripts": "asr"}


def test_each_source_of_words_makes_another_run_and_the_name_of_the_asr_model_does_not():
    choices = [{}, {"transcripts": "asr"}, {"transcripts": "none"}, {"test_transcripts": "asr"}]
    records = [RunRecord(Settings(fold=1, **choice), {}, {}) for choice in choices]
    assert len({record.digest for record in records}) == 4
    assert records[0].differences(records[0]) == []
    named = Settings(fold=1, transcripts="asr", asr_model="some/model", asr_revision="main")
    assert named.identity() == records[1].settings.identity()


def test_a_record_that_knows_no_new_settings_is_read_with_their_defaults():
    old = asdict(Settings(fold=1))
    for name in ("transcripts", "test_transcripts", "asr_model", "asr_revision"):
        del old[name]
    assert Settings(**old) == Settings(fold=1)


@pytest.mark.parametrize(
    ("transcripts", "test_transcripts", "sources"),
    [
        ("gold", "same", ("gold", "gold")),
        ("asr", "same", ("asr", "asr")),
        ("gold", "asr", ("gold", "asr")),
        ("none", "gold", ("none", "gold")),
    ],
)
def test_the_held_out_part_reads_the_same_words_unless_others_are_named(transcripts, test_transcripts, sources):
    settings = Settings(fold=1, transcripts=transcripts, test_transcripts=test_transcripts)
    assert settings.sources == sources


@pytest.mark.parametrize("system", RECIPES["reference"])
def test_a_recipe_has_settings_that_its_system_supports_and_makes_another_run(system):
    assert recipe_for(system, "paper") == {}
    recipe = recipe_for(system, "reference")
    settings = settings_for(system, fold=1, **recipe)
    assert {name: getattr(settings, name) for name in recipe} == recipe
    assert settings.identity() != settings_for(system, fold=1).identity()
    assert recipe.keys() <= DEFAULTS.keys()


def test_the_reference_s_recipe_covers_the_built_in_systems_alone():
    assert RECIPES["reference"].keys() < SYSTEMS.keys()
    with pytest.raises(UserError, match=r"--recipe reference covers mmer, .* and not mine\."):
        recipe_for("/a/file.py:mine", "reference")


def test_a_setting_that_one_of_two_records_lacks_is_a_difference():
    """It is in an identity only if it differs from its default."""
    plain, patient = (RunRecord(Settings(fold=1, patience=patience), {}, {}) for patience in (0, 5))
    assert plain.differences(patient) == ["patience: 0 → 5"]
    assert patient.differences(plain) == ["patience: 5 → 0"]


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.is_optional])
def test_the_help_of_a_setting_names_the_systems_that_have_it(name):
    supporting = {system for system, entry in SYSTEMS.items() if name in entry.options}
    groups = [set(re.split(", | and ", words)) for words in re.findall(r"\(([^)]*)\)", OPTIONS[name].help)]
    named = max(groups, key=lambda words: len(words & set(SYSTEMS)))
    if "systems that read speech-states" in named:
        named = (named & set(SYSTEMS)) | {system for system in supporting if _reads_states(SYSTEMS[system])}
    assert named == supporting


def _reads_states(entry):
    return "speech-states" in (*entry.reads, entry.defaults.get("inputs"))
