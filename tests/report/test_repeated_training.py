"""The claim about systems trained again, the reasons for not making it, and pairs with one reference."""

import numpy as np
import pytest
from helpers.run_example import LABELS, edit_json, write_fold, write_import, write_run
from sklearn.metrics import accuracy_score, recall_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError
from mmer_pipeline.report.build_report import make_report
from mmer_pipeline.report.imported_results import Import
from mmer_pipeline.scoring import trained_again

FOLDS = ("1", "2", "3", "4")
SPEAKERS = tuple(f"speaker{number}" for number in range(6))


def predicted(truth: list[int], share: float, seed: int) -> list[int]:
    generator = np.random.default_rng(seed)
    return [said if generator.random() < share else 1 - said for said in truth]


def write_system(runs, name, share, seeds=(1, 2, 3), folds=FOLDS, **settings):
    """Runs of four folds of 40 utterances with random errors; their truth and predictions by fold and seed."""
    truth = [0, 1, 1, 0] * 10
    paths, said = [], {}
    for seed in seeds:
        paths.append(runs / (name if seed == 1 else f"{name}-seed{seed}"))
        for fold in range(1, len(folds) + 1):
            said[fold, seed] = predicted(truth, share, seed=1000 * seed + 10 * fold + round(100 * share))
            write_fold(paths[-1], fold, truth, [said[fold, seed]], facts={"folds": list(folds)}, seed=seed, **settings)
    return paths, truth, said


def two_systems(tmp_path, seeds=(1, 2, 3)):
    a, truth, of_a = write_system(tmp_path, "a", 0.85, seeds)
    b, _, of_b = write_system(tmp_path, "b", 0.65, seeds, alpha=0.5)
    return [*a, *b], truth, of_a, of_b


def table(metric, truth, said):
    seeds = sorted({seed for _, seed in said})
    return np.array([[metric(truth, said[fold, seed]) for seed in seeds] for fold in range(1, len(FOLDS) + 1)])


def test_a_pair_has_the_two_way_estimate_of_its_folds_and_seeds(tmp_path):
    runs, truth, of_a, of_b = two_systems(tmp_path)
    (pair,) = make_report(runs).pairs
    for name, metric in (("wa", accuracy_score), ("ua", lambda t, p: recall_score(t, p, average="macro"))):
        one, other = table(metric, truth, of_a), table(metric, truth, of_b)
        expected, found = trained_again.estimate(one, other), pair.metrics[name].trained_again
        assert found.value == pytest.approx(one.mean() - other.mean())
        assert found.interval_95 == pytest.approx((float(expected.low), float(expected.high)))
        assert (found.p, found.df) == pytest.approx((float(expected.p), float(expected.df)))
        assert (found.unit, found.units, found.seeds, found.why_not) == ("fold", 4, (3, 3), "")
        assert found.p_holm == found.p


def test_a_system_has_the_interval_of_its_mean(tmp_path):
    runs, truth, of_a, _ = two_systems(tmp_path)
    report = make_report(runs)
    found = report.systems[0].selections.final.summary["wa"]
    expected = trained_again.estimate(table(accuracy_score, truth, of_a))
    assert found.trained_again.value == pytest.approx(found.mean)
    assert found.trained_again.interval_95 == pytest.approx((float(expected.low), 1.0))
    assert expected.high > 1  # no share of utterances is above 1
    assert report.systems[0].selections.oracle.summary["wa"].trained_again is None
    assert not [note for note in report.notes if "training again" in note]


def test_with_one_seed_nothing_is_said_but_how_many_folds_the_difference_needs(tmp_path):
    runs, truth, of_a, of_b = two_systems(tmp_path, seeds=(1,))
    report = make_report(runs)
    found = report.pairs[0].metrics["wa"].trained_again
    assert (found.interval_95, found.p, found.p_holm, found.df) == (None, None, None, None)
    assert found.why_not == "a: trained with one seed; b: trained with one seed"
    differences = (table(accuracy_score, truth, of_a) - table(accuracy_score, truth, of_b))[:, 0]
    effect = differences.mean() / differences.std(ddof=1)
    assert found.units_needed == max(2, np.ceil(TTestPower().solve_power(effect, power=0.8, alpha=0.05)))
    (note,) = [note for note in report.notes if "training again" in note]
    assert "(a, b: trained with one seed). At least two seeds are needed, preferably three (`--seeds 1,2,3`)." in note
    assert f"{found.units_needed} " in note.partition("the observed differences need ")[2]


def test_a_missing_fold_of_a_seed_and_an_import_are_named_as_the_reason(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "a-seed2", seed=2, folds=(1, 2))]
    report = make_report(runs, [Import(write_import(tmp_path / "theirs.csv"), "theirs")])
    found = report.pairs[0].metrics["ua"].trained_again
    assert found.why_not == "theirs: imported, so that only one training of it is known; a: some folds are missing"
    assert found.value is None
    (note,) = [note for note in report.notes if "training again" in note]
    assert "a: some folds are missing" in note
    assert "--seeds" not in note


