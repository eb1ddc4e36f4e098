"""The effect of clipping the gradient norm: both losses by length of utterance, with a limit of 1 and without a limit.

A speech encoder with an emotion head and a CTC head (`cai`) is trained on real recordings: RAVDESS for both losses, and
LibriSpeech sentences, whose lengths differ more, for CTC. They are looked for in `../shared`; without it, nothing is
measured.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch.nn import functional

from benchmarks.measure import Bench, Figure
from mmer_pipeline.corpora.labels import BUILT_IN, identity_map
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.readers import read_corpus
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.pages import plotting
from mmer_pipeline.systems.base import ctc_losses
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.batches import epoch_batches, micro_batches
from mmer_pipeline.training.build_model import build_model
from mmer_pipeline.training.examples import ComputedFrames, Examples
from mmer_pipeline.training.fold_inputs import Encoders
from mmer_pipeline.training.mixed_precision import make_accelerator
from mmer_pipeline.training.step import Optimiser

SHARED = Path(__file__).resolve().parents[2] / "shared"
LETTERS = Alphabet(WAV2VEC2_ALPHABET)
LIMITS = {"limit 1": 1.0, "no limit": 0.0}
THIRDS = ("shortest third", "middle third", "longest third")


@dataclass(frozen=True)
class Corpus:
    """Recordings to train on, and how."""

    name: str
    manifest: Manifest
    epochs: int
    learning_rate: float
    alpha: float
    has_emotions: bool


@dataclass(frozen=True)
class Course:
    """One training, epoch by epoch; each row has one value per third of the utterances, by length."""

    factors: list[list[float]]  # by which clipping multiplies the gradients of the steps
    emotion: list[list[float]]  # CE per utterance, without dropout, after the epoch
    ctc: list[list[float]]  # CTC loss per frame, likewise


class KeptFrames:
    """Front-end frames of every utterance, computed once and kept in memory: see `training.examples.Rows`."""

    def __init__(self, computed: ComputedFrames) -> None:
        self.rows = [computed.row(position) for position in range(len(computed.counts))]

    def row(self, position: int) -> np.ndarray:
        """See `Rows`."""
        return self.rows[position]

    def length(self, position: int) -> int:
        """See `Rows`."""
        return len(self.rows[position])


def figures(bench: Bench) -> Iterator[Figure]:
    """How much clipping shrinks the steps of short and long utterances, and where the losses end."""
    if not SHARED.is_dir():
        click.echo(f"clipping: {SHARED} is not there, so nothing is measured.", err=True)
        return
    found = {}
    for corpus in (ravdess(bench), librispeech(bench)):
        courses = {name: train(bench, corpus, limit) for name, limit in LIMITS.items()}
        found[corpus.name] = courses
        clipped, free = courses["limit 1"], courses["no limit"]
        for epoch, said in ((0, "first"), (-1, "last")):
            short, _, long = clipped.factors[epoch]
            what = f"factor by which a limit of 1 multiplies gradients, {said} epoch: longest and shortest third"
            yield Figure(what, corpus.name, long, "", short, short / long)
        losses = [("CTC loss per frame", free.ctc, clipped.ctc)]
        losses += [("emotion loss", free.emotion, clipped.emotion)] if corpus.has_emotions else []
        for what, without, limited in losses:
            for third, mine, other in zip(THIRDS, without[-1], limited[-1], strict=True):
                what_then = f"{what} after {corpus.epochs} epochs, {third}: no limit, limit 1"
                yield Figure(what_then, corpus.name, mine, "", other, other / mine)
    facts = {name: {limit: vars(course) for limit, course in courses.items()} for name, courses in found.items()}
    (bench.output / "clipping-courses.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    _draw(found, bench.output / "clipping.png")


def ravdess(bench: Bench) -> Corpus:
    """Recordings of six actors, of 3 to 5 seconds, in four classes."""
    reading = read_corpus("ravdess", SHARED / "data" / "ravdess4")
    known = [u for u in reading.utterances if u.speaker <= "Actor_06"]
    kept = known[: bench.count(len(known), 9)]
    path = bench.directory / "ravdess.csv"
    write_manifest(path, kept, root=reading.root, corpus="ravdess", label_map=BUILT_IN["ravdess-4"])
    return Corpus("RAVDESS", read_manifest(path), bench.count(4, 1), 2e-4, alpha=0.1, has_emotions=True)


def librispeech(bench: Bench) -> Corpus:
    """Sixty read sentences of very different lengths; their two classes are arbitrary, and only CTC is looked at."""
    root = SHARED / "data" / "librispeech60"
    with (root / "transcripts.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))[: bench.count(60, 6)]
    utterances = [
        Utterance(
            utterance_id=row["utt"], audio=f"flac/{row['utt']}.flac", start_seconds=None, end_seconds=None,
            speaker=row["utt"], session="1", dialogue=row["utt"], emotion=("even", "odd")[number % 2],
            transcript=row["text"],
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip
    path = bench.directory / "librispeech.csv"
    write_manifest(path, utterances, root=root, corpus="librispeech", label_map=identity_map({"even", "odd"}))
    return Corpus("LibriSpeech", read_manifest(path), bench.count(12, 1), 1e-3, alpha=0.1, has_emotions=False)


def train(bench: Bench, corpus: Corpus, limit: float) -> Course:
    """Train from the same weights in the same order, with this limit of the gradient norm."""
    settings = settings_for(
        "cai", fold=1, speech_encoder=str(SHARED / "models" / "moonshine-tiny-encoder"), clip_norm=limit,
        learning_rate=corpus.learning_rate, alpha=corpus.alpha,
    )  # fmt: skip
    torch.manual_seed(1)
    model = build_model(settings, Encoders.of(settings), corpus.manifest.labels, LETTERS)
    encoder: Any = model.speech
    frames = KeptFrames(ComputedFrames(corpus.manifest, encoder))
    examples = Examples(corpus.manifest, speech=frames, frame_rate=encoder.frame_rate, text=None, alphabet=LETTERS)
    accelerator, _ = make_accelerator(str(bench.device), "fp32")
    made = Optimiser(settings, model, examples, accelerator)
    made.find_max_seconds(range(len(examples.seconds)))
    third = _thirds(examples.seconds)
    course = Course([], [], [])
    for epoch in range(corpus.epochs):
        model.train()
        factors: list[list[float]] = [[], [], []]
        steps = epoch_batches(range(len(third)), examples.seconds, batch_size=8, bucket_batches=16, seed=epoch)
        for number, positions in enumerate(steps):
            norm = float(made.step(positions, seed=1000 * epoch + number, rate_factor=1.0).norms[0])
            for position in positions:
                factors[third[position]].append(min(1.0, limit / norm) if limit else 1.0)
        course.factors.append([float(np.mean(values)) for values in factors])
        emotion, ctc = _losses(made, third)
        course.emotion.append(emotion)
        course.ctc.append(ctc)
    return course


def _thirds(seconds: Sequence[float]) -> np.ndarray:
    """0 for the shortest third of the utterances, 2 for the longest: `[N]`."""
    rank = np.argsort(np.argsort(seconds, kind="stable"))
    return rank * len(THIRDS) // len(seconds)


@torch.inference_mode()
def _losses(made: Optimiser, third: np.ndarray) -> tuple[list[float], list[float]]:
    """CE per utterance and CTC loss per frame, without dropout, for each third."""
    made.model.eval()
    ce, ctc = np.zeros(len(third)), np.zeros(len(third))
    for part in micro_batches(range(len(third)), made.examples.seconds, made.max_seconds):
        batch = made.examples.batch(part).to(made.device)
        output = made.model(**batch.inputs)
        counts = {"frame_counts": batch.frame_counts, "symbol_counts": batch.symbol_counts}
        ce[part] = functional.cross_entropy(output.logits, batch.labels, reduction="none").cpu()
        ctc[part] = ctc_losses(output.ctc_logits, batch.symbols, **counts).cpu() / torch.tensor(batch.frame_counts)
    emotion, spelling = ([float(values[third == n].mean()) for n in range(len(THIRDS))] for values in (ce, ctc))
    return emotion, spelling


@plotting.styled
def _draw(found: dict[str, dict[str, Course]], path: Path) -> None:
    panels = [("RAVDESS", "emotion", "emotion loss"), ("RAVDESS", "ctc", "CTC loss per frame"),
              ("LibriSpeech", "ctc", "CTC loss per frame")]  # fmt: skip
    drawn = Drawing(figsize=(2.4 * plotting.WIDTH, 0.8 * plotting.WIDTH), layout="constrained")
    for axes, (corpus, loss, label) in zip(drawn.subplots(1, len(panels)), panels, strict=True):
        for limit, course in found[corpus].items():
            rows = np.array(getattr(course, loss))  # [epochs, 3]
            epochs = np.arange(1, len(rows) + 1)
            for number, colour in ((0, plotting.HUES[0]), (2, plotting.HUES[1])):
                style = "-" if limit == "no limit" else "--"
                axes.plot(epochs, rows[:, number], style, color=colour, label=f"{THIRDS[number]}, {limit}")
        axes.set_title(corpus)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
    axes.legend()
    path.write_bytes(plotting.png(drawn))
