"""Durations that do not fit the transcript, recordings too short for CTC, and loudness by class."""

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.audit.recording_measurements import Recordings
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, frames_needed

EXTRA_LETTERS = 6.0  # allowance for the silence around the words, so that "No." may take a second
OUTLIER = 5.0  # robust standard deviations of log letters per second
LARGE_SHARE = 0.1  # of the variance of the loudness, explained by the class
SMALL_SHARE = 0.01
MANY_SHORT = 0.01  # share of utterances too short for CTC that matters
FRAMES_PER_SECOND = SAMPLE_RATE / 320  # of wav2vec 2.0


def findings(split: Split, recordings: Recordings) -> list[Finding]:
    """Duration against transcript, frames against CTC target, loudness against class."""
    return [_durations(split, recordings), _too_short_for_ctc(split, recordings), _loudness(split, recordings)]


def _durations(split: Split, recordings: Recordings) -> Finding:
    """Outliers in letters per second by the modified z-score (Iglewicz and Hoaglin), from median and MAD."""
    letters = recordings.letters_per_second * recordings.seconds
    speed = np.log((letters + EXTRA_LETTERS) / recordings.seconds)
    known = np.isfinite(speed)
    key, title = "unusual_durations", "Durations that do not fit the transcript"
    if not known.any():
        meaning = "No recording has a transcript: there is nothing to compare."
        return Finding(key, "ok", title, 0, "recordings", meaning, len(recordings.facts))
    median = np.median(speed[known])
    spread = np.median(np.abs(speed[known] - median)) / 0.6745
    outliers = known & (np.abs(np.where(known, speed, median) - median) > OUTLIER * max(spread, 0.05))
    usual = float(np.median(recordings.letters_per_second[known]))
    return Finding(
        key,
        "note" if outliers.any() else "ok",
        title,
        int(outliers.sum()),
        "recordings",
        f"The median is {usual:.0f} letters per second. "
        + (
            "These are far from it: the recording may be cut wrongly, or the transcript may belong to another one."
            if outliers.any()
            else "No recording is far from it."
        ),
        len(recordings.facts),
        split.examples(
            outliers,
            lambda i: (
                f"{recordings.letters_per_second[i]:.1f} letters per second, {recordings.seconds[i]:.1f} s: "
                f"{split.quoted(i)}"
            ),
        ),
    )


def _too_short_for_ctc(split: Split, recordings: Recordings) -> Finding:
    alphabet = Alphabet(WAV2VEC2_ALPHABET)
    needed = np.array([frames_needed(alphabet.encode(u.transcript)) for u in split.utterances])
    frames = np.nan_to_num(recordings.seconds) * FRAMES_PER_SECOND
    short = recordings.decoded & (needed > frames)
    return Finding(
        "too_short_for_ctc",
        "ok" if not short.any() else "warning" if short.mean() > MANY_SHORT else "note",
        "Recordings too short to spell their transcript",
        int(short.sum()),
        "recordings",
        "CTC needs one 20 ms frame per letter: these recordings add nothing to its loss."
        if short.any()
        else "CTC has enough frames for every transcript.",
        len(recordings.facts),
        split.examples(short, lambda i: f"needs {needed[i]} frames, has about {frames[i]:.0f}"),
    )


def _loudness(split: Split, recordings: Recordings) -> Finding:
    values, truth = recordings.rms_dbfs[recordings.audible], split.truth[recordings.audible]
    means = {int(k): float(values[truth == k].mean()) for k in np.unique(truth)}
    if len(means) < 2:
        return Finding("loudness", "ok", "Loudness by class", 0.0, "dB", "There is nothing to compare.")
    loud, quiet = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    between = sum((truth == k).sum() * (mean - values.mean()) ** 2 for k, mean in means.items())
    raw = float(between / max(np.square(values - values.mean()).sum(), 1e-9))
    # Adjusted R²: the raw share is about C / N even for noise.
    freedom = len(values) - len(means)
    explained = max(0.0, 1 - (1 - raw) * (len(values) - 1) / freedom) if freedom else 0.0
    meaning = f"The class explains {100 * explained:.0f} % of the variance of the loudness."
    if explained > SMALL_SHARE:
        meaning += " A model can use the level instead of the voice; normalising every recording's level prevents that."
    return Finding(
        "loudness",
        "warning" if explained > LARGE_SHARE else "note" if explained > SMALL_SHARE else "ok",
        "Loudness by class",
        means[loud] - means[quiet],
        f"dB from {split.labels[quiet]} to {split.labels[loud]}",
        meaning,
    )
