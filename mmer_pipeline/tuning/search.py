"""The trials of a search: Optuna proposes settings, and the jobs of a cross-validation train them.

A trial is scored on the validation parts of its folds. Nothing is computed on the held-out parts.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from mmer_pipeline import files, paths
from mmer_pipeline.cluster.results import workers_of
from mmer_pipeline.cross_validation import CrossValidation, Job, Outcome, Workspace
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import read_metrics
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.tuning.space import Dimension

if TYPE_CHECKING:
    from distributed import Client
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

PLAN, RESULT, PROBLEM = "plan", "result", "problem"  # user attributes of a study and of its trials
STARTUP_TRIALS = 5  # complete ones, before a trial is compared with them in order to be pruned
HOPELESS = 3  # failed trials, with no complete one, after which a search ends
PRUNED = "Pruned: below the median of the earlier trials at this epoch."


@dataclass(frozen=True)
class Plan:
    """The definition of a search. A study stores it, and can be continued only with the same one."""

    corpus: str  # name of the corpus
    digest: str  # of its manifest
    system: str
    options: Mapping[str, Any]  # settings that all trials have
    space: tuple[Dimension, ...]
    folds: tuple[int, ...]
    prune: bool = False

    def settings(self, fold: int, values: Mapping[str, Any]) -> Settings:
        """The settings of a trial with these values, for a fold.

        Raises:
            UserError: the system does not have one of the settings, or they do not go together.
        """
        return settings_for(self.system, fold=fold, **{**self.options, **values})

    def facts(self) -> dict[str, Any]:
        """Plain values that tell this plan from others."""
        base = self.settings(self.folds[0], {entry.name: entry.examples[0] for entry in self.space})
        searched = {entry.name for entry in self.space}
        fixed = {name: value for name, value in base.identity().items() if name not in searched | {"fold"}}
        encoders = {name: getattr(base, name) for name in ("text_encoder", "speech_encoder") if name not in searched}
        search = {entry.option: entry.text for entry in self.space}
        about = {"corpus": self.corpus, "manifest": self.digest, "search": search, "fold": list(self.folds)}
        return {**about, "prune": self.prune, **fixed, **encoders}


def open_study(directory: Path, plan: Plan) -> "Study":
    """Open the study of a search in its directory, or create it.

    Raises:
        UserError: Optuna is not installed, or the directory has a study with another plan.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("tune requires Optuna. Run `pip install 'mmer-pipeline[tune]'`.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    files.make_directory(directory)
    storage = optuna.storages.RDBStorage(f"sqlite:///{(directory / paths.STUDY_NAME).absolute()}")
    study = optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)
    before, now = study.user_attrs.get(PLAN), plan.facts()
    if before is None:
        study.set_user_attr(PLAN, now)
    elif before != now:
        changes = [f"{key}: {before.get(key)!r} → {now.get(key)!r}" for key in {**before, **now}
                   if before.get(key) != now.get(key)]  # fmt: skip
        raise UserError(
            f"{directory} has a search with other settings:\n  " + "\n  ".join(changes) + "\n"
            "Search under another name with --study NAME, or delete the directory."
        )
    # The seed depends on the number of trials: a resumed search must not draw the first values again.
    seed = plan.settings(plan.folds[0], {}).seed + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    return study


@dataclass
class _Running:
    """A trial whose jobs have not all ended."""

    trial: "Trial"
    values: dict[str, Any]
    jobs: list[Job]
    outcomes: list[Outcome] = field(default_factory=list)
    reported: int = 0  # epochs that Optuna knows
    pruned: bool = False


