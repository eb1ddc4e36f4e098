"""The results of trials: one line of JSON each in a file that grows, and the table that they make."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HELD, FOUND = "held", "found"
Key = tuple[str, str, int]


class Results:
    """All trials so far; the last one of each kind, case and seed counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: dict[Key, dict[str, Any]] = {}
        self.ever_found: set[Key] = set()
        if path.is_file():
            for line in path.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):  # a line that is not whole was being written when the harness was stopped
                    self._take(json.loads(line))

    def _take(self, entry: dict[str, Any]) -> None:
        key = (entry["kind"], entry["case"], entry["seed"])
        self.last[key] = entry
        if entry["result"] == FOUND:
            self.ever_found.add(key)

    def add(self, entry: dict[str, Any]) -> None:
        """Keep the result of a trial."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:  # several processes write whole lines
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._take(entry)

    def to_repeat(self) -> list[Key]:
        """The trials that found something and have not held since."""
        return sorted(key for key, entry in self.last.items() if entry["result"] == FOUND)

    def table(self) -> str:
        """Markdown: of each kind and case what was tried, how much of it held, and what was found and mended."""
        lines = [
            "| fault | command | trials | faults injected | held | found | mended |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        groups: dict[tuple[str, str], list[Key]] = defaultdict(list)
        for key in self.last:
            groups[key[0], "pairs of commands" if " + " in key[1] else key[1]].append(key)
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for (kind, case), keys in sorted(groups.items()):
            counts = self._counts(keys)
            kinds[kind].update(counts)
            lines.append(_line(kind, case, counts))
        lines += [_line(f"**{kind}**", "**all**", counts) for kind, counts in kinds.items()]
        return "\n".join(lines) + "\n"

    def _counts(self, keys: Iterable[Key]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for key in keys:
            entry = self.last[key]
            counts["trials"] += 1
            counts["faults"] += entry.get("faults", 1)
            counts["held"] += entry["result"] == HELD
            counts["found"] += key in self.ever_found
            counts["mended"] += key in self.ever_found and entry["result"] == HELD
        return counts


def _line(kind: str, case: str, counts: Counter[str]) -> str:
    cells = [counts[name] for name in ("trials", "faults", "held", "found", "mended")]
    return f"| {kind} | {case or 'all kinds'} | " + " | ".join(f"{cell:,}" for cell in cells) + " |"
