"""Random folds: five parts of utterances, the same for any order of rows; whoever uses them is told."""

from dataclasses import replace
from itertools import chain

import pytest
from corpora.test_folds import assert_parts, corpus, fold_of

from mmer_pipeline.audit.run_audit import make_audit
from mmer_pipeline.corpora.fold_overlap import shared_speakers
from mmer_pipeline.corpora.folds import fold_names
from mmer_pipeline.corpora.possible_folds import possible_folds
from mmer_pipeline.corpora.random_folds import random_parts
from mmer_pipeline.errors import UserError
from mmer_pipeline.settings import Settings
from mmer_pipeline.training.fold_parts import fold_warnings


def test_five_parts_of_equal_size_share_speakers_with_training() -> None:
    manifest = corpus()
    folds = [fold_of(manifest, number, "random") for number in range(1, 6)]
    assert fold_names(manifest, "random") == [fold.held_out for fold in folds] == [f"part {k}" for k in range(1, 6)]
    assert {len(fold.test) for fold in folds} == {40}
    assert sorted(chain.from_iterable(fold.test for fold in folds)) == list(range(200))
    for fold in folds:
        assert_parts(manifest, fold)
        assert shared_speakers(manifest, fold)


def test_the_parts_do_not_depend_on_the_order_of_rows() -> None:
    manifest = corpus()
    turned = replace(manifest, utterances=manifest.utterances[::-1])
    assert random_parts(turned) == random_parts(manifest)[::-1]


@pytest.mark.parametrize("validation", ["session", "speaker"])
def test_a_validation_part_is_a_fraction(validation: str) -> None:
    manifest = corpus()
    assert len(fold_of(manifest, 1, "random", "0.1").validation) == 16
    with pytest.raises(UserError, match=r"--folds random expects a fraction.*--validation 0\.1, none"):
        fold_of(manifest, 1, "random", validation)


def test_training_and_the_audit_say_that_speakers_are_shared_and_prepare_does_not_suggest_it() -> None:
    manifest = corpus()
    (warning,) = fold_warnings(manifest, [Settings(fold=1, folds="random"), Settings(fold=1, folds="session")])
    assert "held-out speakers are also in the training part" in warning
    assert not fold_warnings(manifest, [Settings(fold=1)])
    audit = make_audit(manifest, column="random", audio=False)
    (found,) = (entry for entry in audit["findings"] if entry["key"] == "speakers_in_several_folds")
    assert (found["severity"], found["figure"]) == ("error", "10 of 10 speakers")
    assert found["examples"][0].partition(": ")[2].startswith("in part 1, part 2")
    assert "random" not in [choice.folds for choice in possible_folds(manifest).choices]
