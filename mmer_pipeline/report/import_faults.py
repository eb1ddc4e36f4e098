"""All faults of an imported file in one message."""

from pathlib import Path

from mmer_pipeline.corpora.tables import refuse_faults


class Faults:
    """Faults, with the places in which each occurs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[tuple[str, str], list[str]] = {}  # fault and advice → places

    def add(self, where: str, fault: str, advice: str = "") -> None:
        """Note a fault, a clause without a full stop, and what to do about it, a sentence."""
        self._places.setdefault((fault, advice), []).append(where)

    def raise_if_any(self) -> None:
        """Raise one error with all faults.

        Raises:
            UserError: there is one; `refuse_faults` limits how many are listed.
        """
        lines = [_line(places, fault) for (fault, _), places in self._places.items()]
        advice = " ".join(dict.fromkeys(advice for _, advice in self._places if advice))
        refuse_faults(self.path, lines, advice)


def _line(places: list[str], fault: str) -> str:
    more = f" (and {len(places) - 1:,} more)" if len(places) > 1 else ""
    return f"{places[0]}{more}: {fault}"
