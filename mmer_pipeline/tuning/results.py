"""The results of a search: `tune.json`, the page, and the chosen settings as an mmer.toml."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer_pipeline import files, paths
from mmer_pipeline.settings import OPTIONAL_SETTINGS, OPTIONS, Settings
from mmer_pipeline.systems.registry import describe_system, short_name
from mmer_pipeline.tuning.search import PROBLEM, RESULT, Plan

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}  # Optuna's names → ours
LEAST_FOR_IMPORTANCE = 4  # complete trials


def row_of(trial: "FrozenTrial", plan: Plan) -> dict[str, Any]:
    """A trial that has ended as plain values."""
    result = trial.user_attrs.get(RESULT, {})
    return {
        "trial": trial.number,
        "state": STATES[trial.state.name],
        "ua": result.get("ua"),  # mean over the validation parts of the folds
        "wa": result.get("wa"),
        "seconds": result.get("seconds"),
        "settings": {entry.option: trial.params.get(entry.name) for entry in plan.space},
        "problem": trial.user_attrs.get(PROBLEM),
    }


def results_of(study: "Study", plan: Plan) -> dict[str, Any]:
    """The content of tune.json: the plan, every trial that has ended, the best one, and importances."""
    rows = [row_of(trial, plan) for trial in study.trials if trial.state.name in STATES]
    complete = [row for row in rows if row["state"] == "complete"]
    best = max(complete, key=lambda row: row["ua"], default=None)  # of equals, the first
    base = plan.settings(plan.folds[0], {entry.name: entry.examples[0] for entry in plan.space})
    return {
        "corpus": plan.corpus,
        "system": short_name(plan.system),
        "folds": list(plan.folds),
        "held_out_by": base.folds,
        "validation": base.validation,
        "search": {entry.option: entry.text for entry in plan.space},
        "plan": plan.facts(),
        "counts": {state: sum(row["state"] == state for row in rows) for state in STATES.values()},
        "best": best,
        "tied": sum(row["ua"] == best["ua"] for row in complete) - 1 if best else 0,
        "importance": _importance(study, plan, complete),
        "trials": rows,
    }


def _importance(study: "Study", plan: Plan, complete: list[dict[str, Any]]) -> dict[str, float] | None:
    """The share of each setting in the variance of the scores (fANOVA); None: too few trials, or equal scores."""
    if len(complete) < LEAST_FOR_IMPORTANCE or len({row["ua"] for row in complete}) < 2:
        return None
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    options = {entry.name: entry.option for entry in plan.space}
    return {options[name]: float(share) for name, share in shares.items()}


def write_results(results: dict[str, Any], plan: Plan, directory: Path) -> None:
    """Write tune.html and tune.json, and mmer.toml if a trial is complete."""
    from mmer_pipeline.tuning.tune_page import html

    files.write_json(directory / paths.TUNE_JSON, results)
    if results["best"]:
        files.write_text(directory / paths.CONFIG_NAME, chosen_settings(results, plan))
    files.write_text(directory / paths.TUNE_HTML, html(results))


def chosen_settings(results: dict[str, Any], plan: Plan) -> str:
    """The text of an mmer.toml with the settings of the best trial, for train and cv.

    A validation part is named only if training ends by it: without, systems train on the whole training part.
    """
    best, tried = results["best"], sum(results["counts"].values())
    values = {entry.name: best["settings"][entry.option] for entry in plan.space}
    settings = plan.settings(plan.folds[0], values)
    left_out = {"seed"} if settings.patience else {"seed", "validation"}
    changed = settings.changed(name for name in OPTIONS if name not in left_out)
    if "alpha" not in describe_system(settings.system).options:
        changed.pop("alpha", None)  # it has no CTC head
    own = {name: value for name, value in changed.items() if name in OPTIONAL_SETTINGS and name != "alpha"}
    ua = f"{100 * best['ua']:.2f} on validation parts ({settings.validation})"
    lines = [
        f"# Chosen by `mmer-pipe tune` among {tried} trials: trial {best['trial']}, with a UA of {ua},",
        "# which is optimistic, as the best of several.",
        "",
        "[train]",
        f"system = {_toml('system', settings.system)}",
        *(f"{name.replace('_', '-')} = {_toml(name, value)}" for name, value in changed.items()),
        "",
        "[cv]",
        f"systems = {_toml('systems', _entry(settings, own))}",
    ]
    return "\n".join(lines) + "\n"


def _entry(settings: Settings, own: dict[str, Any]) -> str:
    """The system as `--systems` names it, with the settings that only it has: "mmer:no-gate"."""
    words = [settings.system]
    for name, value in own.items():
        option = name.replace("_", "-")
        words.append(("" if value else "no-") + option if isinstance(value, bool) else f"{option}={value}")
    return ":".join(words)


def _toml(name: str, value: Any) -> str:
    """A value as TOML: JSON's strings, numbers, true and false are TOML's too."""
    return json.dumps(OPTIONS[name].none if value is None else value, ensure_ascii=False)
