"""Scripted and improvised utterances of IEMOCAP, which its ids tell apart.

The actors of every session play the same scripts and the same scenes: the lines of the scripts recur in all sessions,
and a scene is written for certain emotions.
"""

import re
from collections.abc import Sequence
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
    """Style and scene of every utterance, and their counts."""

    style: tuple[str, ...]  # [N]
    scene: tuple[str, ...]  # [N] "impro05", "script01": the same in every session
    counts: tuple[StyleCounts, StyleCounts]  # of the scripted and the improvised ones

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Name of a baseline → its group of every utterance; none if all have the same style."""
        return {STYLE: self.style, SCENE: self.scene} if len(set(self.style)) > 1 else {}

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values, for JSON."""
        return {"words": LONG, "rows": [asdict(row) for row in self.counts]}


def read_styles(split: Split, texts: RepeatedTexts) -> Styles | None:
    """Read style and scene from ids like IEMOCAP's, and count; None if any id has another form."""
    matches = [_ID.fullmatch(u.utterance_id) for u in split.utterances]
    known = [match for match in matches if match is not None]
    if len(known) < len(matches):
        return None
    style = tuple(SCRIPTED if match["style"] == "script" else IMPROVISED for match in known)

    def counted(name: str) -> StyleCounts:
        members = _members(style, name)
        repeated = int((members & texts.members).sum())
        return StyleCounts(name, int(members.sum()), repeated, split.class_counts(members))

    return Styles(style, tuple(match["scene"] for match in known), (counted(SCRIPTED), counted(IMPROVISED)))


def _members(style: Sequence[str], name: str) -> Mask:
    """[N] the utterances of a style."""
    return np.array([one == name for one in style])


def findings(split: Split, styles: Styles, baselines: Baselines) -> list[Finding]:
    """How the two styles differ, and what style and scene alone tell about the class."""
    scripted, improvised = styles.counts
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
        for row in styles.counts
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
            f"{100 * baselines.chance:.1f}. Report improvised utterances separately, and use `--text-disjoint`.",
            total,
            split.examples(_members(styles.style, SCRIPTED)),
        )
    ]
