"""Progress of a search: a line for each trial that has ended."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmer_pipeline.tuning.results import row_of
from mmer_pipeline.tuning.tune_page import value_text
from stages.progress import StopRequest, duration
from stages.shared_options import Common, say

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from mmer_pipeline.tuning.search import Plan


class TuneProgress(StopRequest):
    """Shows the trials of a `tuning.search.Search` as they end."""

    def __init__(self, common: Common, plan: "Plan", study: "Study") -> None:
        super().__init__()
        self.common, self.plan, self.study = common, plan, study

    def __enter__(self) -> "TuneProgress":
        super().__enter__()
        return self

    def stop_requested(self) -> bool:
        """See `cross_validation.Observer`."""
        return self.requested

    def trial_ended(self, trial: "FrozenTrial") -> None:
        """Print the trial's score and settings, or why it has none."""
        row = row_of(trial, self.plan)
        settings = "  ".join(f"{name}={value_text(value)}" for name, value in row["settings"].items())
        if row["state"] == "complete":
            best = f"best {100 * self.study.best_value:.2f}, trial {self.study.best_trial.number}"
            result = f"validation UA {100 * row['ua']:.2f}  ({best})  in {duration(row['seconds'])}"
        else:
            result = f"{row['state']}: {row['problem'].splitlines()[0]}"
        say(self.common, f"trial {row['trial']}  {settings}  {result}")


def summary(results: Mapping[str, Any]) -> str:
    """The result in two sentences."""
    best, tried = results["best"], sum(results["counts"].values())
    if best is None:
        return f"None of {tried} trials is complete."
    return (
        f"The best of {tried} trials is trial {best['trial']}, with a validation UA of {100 * best['ua']:.2f}. As the "
        "best of several scores on the same utterances, it is optimistic."
    )
