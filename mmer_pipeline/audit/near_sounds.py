"""Recordings that are the same sound as a training recording: with another level or sampling rate, or cut."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmer_pipeline.audio import SAMPLE_RATE, load
from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import NAMED, Finding
from mmer_pipeline.audit.near_copies import NearCopy, Worth, pairs_as_dicts, training_prior, worth_of_copies
from mmer_pipeline.audit.recording_measurements import Recording, Recordings
from mmer_pipeline.audit.sound_fingerprint import SAME_SOUND, SHORTEST, Samples, cross_correlation, similar_pairs


@dataclass(frozen=True)
class NearSounds:
    """Test recordings with the sound of a training recording, but other samples."""

    copies: tuple[NearCopy, ...]
    worth: Worth
    compared: int  # pairs of recordings that were similar enough to be compared sample by sample

    def as_dict(self, split: Split) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "correlation": SAME_SOUND,
            "compared": self.compared,
            **self.worth.as_dict(),
            "pairs": pairs_as_dicts(split, self.copies),
        }


def find(split: Split, recordings: Recordings) -> NearSounds:
    """Compare the recordings of different folds whose fingerprints are similar; each is decoded once more.

    Recordings with the same samples are left out: they belong to `duplicates`.
    """
    numbers = [i for i in np.flatnonzero(recordings.audible).tolist() if isinstance(recordings.facts[i], Recording)]
    facts = {i: fact for i in numbers if isinstance(fact := recordings.facts[i], Recording)}
    pairs = [(numbers[a], numbers[b]) for a, b in similar_pairs([facts[i].hashes for i in numbers])]
    pairs = [(a, b) for a, b in pairs if split.fold[a] != split.fold[b] and facts[a].digest != facts[b].digest]
    partners: dict[int, list[tuple[float, int]]] = defaultdict(list)
    held, samples = -1, np.zeros(0, dtype=np.float32)
    for a, b in pairs:  # sorted by the first
        if a != held:
            held, samples = a, _samples(split, a)
        similarity = cross_correlation(samples, _samples(split, b))
        if similarity >= SAME_SOUND:
            partners[a].append((similarity, b))
            partners[b].append((similarity, a))
    prior = training_prior(split)
    copies = []
    for i in sorted(partners):
        if split.fold[i] < split.tested:
            similarity, copy = max(partners[i])
            votes = Counter(split.truth[[j for _, j in partners[i]]].tolist())
            answer = max(votes, key=lambda label: (votes[label], prior[split.fold[i], label]))
            copies.append(NearCopy(i, copy, min(1.0, similarity), answer))
    return NearSounds(tuple(copies), worth_of_copies(split, copies), len(pairs))


def _samples(split: Split, number: int) -> Samples:
    utterance = split.utterances[number]
    return load(split.manifest.audio_path(utterance), utterance.start_seconds, utterance.end_seconds)


def findings(split: Split, sounds: NearSounds) -> list[Finding]:
    """How many recordings are in training with another level, rate or length, and what that is worth."""
    count = len(sounds.copies)
    return [
        Finding(
            "near_sounds",
            "error" if count else "ok",
            "Recordings with nearly the same sound in different folds",
            count,
            "utterances",
            "Test recordings are in the training part with another level or sampling rate, or cut. Answering with the "
            f"label of that recording reaches {sounds.worth}. Keep one of each, or give both the same {split.unit}; "
            "audit.json lists all pairs."
            if count
            else f"No recording of {SHORTEST / SAMPLE_RATE:.1f} s or more is in both parts with another level, rate or "
            "length.",
            len(split.utterances),
            tuple(
                f"{split.utterances[c.utterance].utterance_id} ({split.label(c.utterance)}) ~ "
                f"{split.utterances[c.copy].utterance_id} ({split.label(c.copy)}): correlation {c.similarity:.2f}"
                for c in sounds.copies[:NAMED]
            ),
        )
    ]
