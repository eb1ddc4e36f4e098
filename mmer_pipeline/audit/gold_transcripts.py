"""Gold transcripts: what people wrote down, which a system in use does not have."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from mmer_pipeline import paths
from mmer_pipeline.audit.corpus_split import Split
from mmer_pipeline.audit.finding import Finding
from mmer_pipeline.corpora.asr_transcripts import read_facts, read_transcripts
from mmer_pipeline.corpora.transcripts import spoken_words
from mmer_pipeline.scoring.metrics import rates


@dataclass(frozen=True)
class Words:
    """How well the words of one source of transcripts predict the class."""

    source: str  # "gold", or the model that wrote them
    utterances: int  # with words
    ua: float | None  # of naive Bayes on words and pairs of words, on the same folds; None if it cannot be trained
    wer: float | None  # of automatic transcripts against the gold ones


def try_words(split: Split) -> tuple[Words, ...]:
    """Train naive Bayes on the gold words, and on complete automatic transcripts beside the manifest."""
    gold = [spoken_words(u.transcript) for u in split.utterances]
    if not any(gold):
        return ()
    sources = [Words("gold", sum(map(bool, gold)), _ua(split, gold), None)]
    for path in paths.all_asr_transcripts(split.manifest.path):
        found = read_transcripts(path)
        if all(u.utterance_id in found for u in split.utterances):
            words = [spoken_words(found[u.utterance_id].text) for u in split.utterances]
            facts = read_facts(path) or {}
            wer = facts.get("word_errors", {}).get("all", {}).get("wer")
            sources.append(Words(str(facts.get("asr_model", path.stem)), sum(map(bool, words)), _ua(split, words), wer))
    return tuple(sources)


def _ua(split: Split, texts: Sequence[str]) -> float | None:
    predicted = np.full(len(texts), -1)
    for fold in range(split.tested):
        test = np.flatnonzero(split.fold == fold).tolist()
        train = [i for i in np.flatnonzero(split.fold != fold).tolist() if texts[i]]
        if train and test:
            counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
            model = make_pipeline(counts, MultinomialNB(fit_prior=False))
            model.fit([texts[i] for i in train], split.truth[train])
            predicted[test] = model.predict([texts[i] for i in test])
    tested = predicted >= 0
    return float(rates(split.truth[tested], predicted[tested], split.labels)["ua"]) if tested.any() else None


def as_dicts(sources: Sequence[Words]) -> list[dict[str, Any]]:
    """The table as plain values, for JSON."""
    return [asdict(source) for source in sources]


def findings(split: Split, sources: Sequence[Words]) -> list[Finding]:
    """How many transcripts are gold, and what words are worth for the class."""
    key, title, total = "gold_transcripts", "Gold transcripts", len(split.utterances)
    if not sources:
        return [Finding(key, "ok", title, 0, "utterances", "The corpus has no transcripts.", total)]
    gold, *automatic = sources
    chance = 100 / len(np.unique(split.truth))
    with_words = [f"{100 * one.ua:.1f} % with {_name(one)}" for one in sources if one.ua is not None]
    meaning = "The transcripts come with the corpus. A system in use does not have them, and mishears words. "
    if with_words:
        meaning += f"From the words alone, naive Bayes reaches a UA of {', '.join(with_words)}; guessing {chance:.1f}. "
    meaning += "`--test-transcripts asr` tests with automatic ones, `--transcripts asr` trains with them, too."
    if not automatic:
        meaning += " `mmer-pipe transcribe` makes them."
    return [Finding(key, "note", title, gold.utterances, "utterances", meaning, total)]


def _name(words: Words) -> str:
    if words.source == "gold":
        return "these transcripts"
    return f"those of {words.source}" + ("" if words.wer is None else f" (WER {100 * words.wer:.1f} %)")
