"""Reading runs: holes with their reasons, seeds as one system, and what cannot be compared."""

import pytest
from helpers.run_example import EPOCHS, TRUTH, edit_json, write_fold, write_run

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.report import provenance_tables
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.report.run_results import check_same_truth, evaluated_runs, read_systems
from mmer_pipeline.report.stale_runs import training_notes
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings


def names(runs):
    systems, _ = read_systems(runs)
    return {system.name: [run.name for run in system.runs] for system in systems}


def test_missing_folds_are_named_with_the_command_that_makes_them(tmp_path):
    run = write_run(tmp_path / "r")
    paths.fold(run, 2).evaluation.unlink()
    paths.fold(run, 3).weights.unlink()
    assert read_systems([run])[1] == [
        Hole("r", 2, "trained, not evaluated: mmer-pipe evaluate --run r --fold 2"),
        Hole("r", 3, "not trained: mmer-pipe train --run r --fold 3"),
    ]


def test_a_fold_trained_again_since_its_evaluation_counts_as_not_evaluated(tmp_path):
    run = write_run(tmp_path / "r")
    record = RunRecord.read(paths.fold(run, 1).settings, "")
    RunRecord(Settings(fold=1, seed=5), record.inputs, record.facts).write(paths.fold(run, 1).settings)
    assert read_systems([run])[1] == [Hole("r", 1, "trained, not evaluated: mmer-pipe evaluate --run r --fold 1")]


def test_a_fold_without_its_epochs_is_a_hole(tmp_path):
    run = write_run(tmp_path / "r")
    paths.fold(run, 1).metrics.unlink()
    assert "mmer-pipe train --run r --fold 1 --restart" in read_systems([run])[1][0].why


def test_a_fold_with_broken_settings_is_a_hole(tmp_path):
    run = write_run(tmp_path / "mmer")
    paths.fold(run, 2).settings.write_text("{cut")
    (system,), (hole,) = read_systems([run])
    assert [fold.number for fold in system.runs[0].folds] == [1, 3]
    assert (hole.fold, "not readable JSON" in hole.why) == (2, True)


def test_a_run_without_any_evaluated_fold_is_a_hole_beside_others(tmp_path):
    run = write_run(tmp_path / "r")
    systems, holes = read_systems([run, tmp_path / "never"])
    assert [system.name for system in systems] == ["r"]
    assert [(hole.run, hole.fold) for hole in holes] == [("never", None)]
    assert "mmer-pipe train --run never" in holes[0].why


def test_the_reason_of_a_job_that_failed_takes_the_place_of_the_general_one(tmp_path):
    run = write_run(tmp_path / "r", folds=(1, 2))
    _, holes = read_systems([run, tmp_path / "never"], {"r": {3: "NaN"}, "never": {1: "no disk", 2: "no disk"}})
    assert holes == [Hole("r", 3, "NaN"), Hole("never", 1, "no disk"), Hole("never", 2, "no disk")]


def test_a_run_that_failed_as_a_whole_is_left_out_whatever_lies_there(tmp_path):
    runs = [write_run(tmp_path / "r"), write_run(tmp_path / "bad", alpha=0.5)]
    systems, holes = read_systems(runs, {"bad": {None: "its corpus changed"}})
    assert [system.name for system in systems] == ["r"]
    assert holes == [Hole("bad", None, "its corpus changed")]


def test_nothing_evaluated_at_all_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="mmer-pipe train --run nothing"):
        read_systems([tmp_path / "nothing"])
    run = write_run(tmp_path / "r", folds=(1,))
    paths.fold(run, 1).evaluation.unlink()
    with pytest.raises(UserError, match="r, fold 1: trained, not evaluated: mmer-pipe evaluate --run r --fold 1"):
        read_systems([run])


def test_folds_with_different_settings_make_no_cross_validation(tmp_path):
    run = write_run(tmp_path / "r", folds=(2, 3))
    write_fold(run, 1, TRUTH[1], EPOCHS[1], alpha=0.5)
    with pytest.raises(UserError, match=r"different settings(.|\n)*alpha: 0\.5 → 0\.1"):
        read_systems([run])


