"""Faults of recordings: missing or unreadable, silent, clipped, with a DC offset, in other formats than 16 kHz mono."""

from collections import Counter

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE, AudioError
from mmer_pipeline.audit.association import association
from mmer_pipeline.audit.corpus_split import Mask, Split
from mmer_pipeline.audit.finding import NAMED, Finding, Severity
from mmer_pipeline.audit.recording_measurements import SILENT_DBFS, Recordings

LARGE_DC = 0.01  # of full scale, 40 dB below it


def findings(split: Split, recordings: Recordings) -> list[Finding]:
    """One finding per kind of fault."""
    return [
        _unreadable(recordings),
        _count(
            split,
            recordings,
            recordings.decoded & (recordings.rms_dbfs <= SILENT_DBFS),
            "silent_recordings",
            "warning",
            "Silent recordings",
            f"Their level is below {SILENT_DBFS:g} dBFS: they contain no speech.",
            "rms_dbfs",
            "{:.1f} dBFS",
        ),
        _count(
            split,
            recordings,
            recordings.values("clipped") > 0,
            "clipped_recordings",
            "note",
            "Clipped recordings",
            "Runs of samples are at full scale: the peaks of the waveform are cut off.",
            "clipped",
            "{:.0f} samples",
        ),
        _count(
            split,
            recordings,
            np.abs(recordings.values("dc")) > LARGE_DC,
            "dc_offset",
            "note",
            "Recordings with a DC offset",
            f"Their mean is more than {LARGE_DC:g} of full scale away from zero.",
            "dc",
            "{:+.3f}",
        ),
        _formats(split, recordings),
    ]


def _unreadable(recordings: Recordings) -> Finding:
    errors = [fact for fact in recordings.facts if isinstance(fact, AudioError)]
    kinds = ", ".join(f"{count:,} {fault}" for fault, count in Counter(error.fault for error in errors).most_common())
    return Finding(
        "unreadable_recordings",
        "error" if errors else "ok",
        "Missing or unreadable recordings",
        len(errors),
        "utterances",
        f"{kinds}: they can be used neither for training nor for testing. Repair the files, or run `mmer-pipe prepare` "
        "again to exclude them."
        if errors
        else "Every recording exists and is complete.",
        len(recordings.facts),
        tuple(map(str, errors[:NAMED])),
    )


def _count(
    split: Split,
    recordings: Recordings,
    members: Mask,
    key: str,
    severity: Severity,
    title: str,
    meaning: str,
    fact: str,
    form: str,
) -> Finding:
    """The number of recordings with a fault; a warning if it is associated with a class."""
    count = int(members.sum())
    classes = association(split, members)
    values = recordings.values(fact)
    return Finding(
        key,
        "ok" if not count else "warning" if classes.significant else severity,
        title,
        count,
        "recordings",
        (meaning + (f" The fault reveals the label: {classes}." if classes.significant else ""))
        if count
        else "There are none.",
        len(recordings.facts),
        split.examples(members, lambda i: form.format(values[i]).replace("-", "−")),
    )


def _formats(split: Split, recordings: Recordings) -> Finding:
    rates, channels = recordings.values("sample_rate_hz"), recordings.values("channels")
    other = recordings.decoded & ((rates != SAMPLE_RATE) | (channels != 1))
    decoded = recordings.decoded
    formats = Counter(zip(rates[decoded].tolist(), channels[decoded].tolist(), strict=True))
    groups = [association(split, decoded & (rates == rate) & (channels == n)) for rate, n in formats]
    strongest = min((group for group in groups if group.significant), key=lambda group: group.p, default=None)
    if strongest is not None:
        meaning = f"The format reveals the label: of the recordings in one format, {strongest}."
    elif len(formats) > 1:
        meaning = (
            f"{len(formats)} formats. Frequencies above 8 kHz are removed, but the recording conditions may differ."
        )
    else:
        meaning = "All have the same format." if other.any() else "All are 16 kHz mono."
    return Finding(
        "audio_formats",
        "warning" if strongest else "note" if other.any() else "ok",
        "Recordings that are not 16 kHz mono",
        int(other.sum()),
        "recordings",
        meaning,
        len(recordings.facts),
        split.examples(other, lambda i: f"{rates[i] / 1000:g} kHz, {channels[i]:.0f} channels"),
    )