def test_systems_that_are_alike_in_every_fold_and_seed_have_no_spread_to_judge_by(tmp_path):
    alike = (("a", 0.1, 1), ("a-seed2", 0.1, 2), ("b", 0.5, 1), ("b-seed2", 0.5, 2))
    runs = [write_run(tmp_path / name, alpha=alpha, seed=seed) for name, alpha, seed in alike]
    found = make_report(runs).pairs[0].metrics["wa"].trained_again
    assert (found.value, found.p, found.units_needed) == (0.0, None, None)
    assert found.why_not == "the values are the same in every fold and seed"


def one_part(tmp_path, name, share, seed, lacking=0, facts=None, **settings):
    """One held-out part of six speakers with 20 utterances each; the first `lacking` speakers are never sad."""
    run = tmp_path / (name if seed == 1 else f"{name}-seed{seed}")
    truth = [0 if i // 20 < lacking else i % 2 for i in range(120)]
    said = predicted(truth, share, seed=round(1000 * share) + seed)
    write_fold(run, 1, truth, [said], facts={"folds": ["test"], **(facts or {})}, seed=seed, **settings)
    path = run / "fold-1" / "predictions.csv"
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines[1:]):
        cells = line.split(",")
        lines[i + 1] = ",".join([*cells[:2], SPEAKERS[i // 20], f"d{i // 20}", *cells[4:]])
    path.write_text("\n".join(lines) + "\n")
    return run, truth, said


def reseal(run):
    """Let evaluation.json belong to the changed predictions."""
    digest = digest_of_result(run / "fold-1" / "predictions.csv")
    edit_json(run / "fold-1" / "evaluation.json", lambda value: value.update(predictions_digest=digest))


def one_part_report(tmp_path, **changes):
    tables, runs = {"a": [], "b": []}, []
    for name, share, alpha in (("a", 0.9, 0.1), ("b", 0.6, 0.5)):
        for seed in (1, 2):
            run, truth, said = one_part(tmp_path, name, share, seed, alpha=alpha, **changes)
            reseal(run)
            runs.append(run)
            right = (np.array(truth) == np.array(said)).reshape(6, 20)
            tables[name].append(right.mean(axis=1))
    return make_report(runs), {name: np.stack(values, axis=1) for name, values in tables.items()}


def test_the_speakers_of_one_held_out_part_are_the_units(tmp_path):
    report, tables = one_part_report(tmp_path)
    found = report.pairs[0].metrics["wa"].trained_again
    expected = trained_again.estimate(tables["a"], tables["b"])
    assert (found.unit, found.units, found.seeds) == ("speaker", 6, (2, 2))
    assert (found.value, found.p) == pytest.approx((float(expected.value), float(expected.p)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lacking": 1}, "there is one held-out part, in which some speakers lack a class"),
        (
            {"facts": {"shared_speakers": ["speaker1"]}},
            "there is one held-out part, and its speakers are in training too",
        ),
    ],
)
def test_one_held_out_part_without_suitable_speakers_says_why(tmp_path, changes, why):
    report, _ = one_part_report(tmp_path, **changes)
    assert report.pairs[0].metrics["wa"].trained_again.why_not == f"a: {why}; b: {why}"
    assert [note for note in report.notes if f"(a, b: {why})." in note]


def test_against_one_system_only_its_pairs_are_compared_and_corrected(tmp_path):
    runs = [
        path
        for name, share, alpha in (("a", 0.7, 0.1), ("b", 0.75, 0.2), ("c", 0.8, 0.3), ("d", 0.68, 0.4))
        for path in write_system(tmp_path, name, share, (1, 2), alpha=alpha)[0]
    ]
    every, planned = make_report(runs), make_report(runs, against="c")
    assert (every.against, len(every.pairs)) == (None, 6)
    assert (planned.against, [(pair.first, pair.second) for pair in planned.pairs]) == (
        "c", [("c", "b"), ("c", "a"), ("c", "d")],
    )  # fmt: skip
    for of in (lambda found: found, lambda found: found.trained_again):
        found = [of(pair.metrics["ua"]) for pair in planned.pairs]
        expected = multipletests([entry.p for entry in found], method="holm")[1]
        assert [entry.p_holm for entry in found] == pytest.approx(expected.tolist())
    pair = next(pair for pair in every.pairs if (pair.first, pair.second) == ("c", "a"))
    assert pair.metrics["wa"].difference == pytest.approx(planned.pairs[1].metrics["wa"].difference)


@pytest.mark.parametrize(
    ("names", "against", "wrong"),
    [("ab", "x", "there is no such system in this report"), ("a", "a", "there is no other system in this report")],
)
def test_a_reference_that_does_not_exist_or_is_alone_is_refused_with_the_systems(tmp_path, names, against, wrong):
    runs = [write_run(tmp_path / name, alpha=number / 10) for number, name in enumerate(names, start=1)]
    with pytest.raises(UserError, match=f"--against {against}: {wrong}. Its systems: {', '.join(names)}."):
        make_report(runs, against=against)


def test_a_class_in_one_dialogue_only_is_noted(tmp_path):
    truth = [0] * 7 + [1]
    for fold in (1, 2, 3):
        write_fold(tmp_path / "r", fold, truth if fold == 1 else [0] * 8, [[0] * 8])
    (note,) = [note for note in make_report([tmp_path / "r"]).notes if "one dialogue only" in note]
    assert note.startswith(f"r: {LABELS[1]} occurs in one dialogue only. Resamples without a class are drawn again")
