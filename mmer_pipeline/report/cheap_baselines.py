"""Baselines that should be poor, on the folds of the systems: those of the audit, or else the quick ones.

The audit decodes every recording to measure its loudness, which takes minutes for a large corpus. A report does not:
without an audit it has the majority class and the lengths of text and recording, and names the command for the rest.
"""

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmer_pipeline import files, paths
from mmer_pipeline.audit.corpus_split import REST, Split
from mmer_pipeline.audit.trivial_baselines import LENGTH, LENGTH_AND_LOUDNESS, LOUDNESS, MAJORITY, TEXT, try_baselines
from mmer_pipeline.corpora.manifest import Manifest
from mmer_pipeline.errors import UserError
from mmer_pipeline.json_shapes import mismatch
from mmer_pipeline.report.comparisons import FEWEST_CLUSTERS
from mmer_pipeline.report.corpus_content import Baseline, Baselines
from mmer_pipeline.report.run_results import SystemResults
from mmer_pipeline.report.utterance_facts import UtteranceFacts

SHOWN = (MAJORITY, TEXT, LENGTH, LOUDNESS, LENGTH_AND_LOUDNESS)  # of the audit's baselines


def baselines_of(systems: Sequence[SystemResults], facts: UtteranceFacts) -> Baselines | None:
    """Return the baselines on the folds of the trained systems.

    None without trained systems, if their folds differ, or if the manifest is missing or has changed.
    """
    records = [run.record for system in systems for run in system.runs]
    folds = {(record.settings.folds, tuple(record.facts["folds"]), record.inputs["manifest"]) for record in records}
    if len(folds) != 1 or not facts.manifests:
        return None
    ((column, names, _),) = folds
    manifest = facts.manifests[0]  # others are copies: there is one digest
    split = _split(systems, manifest, column, names)
    if split is None:
        return None
    rows = _of_audit(manifest, column, names)
    if rows is None:
        seconds = np.array([facts.seconds.get(u.utterance_id, np.nan) for u in manifest.utterances])
        rows = try_baselines(split, None, seconds=seconds).as_dict()["rows"]
    tested = split.fold < split.tested
    dialogues = {u.dialogue for u, is_tested in zip(manifest.utterances, tested.tolist(), strict=True) if is_tested}
    found = [_baseline(row, len(dialogues)) for row in rows if row["name"] in SHOWN]
    missing = ""
    if LOUDNESS not in {row.name for row in found}:
        command = ["mmer-pipe", "audit"]
        command += [] if manifest.path.name == paths.MANIFEST_NAME else ["--manifest", str(manifest.path)]
        command += [] if column == "session" else ["--folds", column]
        missing = f"For baselines of loudness, run `{shlex.join(command)}`, then report again."
    return Baselines(tuple(found), missing)


def _split(systems: Sequence[SystemResults], manifest: Manifest, column: str, names: Sequence[str]) -> Split | None:
    """Divide the manifest as the systems' folds did; what is never held out is only trained on.

    None if a fold is missing in every system, or if there is nothing to train on.
    """
    rows = [system.held_out for system in systems if system.runs]
    fold_of = {name: fold for part in rows for name, fold in zip(part.utterance_ids, part.folds, strict=True)}
    rest = len(names)
    fold = np.array([fold_of.get(u.utterance_id, rest + 1) - 1 for u in manifest.utterances])
    if set(range(rest)) - set(fold.tolist()) or len(set(fold.tolist())) < 2:
        return None
    classes = {label: number for number, label in enumerate(manifest.labels)}
    truth = np.array([classes[manifest.label_map.class_of(u.emotion) or ""] for u in manifest.utterances])
    return Split(manifest, column, (*names, REST), fold, truth, tested=rest)


_ROWS = [{"name": str, "wa": float, "ua": float, "ua_interval": ([float], None)}]


def _of_audit(manifest: Manifest, column: str, names: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the rows of the audit beside the manifest; None if it is of other rows or folds, or cannot be read."""
    path = manifest.path.parent / paths.AUDIT_JSON
    try:
        found = files.read_json(path, "mmer-pipe audit")
        is_of_these = (found["digest"], found["folds"], found["held_out"]) == (manifest.digest, column, list(names))
        rows = found["baselines"]["rows"]
        is_complete = not mismatch(rows, _ROWS) and all(len(row["ua_interval"] or (0, 0)) == 2 for row in rows)
        return rows if is_of_these and is_complete else None
    except (UserError, OSError, KeyError, TypeError):
        return None


def _baseline(row: dict[str, Any], dialogues: int) -> Baseline:
    interval = row["ua_interval"] if dialogues >= FEWEST_CLUSTERS else None
    return Baseline(row["name"], row["wa"], row["ua"], None if interval is None else (interval[0], interval[1]))
