"""A finding: one thing that a careful reviewer asks of a corpus and its folds, and the answer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["wrong", "weigh", "know", "fine"]
SEVERITIES: Mapping[Severity, str] = {  # in the order in which findings are reported
    "wrong": "the protocol is broken",
    "weigh": "changes what a number means",
    "know": "worth knowing",
    "fine": "looked for, and nothing to say",
}
NAMED = 5  # examples that a finding gives at most


@dataclass(frozen=True)
class Finding:
    """One answer."""

    key: str  # what was looked for, for programs
    severity: Severity
    title: str  # what was looked for, for people
    value: float  # how many there are, or how much
    unit: str  # of what
    meaning: str  # one or two sentences: what it means for a number
    total: int | None = None  # of how many; None: there is no such whole
    examples: tuple[str, ...] = ()  # at most `NAMED`

    @property
    def figure(self) -> str:
        """The value for a person: "2,750 of 5,531 utterances (49.7 %)"."""
        if isinstance(self.value, int):
            share = f" ({100 * self.value / self.total:.1f} %)" if self.total and 0 < self.value < self.total else ""
            return f"{self.value:,}{'' if self.total is None else f' of {self.total:,}'} {self.unit}{share}"
        return f"{self.value:.1f} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        return {**asdict(self), "examples": list(self.examples), "figure": self.figure}