def test_folds_that_name_the_same_encoder_differently_are_one_run(tmp_path):
    write_fold(tmp_path / "r", 1, TRUTH[1], EPOCHS[1], speech_encoder="../models/m")
    write_fold(tmp_path / "r", 2, TRUTH[2], EPOCHS[2], speech_encoder="/models/m")
    assert len(read_systems([tmp_path / "r"])[0][0].runs[0].folds) == 2


def test_runs_that_differ_in_their_seed_alone_are_one_system(tmp_path):
    runs = [write_run(tmp_path / name, seed=seed) for name, seed in (("a-seed10", 10), ("a", 1), ("a-seed2", 2))]
    other = write_run(tmp_path / "b", seed=2, alpha=0.5)
    assert names([*runs, other]) == {"a": ["a", "a-seed2", "a-seed10"], "b": ["b"]}
    system = read_systems(runs)[0][0]
    assert [run.seed for run in system.runs] == [1, 2, 10]
    assert len(system.held_out.utterance_ids) == 3 * 12


def test_a_seed_that_lacks_the_first_run_still_has_the_system_s_name(tmp_path):
    assert names([write_run(tmp_path / "a-seed2", seed=2)]) == {"a": ["a-seed2"]}


def test_two_systems_that_would_have_one_name_keep_their_runs_names(tmp_path):
    runs = [write_run(tmp_path / "a", seed=1), write_run(tmp_path / "a-seed2", seed=2, alpha=0.5)]
    assert names(runs) == {"a": ["a"], "a-seed2": ["a-seed2"]}


def test_the_same_seed_twice_is_not_counted_twice(tmp_path):
    runs = [write_run(tmp_path / name) for name in ("a", "copy")]
    assert names(runs) == {"a": ["a"], "copy": ["copy"]}


def test_features_that_changed_between_seeds_make_two_systems(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "a-seed2", seed=2, inputs={"text_features": "other"})]
    assert len(names(runs)) == 2


