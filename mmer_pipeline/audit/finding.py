"""A finding: the answer to one question that a reviewer asks about a corpus and its folds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note", "ok"]
SEVERITIES: Mapping[Severity, str] = {  # in the order of the report
    "error": "the protocol is broken",
    "warning": "changes what a result means",
    "note": "worth knowing",
    "ok": "checked, nothing to report",
}
NAMED = 5  # the most examples of a finding


@dataclass(frozen=True)
class Finding:
    """One answer."""

    key: str  # what was checked, for programs
    severity: Severity
    title: str  # what was checked, for readers
    value: float  # a count or an amount
    unit: str
    meaning: str  # one or two sentences on what it means for a result
    total: int | None = None  # what the count is out of; None if there is no such total
    examples: tuple[str, ...] = ()  # at most `NAMED`

    @property
    def figure(self) -> str:
        """The value as text: "2,750 of 5,531 utterances (49.7 %)"."""
        if isinstance(self.value, int):
            share = f" ({100 * self.value / self.total:.1f} %)" if self.total and 0 < self.value < self.total else ""
            return f"{self.value:,}{'' if self.total is None else f' of {self.total:,}'} {self.unit}{share}"
        return f"{self.value:.1f} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        return {**asdict(self), "examples": list(self.examples), "figure": self.figure}


def plural(severity: str, count: int) -> str:
    """A severity after a count: "0 errors", "1 warning", "19 ok"."""
    return severity if count == 1 or severity == "ok" else f"{severity}s"
