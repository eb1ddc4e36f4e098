"""Scripted and improvised utterances of IEMOCAP, which its ids tell apart.

The actors of every session play the same scripts and the same scenes: the lines of the scripts recur in all sessions,
and a scene is written for certain emotions.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.repeated_texts import FEW, LONG, RepeatedTexts
from mmer_pipeline.audit.trivial_baselines import FAR_ABOVE, SCENE, STYLE, Baselines

_ID = re.compile(r"Ses\d\d[FM]_(?P<scene>(?P<style>impro|script)\d\d)\w*")
SCRIPTED, IMPROVISED = "scripted", "improvised"


@dataclass(frozen=True)
class StyleCounts:
    """Counts of the scripted or of the improvised utterances."""

    style: str
    utterances: int
    repeated: int  # of `LONG` words or more, word for word in training
    classes: dict[str, int]  # class → utterances


@dataclass(frozen=True)
class Styles:
    """Style and scene of every utterance."""

    style: tuple[str, ...]  # [N]
    scene: tuple[str, ...]  # [N] "impro05", "script01": the same in every session

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Name of a baseline → its group of every utterance; none if all have the same style."""
        return {STYLE: self.style, SCENE: self.scene} if len(set(self.style)) > 1 else {}

    def members(self, style: str) -> Mask:
        """[N] the utterances of a style."""
        return np.array([one == style for one in self.style])


def read_styles(split: Split) -> Styles | None:
    """Style and scene from ids like IEMOCAP's; None if any id has another form."""
    matches = [_ID.fullmatch(u.utterance_id) for u in split.utterances]
    known = [match for match in matches if match is not None]
    if len(known) < len(matches):
        return None
    names = {"script": SCRIPTED, "impro": IMPROVISED}
    return Styles(tuple(names[match["style"]] for match in known), tuple(match["scene"] for match in known))


def count(split: Split, styles: Styles, texts: RepeatedTexts) -> tuple[StyleCounts, ...]:
    """Count both styles."""
    return tuple(
        StyleCounts(
            style,
            int(members.sum()),
            int((members & texts.members).sum()),
            split.class_counts(members),
        )
        for style in (SCRIPTED, IMPROVISED)
        for members in (styles.members(style),)
    )


def as_dict(counts: tuple[StyleCounts, ...]) -> dict[str, Any]:
    """The counts as plain values, for JSON."""
    return {"words": LONG, "rows": [asdict(row) for row in counts]}


def findings(split: Split, styles: Styles, counts: tuple[StyleCounts, ...], baselines: Baselines) -> list[Finding]:
    """How the two styles differ, and what style and scene alone tell about the class."""
    scripted, improvised = counts
    total = len(split.utterances)
    key, title = "scripted_lines", "Scripted utterances"
    if not (scripted.utterances and improvised.utterances):
        only = SCRIPTED if scripted.utterances else IMPROVISED
        meaning = f"All utterances are {only}."
        return [Finding(key, "ok", title, scripted.utterances, "utterances", meaning, total)]
    rows = {row.name: row for row in baselines.rows}
    telling = [
        rows[name]
        for name in (STYLE, SCENE)
        if (interval := rows[name].ua_interval)
        and interval[0] > baselines.chance
        and rows[name].ua > baselines.chance + FAR_ABOVE
    ]
    balance = "; ".join(
        f"of the {row.style} ones, "
        + ", ".join(f"{100 * n / row.utterances:.0f} % are {label}" for label, n in row.classes.items())
        for row in counts
    )
    return [
        Finding(
            key,
            "warning" if telling or scripted.repeated > FEW * total else "note",
            title,
            scripted.utterances,
            "utterances",
            f"{balance[0].upper()}{balance[1:]}. Word for word in training: {scripted.repeated:,} scripted and "
            f"{improvised.repeated:,} improvised utterances of {LONG} words or more. The style alone reaches a UA of "
            f"{100 * rows[STYLE].ua:.1f} %, the scene alone {100 * rows[SCENE].ua:.1f}, guessing "
            f"{100 * baselines.chance:.1f}. Report improvised utterances apart, and use `--text-disjoint`.",
            total,
            split.examples(styles.members(SCRIPTED)),
        )
    ]
