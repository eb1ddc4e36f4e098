"""The search space: a range or a list of values for each setting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from mmer_pipeline.settings import FEATURE_SETTINGS

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Dimension:
    """The values that a search tries for one setting: from `low` to `high`, or one of `choices`."""

    name: str  # of the field of Settings
    text: str  # as typed: "1e-5:1e-3:log"
    low: float | None = None  # an int for a setting that is one
    high: float | None = None
    log: bool = False  # drawn uniformly from the logarithms
    choices: tuple[Any, ...] = ()

    @property
    def option(self) -> str:
        """The setting as on the command line: "learning-rate"."""
        return self.name.replace("_", "-")

    def suggest(self, trial: "Trial") -> Any:
        """The value for a trial."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    @property
    def examples(self) -> tuple[Any, ...]:
        """The ends of the range, or all choices."""
        return self.choices or (self.low, self.high)


def corners(space: Sequence[Dimension]) -> list[dict[str, Any]]:
    """The first values of all dimensions, and each changed by itself to each of its others: to check them."""
    first = {dimension.name: dimension.examples[0] for dimension in space}
    others = [{**first, entry.name: value} for entry in space for value in entry.examples[1:]]
    return [first, *others]


def feature_choices(space: Sequence[Dimension]) -> list[Mapping[str, Any]]:
    """Every combination of the searched settings on which features depend."""
    varied = [dimension for dimension in space if dimension.name in FEATURE_SETTINGS]
    names = [dimension.name for dimension in varied]
    values = product(*(dimension.choices for dimension in varied))
    return [dict(zip(names, chosen, strict=True)) for chosen in values]
