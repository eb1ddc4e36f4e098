"""What the recordings show: files that fail, the same sound twice, faults of recording, loudness by class."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE, AudioError
from mmer_pipeline.audit.finding import NAMED, Finding, Severity
from mmer_pipeline.audit.recordings import FLOOR_DBFS, Recording
from mmer_pipeline.audit.split import Mask, Split, lean
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, frames_needed, spoken_words
from mmer_pipeline.scoring.metrics import Floats

SILENT_DBFS = -75.0  # whispers recorded from afar still have −65
MUCH_DC = 0.01  # of full scale; 40 dB below it
LETTERS_AROUND = 6.0  # as long as the breath before and behind is, so that "No." may take a second
FAR_OUT = 5.0  # robust standard deviations of the logarithm of letters a second
EXPLAINED = 0.1  # the share of the variance from which on a class is heard in the loudness
HARDLY_EXPLAINED = 0.01
MANY_SHORT = 0.01  # the share of utterances beyond which the CTC loss is of another corpus
FRAMES_A_SECOND = SAMPLE_RATE / 320  # of wav2vec 2.0, which CTC spells on
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Sounds:
    """Facts of the recordings as arrays over all N utterances; NaN and 0 where `there` is not."""

    facts: tuple[Recording | AudioError, ...]
    there: Mask  # [N] decoded
    seconds: Floats  # [N]
    rms_dbfs: Floats  # [N]
    speed: Floats  # [N] letters and digits a second; NaN where no word is said

    @property
    def audible(self) -> Mask:
        """[N] decoded and not silent."""
        return self.there & (self.rms_dbfs > SILENT_DBFS)

    def values(self, name: str) -> Floats:
        """[N] one fact of every recording; 0 where there is none."""
        return np.array([getattr(f, name) if isinstance(f, Recording) else 0 for f in self.facts], dtype=np.float64)


def sounds_of(split: Split, facts: Sequence[Recording | AudioError]) -> Sounds:
    """Put the facts in arrays."""
    there = np.array([isinstance(fact, Recording) for fact in facts])
    sounds = Sounds(tuple(facts), there, *[np.full(len(facts), np.nan)] * 3)
    seconds = np.where(there, sounds.values("seconds"), np.nan)
    letters = np.array([len(spoken_words(u.transcript).replace(" ", "")) for u in split.utterances], dtype=np.float64)
    speed = np.where(letters > 0, letters, np.nan) / seconds
    return Sounds(tuple(facts), there, seconds, np.where(there, sounds.values("rms_dbfs"), np.nan), speed)


def findings(split: Split, sounds: Sounds) -> list[Finding]:
    """Everything that is asked of the recordings."""
    return [
        _failed(sounds),
        *_duplicates(split, sounds),
        _some(
            split,
            sounds,
            sounds.there & (sounds.rms_dbfs <= SILENT_DBFS),
            "silent",
            "weigh",
            "Silent recordings",
            f"Their loudness is below {SILENT_DBFS:g} dBFS: there is nothing to hear.",
            "rms_dbfs",
            "{:.1f} dBFS",
        ),
        _some(
            split,
            sounds,
            sounds.values("clipped") > 0,
            "clipped",
            "know",
            "Recordings that clip",
            "Runs of samples stand at full scale: the tops of the waves are cut off.",
            "clipped",
            "{:.0f} samples",
        ),
        _some(
            split,
            sounds,
            np.abs(sounds.values("dc")) > MUCH_DC,
            "dc_offset",
            "know",
            "Recordings with a DC offset",
            f"Their mean is further than {MUCH_DC:g} of full scale from zero, which a speech encoder has to unlearn.",
            "dc",
            "{:+.3f}",
        ),
        _formats(split, sounds),
        _durations(split, sounds),
        _too_fast_for_ctc(split, sounds),
        _loudness(split, sounds),
    ]


def _failed(sounds: Sounds) -> Finding:
    failed = [fact for fact in sounds.facts if isinstance(fact, AudioError)]
    kinds = ", ".join(f"{times:,} {fault}" for fault, times in Counter(fact.fault for fact in failed).most_common())
    return Finding(
        "recordings_that_fail",
        "wrong" if failed else "fine",
        "Recordings that are missing or cannot be read",
        len(failed),
        "utterances",
        f"{kinds}: nothing can be trained or tested on them. Run `mmer-pipe prepare` again, or mend the files."
        if failed
        else "Every recording is there and whole.",
        len(sounds.facts),
        tuple(map(str, failed[:NAMED])),
    )


def _duplicates(split: Split, sounds: Sounds) -> list[Finding]:
    """The same samples under two ids: in two folds, and within one."""
    groups = defaultdict(list)
    for number in np.flatnonzero(sounds.audible).tolist():
        fact = sounds.facts[number]
        assert isinstance(fact, Recording)
        groups[fact.digest].append(number)
    several = [group for group in groups.values() if len(group) > 1]
    across = [group for group in several if len({int(split.fold[i]) for i in group}) > 1]
    within = [group for group in several if group not in across]
    torn = sum(len({int(split.truth[i]) for i in group}) > 1 for group in several)

    def one(group: list[int]) -> str:
        return " = ".join(f"{split.utterances[i].utterance_id} ({split.label(i)})" for i in group[:3])

    return [
        Finding(
            "duplicates_across_folds",
            "wrong" if across else "fine",
            "Recordings that are the same, sample by sample, in different folds",
            sum(map(len, across)),
            "utterances",
            f"The test recording is in training under another id; {torn:,} of such groups, in one fold or in several, "
            "have two labels."
            if across
            else "No recording is tested on that was trained on.",
            len(sounds.facts),
            tuple(map(one, across[:NAMED])),
        ),
        Finding(
            "duplicates_within_folds",
            "weigh" if within else "fine",
            "Recordings that are the same, sample by sample, within a fold",
            sum(map(len, within)),
            "utterances",
            "They count more than once in every number, and intervals take them for independent."
            if within
            else "Every recording stands once in its fold.",
            len(sounds.facts),
            tuple(map(one, within[:NAMED])),
        ),
    ]


def _some(
    split: Split,
    sounds: Sounds,
    members: Mask,
    key: str,
    severity: Severity,
    title: str,
    meaning: str,
    fact: str,
    form: str,
) -> Finding:
    """A finding of how many recordings are like that; it weighs where that goes with the label."""
    there = int(members.sum())
    goes = lean(split, members)
    values = sounds.values(fact)
    return Finding(
        key,
        "fine" if not there else "weigh" if goes.tells else severity,
        title,
        there,
        "recordings",
        (meaning + (f" It tells the label: {goes}." if goes.tells else "")) if there else "None is like that.",
        len(sounds.facts),
        split.examples(members, lambda i: form.format(values[i]).replace("-", "−")),
    )


def _formats(split: Split, sounds: Sounds) -> Finding:
    rates, channels = sounds.values("sample_rate_hz"), sounds.values("channels")
    other = sounds.there & ((rates != SAMPLE_RATE) | (channels != 1))
    kinds = Counter(zip(rates[sounds.there].tolist(), channels[sounds.there].tolist(), strict=True))
    leans = [lean(split, sounds.there & (rates == rate) & (channels == n)) for rate, n in kinds]
    telling = min((goes for goes in leans if goes.tells), key=lambda goes: goes.p, default=None)
    if telling is not None:
        meaning = f"They tell the label: of those of one kind {telling}."
    elif len(kinds) > 1:
        meaning = f"{len(kinds)} kinds of file: what a higher rate holds above 8 kHz is dropped, but rooms may differ."
    else:
        meaning = "All are of one kind, and resampled or mixed down alike." if other.any() else "All are 16 kHz mono."
    return Finding(
        "formats",
        "weigh" if telling else "know" if other.any() else "fine",
        "Recordings that are not 16 kHz mono",
        int(other.sum()),
        "recordings",
        meaning,
        len(sounds.facts),
        split.examples(other, lambda i: f"{rates[i] / 1000:g} kHz, {channels[i]:.0f} channels"),
    )


def _durations(split: Split, sounds: Sounds) -> Finding:
    """Letters a second, by their median and the median distance from it (Iglewicz and Hoaglin's modified z)."""
    letters = sounds.speed * sounds.seconds
    speed = np.log((letters + LETTERS_AROUND) / sounds.seconds)
    known = np.isfinite(speed)
    key, title = "durations", "Durations that do not fit the transcript"
    if not known.any():
        meaning = "No recording has a transcript: there is nothing to compare."
        return Finding(key, "fine", title, 0, "recordings", meaning, len(sounds.facts))
    middle = np.median(speed[known])
    spread = np.median(np.abs(speed[known] - middle)) / 0.6745
    far = known & (np.abs(np.where(known, speed, middle) - middle) > FAR_OUT * max(spread, 0.05))
    usual = float(np.median(sounds.speed[known]))
    return Finding(
        key,
        "know" if far.any() else "fine",
        title,
        int(far.sum()),
        "recordings",
        f"Half have more than {usual:.0f} letters a second, half fewer; these are far off, as where a recording was "
        "cut wrongly or a transcript is another's."
        if far.any()
        else f"Half have more than {usual:.0f} letters a second, half fewer, and none is far off.",
        len(sounds.facts),
        split.examples(far, lambda i: f"{sounds.speed[i]:.1f} letters a second, {sounds.seconds[i]:.1f} s: "
                                      f"{split.said(i)}"),
    )  # fmt: skip


def _too_fast_for_ctc(split: Split, sounds: Sounds) -> Finding:
    alphabet = Alphabet(WAV2VEC2_ALPHABET)
    needed = np.array([frames_needed(alphabet.encode(u.transcript)) for u in split.utterances])
    frames = np.nan_to_num(sounds.seconds) * FRAMES_A_SECOND
    short = sounds.there & (needed > frames)
    return Finding(
        "too_short_for_ctc",
        "fine" if not short.any() else "weigh" if short.mean() > MANY_SHORT else "know",
        "Recordings too short to spell their transcript",
        int(short.sum()),
        "recordings",
        "CTC needs a frame of 20 ms a letter: they add nothing to its loss."
        if short.any()
        else "CTC has frames enough for every transcript.",
        len(sounds.facts),
        split.examples(short, lambda i: f"{needed[i]} frames needed, about {frames[i]:.0f} there"),
    )


def _loudness(split: Split, sounds: Sounds) -> Finding:
    values, truth = sounds.rms_dbfs[sounds.audible], split.truth[sounds.audible]
    means = {int(k): float(values[truth == k].mean()) for k in np.unique(truth)}
    if len(means) < 2:
        return Finding("loudness", "fine", "Loudness by class", 0.0, "dB", "There is nothing to compare.")
    loud, quiet = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    between = sum((truth == k).sum() * (mean - values.mean()) ** 2 for k, mean in means.items())
    raw = float(between / max(np.square(values - values.mean()).sum(), 1e-9))
    # Adjusted as R² is: raw, it is C / N from noise alone.
    freedom = len(values) - len(means)
    explained = max(0.0, 1 - (1 - raw) * (len(values) - 1) / freedom) if freedom else 0.0
    telling = explained > HARDLY_EXPLAINED
    return Finding(
        "loudness",
        "weigh" if explained > EXPLAINED else "know" if telling else "fine",
        "Loudness by class",
        means[loud] - means[quiet],
        f"dB from {split.labels[quiet]} to {split.labels[loud]}",
        f"The class explains {100 * explained:.0f} % of the variance of the loudness."
        + (
            " A model that hears the level need not hear the voice; scaling every recording to one level takes it away."
            if telling
            else ""
        ),
    )


def tables(split: Split, sounds: Sounds) -> dict[str, Any]:
    """Loudness, length and pauses by class, and the kinds of file, as plain values for JSON."""
    kinds = Counter(
        (fact.sample_rate_hz, fact.channels) for fact in sounds.facts if isinstance(fact, Recording)
    ).most_common()
    quiet = sounds.values("quiet")
    classes = []
    for number, label in enumerate(split.labels):
        members = sounds.audible & (split.truth == number)
        classes.append(
            {
                "label": label,
                "recordings": int(members.sum()),
                "loudness_dbfs": _spread(sounds.rms_dbfs[members]),
                "seconds": _spread(sounds.seconds[members]),
                "letters_a_second": _spread(sounds.speed[members & np.isfinite(sounds.speed)]),
                "quiet_share": float(quiet[members].mean()) if members.any() else None,
            }
        )
    return {
        "hours": float(np.nansum(sounds.seconds) / 3600),
        "formats": [{"sample_rate_hz": rate, "channels": n, "recordings": times} for (rate, n), times in kinds],
        "classes": classes,
        "floor_dbfs": FLOOR_DBFS,
    }


def _spread(values: Floats) -> dict[str, Any] | None:
    """Mean, sample standard deviation and quantiles; None where there are no values."""
    if not len(values):
        return None
    return {
        "mean": float(values.mean()),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
        "quantiles": np.quantile(values, QUANTILES).tolist(),
    }