def test_runs_of_different_corpora_are_listed(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", facts={"corpus": "another"})]
    with pytest.raises(UserError, match=r"made up \(happy, sad\): a\n  another \(happy, sad\): b\nName the runs"):
        read_systems(runs)


def test_an_utterance_with_two_true_classes_is_named(tmp_path):
    write_fold(tmp_path / "a", 1, [0, 0, 0, 1], EPOCHS[1])
    write_fold(tmp_path / "b", 1, [0, 0, 1, 1], EPOCHS[1], alpha=0.5)
    systems, _ = read_systems([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UserError, match="Utterance 1u2 is happy for a and sad for b"):
        check_same_truth(systems, ["happy", "sad"])


def test_dialogues_are_told_apart_by_session_and_by_group_but_not_by_speaker(tmp_path):
    write_fold(tmp_path / "a", 1, [0, 1, 0], [[0, 1, 0]])
    write_fold(tmp_path / "b", 1, [0, 1, 0], [[0, 1, 0]], folds="speaker")
    write_fold(tmp_path / "c", 1, [0, 1, 0], [[0, 1, 0]], folds="5")
    by_session, by_speaker, by_group = read_systems([tmp_path / "a", tmp_path / "b", tmp_path / "c"])[0]
    assert by_session.held_out.clusters == by_group.held_out.clusters == ("1/d10", "1/d10", "1/d11")
    assert by_speaker.held_out.clusters == ("d10", "d10", "d11")


def test_the_runs_that_are_evaluated(tmp_path):
    with pytest.raises(UserError, match="No trained fold"):
        evaluated_runs(tmp_path / "runs")
    paths.fold(write_run(tmp_path / "runs" / "b", folds=(1,)), 1).evaluation.unlink()
    with pytest.raises(UserError, match="mmer-pipe evaluate --run b"):
        evaluated_runs(tmp_path / "runs")
    write_run(tmp_path / "runs" / "a", folds=(1,))
    (tmp_path / "runs" / "report").mkdir()
    assert evaluated_runs(tmp_path / "runs") == ["a"]


OF_TWO, OF_FOUR = {"folds": ["1", "2"]}, {"folds": ["1", "2", "3", "4"]}


def write_run_with_other_folds(run):
    """A cross-validation of two folds, and the third of the four that it had before."""
    for number in (1, 2):
        write_fold(run, number, TRUTH[number], EPOCHS[number], facts=OF_TWO)
    write_fold(run, 3, TRUTH[3], EPOCHS[3], facts=OF_FOUR, folds="speaker")
    return run


def test_folds_that_no_longer_exist_are_left_out_and_not_missing(tmp_path):
    run = write_run_with_other_folds(tmp_path / "r")
    (system,), holes = read_systems([run])
    assert [fold.number for fold in system.runs[0].folds] == [1, 2]
    assert holes == []
    assert training_notes([system]) == [
        "r: left out, trained before a change (folds: 'speaker' → 'session'): fold-3. "
        "Delete them if you do not need them."
    ]
    paths.fold(run, 3).evaluation.unlink()
    assert read_systems([run])[1] == []


def test_a_fold_that_failed_does_not_say_which_others_exist(tmp_path):
    """Its directory may be of a cross-validation with more folds, none of which can be trained now."""
    run = tmp_path / "r"
    for number in (1, 2):
        write_fold(run, number, TRUTH[number], EPOCHS[number], facts=OF_FOUR, folds="speaker")
    failed = {"r": {1: "other settings", 2: "other settings"}}
    assert read_systems([run, write_run(tmp_path / "other")], failed)[1] == [
        Hole("r", 1, "other settings"), Hole("r", 2, "other settings"),
    ]  # fmt: skip


def test_a_run_of_mixed_folds_is_left_out_and_others_are_reported(tmp_path):
    mixed = write_run(tmp_path / "mixed", folds=(2, 3))
    write_fold(mixed, 1, TRUTH[1], EPOCHS[1], alpha=0.5)
    (system,), (hole,) = read_systems([mixed, write_run(tmp_path / "whole")])
    assert system.name == "whole"
    assert (hole.run, hole.fold) == ("mixed", None)
    assert "alpha: 0.5 → 0.1" in hole.why
    assert "mmer-pipe train --run mixed --restart" in hole.why


def test_folds_of_edited_code_do_not_join_others(tmp_path):
    mixed = write_run(tmp_path / "mixed", folds=(2, 3))
    write_fold(mixed, 1, TRUTH[1], EPOCHS[1], inputs={"code of systems.mmer": "0123456789abcdef"})
    with pytest.raises(UserError, match=r"code of systems\.mmer: version 01234567 → original"):
        read_systems([mixed])


def test_a_run_on_labels_that_have_changed_is_left_out_and_others_are_reported(tmp_path, manifest):
    now = {"facts": {"manifest": str(manifest.path)}, "inputs": {"manifest": manifest.digest}}
    before = {"facts": {"manifest": str(manifest.path)}, "inputs": {"manifest": "of other labels"}}
    runs = [write_run(tmp_path / "old", **before), write_run(tmp_path / "kept", **before)]
    runs.append(write_run(tmp_path / "new", **now))
    write_fold(runs[0], 1, [1, 0, 0, 1], EPOCHS[1], **before)
    systems, (hole,) = read_systems(runs)
    assert {system.name for system in systems} == {"kept", "new"}  # the labels that it was scored on are the same
    assert (hole.run, hole.fold) == ("old", None)
    assert f"{manifest.path}, has changed" in hole.why
    assert "mmer-pipe train --run old" in hole.why


def test_a_new_setting_leaves_evaluations_as_they_were(tmp_path):
    """A version without it computed another identity from the same record, and wrote that to both files."""
    run = write_run(tmp_path / "r")
    for number in TRUTH:
        for path in (paths.fold(run, number).settings, paths.fold(run, number).evaluation):
            edit_json(path, lambda content: content.update(identity="0123456789abcdef"))
            edit_json(path, lambda content: content.get("settings", {}).pop("bucket_batches", None))
    systems, holes = read_systems([run])
    assert [fold.number for fold in systems[0].runs[0].folds] == [1, 2, 3]
    assert holes == []


@pytest.mark.parametrize("lacking", ["folds", "corpus", "manifest"])
def test_a_run_that_another_program_wrote_is_a_hole_that_names_what_it_lacks(tmp_path, lacking):
    run = write_run(tmp_path / "theirs", system="theirs")
    for number in TRUTH:
        edit_json(paths.fold(run, number).settings, lambda record: record["facts"].pop(lacking))
    systems, holes = read_systems([run, write_run(tmp_path / "ours")])
    assert [system.name for system in systems] == ["ours"]
    assert [hole.fold for hole in holes] == [1, 2, 3]
    assert all(f"lacks {lacking}" in hole.why and "mmer-pipe report --import" in hole.why for hole in holes)


def test_several_versions_of_torch_in_a_run_are_said(tmp_path):
    run = write_run(tmp_path / "r", folds=(1, 2), facts={"versions": {"torch": "2.6.0"}})
    write_fold(run, 3, TRUTH[3], EPOCHS[3], facts={"versions": {"torch": "2.7.1"}})
    systems, _ = read_systems([run, write_run(tmp_path / "one-version", alpha=0.5)])
    (note,) = training_notes(systems)
    assert note.startswith("r: trained with several versions of torch (2.6.0, 2.7.1)")


def test_a_system_that_is_not_installed_is_reported_with_what_its_record_says(tmp_path):
    run = write_run(tmp_path / "theirs", system="theirs")
    for number in TRUTH:
        for name in ("device", "platform", "python", "versions", "git_commit"):
            edit_json(paths.fold(run, number).settings, lambda record, name=name: record["facts"].pop(name))
    report = make_report([run, write_run(tmp_path / "mmer", flipped=1)])
    assert [system.title for system in report.systems] == ["theirs", "MMER (α = 0.1)"]
    assert ("device", "unknown (3 jobs); cpu (3 jobs)") in {
        (row[0].text, row[1].text) for row in provenance_tables.environment(report).rows
    }


def test_systems_that_were_trained_by_other_code_are_named(tmp_path):
    edited = {"code of training.step": "0123456789abcdef", "code of systems.mmer": "0123456789abcdef"}
    runs = [
        write_run(tmp_path / "a"),
        write_run(tmp_path / "b", alpha=0.5, inputs=edited),
        write_run(tmp_path / "c", alpha=0.2),
    ]
    (note,) = training_notes(read_systems(runs)[0])
    assert note.startswith("b: trained by another version of training.step than a;")


def write_seeds(folder, **seeds):
    """Runs of systems that differ in α, with these seeds."""
    return [
        write_run(folder / paths.run_name(name, seed), alpha=alpha, seed=seed)
        for alpha, (name, numbers) in zip((0.1, 0.2, 0.3), seeds.items(), strict=False)
        for seed in numbers
    ]


@pytest.mark.parametrize(
    ("seeds", "missing"),
    [
        ({"a": [1, 2, 3], "b": [1, 2, 3]}, []),
        ({"a": [1, 2, 3], "b": [1, 2]}, ["b-seed3"]),
        ({"a": [1, 2, 3], "b": [1]}, ["b-seed2", "b-seed3"]),
        ({"a": [2, 3], "b": [1, 2, 3]}, ["a"]),
        ({"a": [1], "b": [7]}, []),  # one seed each, though another one
    ],
)
def test_a_run_of_a_seed_that_was_never_begun_is_missing_where_another_system_has_it(tmp_path, seeds, missing):
    holes = read_systems(write_seeds(tmp_path, **seeds))[1]
    assert [(hole.run, hole.fold) for hole in holes] == [(name, None) for name in missing]


def test_the_missing_run_of_a_seed_is_named_with_the_command_that_makes_it(tmp_path):
    runs = write_seeds(tmp_path, a=[1, 2], b=[1])
    command = "mmer-pipe train --run b-seed2 --alpha 0.2 --seed 2"
    why = f"not trained with seed 2, though another system is: {command}"
    assert read_systems(runs)[1] == [Hole("b-seed2", None, why)]
    paths.fold(tmp_path / "b-seed2", 1).model.mkdir(parents=True)  # begun, and not evaluated
    assert read_systems(runs)[1] == [Hole("b-seed2", None, why)]
    write_run(tmp_path / "b-seed2", alpha=0.2, seed=2)
    assert read_systems(runs)[1] == []  # left out by the person who named the others