class Search:
    """Runs trials as the jobs of a `CrossValidation`, whose observer it is."""

    def __init__(
        self,
        study: "Study",
        plan: Plan,
        client: "Client",
        workspace: Workspace,
        *,
        resources: Mapping[str, float],
        ended: Callable[["FrozenTrial"], None],
        message: Callable[[str], None],
        stop_requested: Callable[[], bool],
    ) -> None:
        """`ended` is called with each trial that has ended; the runs of `workspace` are the trials."""
        self.study, self.plan, self.trial_ended = study, plan, ended
        self.message, self.stop_requested = message, stop_requested  # see `cross_validation.Observer`
        workspace = replace(workspace, score_held_out=False)
        self.validation = CrossValidation(client, workspace, self, resources=resources)
        self.running: dict[str, _Running] = {}  # by name of the job
        self.total = 0

    def run(self, trials: int) -> None:
        """Run trials until the study has as many, beginning with those that were interrupted.

        Raises:
            UserError: the first trials all failed.
        """
        from optuna.trial import Trial, TrialState

        self.total = trials
        for frozen in self.study.get_trials(states=[TrialState.RUNNING]):
            self._begin(Trial(self.study, frozen._trial_id))
        self._fill()
        self.validation.run([])
        self._check_hope()

    def _fill(self) -> None:
        """Begin trials until all workers have jobs."""
        workers = len(workers_of(self.validation.client))
        while (
            len(self.study.trials) < self.total
            and sum(len(entry.jobs) - len(entry.outcomes) for entry in self.running.values()) < max(1, workers)
            and not self.stop_requested()
            and not self._is_hopeless()
        ):
            self._begin(self.study.ask())

    def _begin(self, trial: "Trial") -> None:
        values = {dimension.name: dimension.suggest(trial) for dimension in self.plan.space}
        name = f"trial-{trial.number}"
        try:
            settings = [self.plan.settings(fold, values) for fold in self.plan.folds]
        except UserError as error:  # values that do not go together
            self._tell_failed(trial, str(error))
            return
        jobs = [Job(name, entry) for entry in settings]
        known = len(self.study.trials[trial.number].intermediate_values)
        self.running[name] = _Running(trial, values, jobs, reported=known)
        self.validation.ready.extend(jobs)

    def started(self, job: Job) -> None:
        """See `cross_validation.Observer`."""

    def waiting(self, job: Job) -> None:
        """See `cross_validation.Observer`."""

    def ended(self, outcome: Outcome) -> None:
        """See `cross_validation.Observer`; when the last job of a trial has ended, tells Optuna its score."""
        entry = self.running[outcome.job.name]
        entry.outcomes.append(outcome)
        if len(entry.outcomes) == len(entry.jobs):
            del self.running[outcome.job.name]
            if all(one.state != "stopped" for one in entry.outcomes):  # a stopped trial is continued by the next call
                self._tell(entry)
        self._fill()

    def tick(self) -> None:
        """See `cross_validation.Observer`; stops trials that are worse than most."""
        if self.plan.prune:
            for entry in self.running.values():
                if not entry.pruned and self._should_prune(entry):
                    entry.pruned = True
                    self.validation.stop_run(entry.jobs[0].run)

    def _should_prune(self, entry: _Running) -> bool:
        """Report the epochs that all folds of a trial have completed; whether the last is below the median."""
        epochs = [read_metrics(job.paths(self.validation.workspace.runs).metrics) for job in entry.jobs]
        for number in range(entry.reported, min(map(len, epochs))):
            scores = [records[number]["validation"] for records in epochs]
            entry.trial.report(mean(score["ua"] for score in scores), number + 1)
            entry.reported = number + 1
            if entry.trial.should_prune():
                return True
        return False

    def _tell(self, entry: _Running) -> None:
        """Record how a trial ended, and delete its models, which may be large."""
        failed = [outcome for outcome in entry.outcomes if outcome.result is None]
        results = [outcome.result for outcome in entry.outcomes if outcome.result is not None]
        trial = entry.trial
        trial.set_user_attr("settings", entry.values)
        if results and not failed:
            scores = {"wa": mean(one.wa for one in results), "ua": mean(one.ua for one in results)}
            trial.set_user_attr(RESULT, {**scores, "seconds": sum(one.seconds for one in results)})
            self.study.tell(trial, scores["ua"])
            self.trial_ended(self.study.trials[trial.number])
        elif entry.pruned:
            self._tell_failed(trial, PRUNED, pruned=True)
        else:
            self._tell_failed(trial, failed[0].message)
        for job in entry.jobs:
            fold = job.paths(self.validation.workspace.runs)
            for directory in (fold.model, fold.validated_model, fold.state):
                shutil.rmtree(directory, ignore_errors=True)

    def _tell_failed(self, trial: "Trial", problem: str, *, pruned: bool = False) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr(PROBLEM, problem)
        self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        self.trial_ended(self.study.trials[trial.number])

    def _is_hopeless(self) -> bool:
        states = [trial.state.name for trial in self.study.trials]
        return states.count("FAIL") >= HOPELESS and "COMPLETE" not in states

    def _check_hope(self) -> None:
        if self._is_hopeless():
            problems = [trial.user_attrs[PROBLEM] for trial in self.study.trials if PROBLEM in trial.user_attrs]
            raise UserError(
                f"The first {len(problems)} trials failed, the last of them with:\n  {problems[-1]}\n"
                "Mend this, then search again under another name with --study NAME."
            )
