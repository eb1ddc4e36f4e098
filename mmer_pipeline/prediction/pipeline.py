"""Predict many recordings: decode them ahead in threads, cut long ones at pauses, and classify them in batches.

Memory does not depend on the number or the length of recordings: only one window of utterances, and the next, are held.
"""

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mmer_pipeline import audio
from mmer_pipeline.audio import SAMPLE_RATE, AudioError
from mmer_pipeline.corpora.preparation import MAX_AUDIO_SECONDS
from mmer_pipeline.devices import usable_cores
from mmer_pipeline.errors import UserError
from mmer_pipeline.prediction.inputs import OTHER_SOUND
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.results import Item, Prediction
from mmer_pipeline.prediction.segmentation import speech_segments

CUTS = AUTO, ALWAYS, NEVER = ("auto", "always", "never")  # whether recordings are cut at pauses
LONG_SECONDS = 30.0  # what is longer is not one utterance
WINDOW_UTTERANCES, WINDOW_SECONDS = 128, 600.0  # classified together, sorted by length

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """The result for one item: its predictions, or the reason why there are none."""

    item: Item
    predictions: tuple[Prediction, ...] = ()  # one, or one per utterance of a long recording
    problem: str = ""  # why there are none: a sentence
    ends_window: bool = True  # the next items are classified apart from this one and those before it


@dataclass(frozen=True)
class _Piece:
    """An utterance: an item, or a part of one that was cut."""

    number: int  # of its item
    item: Item
    seconds: float
    start_seconds: float | None
    end_seconds: float | None
    is_cut: bool
    is_last: bool  # of its item
    problem: str = ""  # why the item cannot be used


def predict_items(
    recognizer: EmotionRecognizer, items: Sequence[Item], *, cut: str = AUTO, explain: bool = False
) -> Iterator[Outcome]:
    """Predict items, in order; a recording that cannot be used gives a problem and leaves the others alone.

    With `cut` "auto", recordings of more than `LONG_SECONDS` are cut at pauses, unless a transcript or times were given
    for them; with "always", every recording without times is, and given transcripts are not used.

    The last digits of a prediction depend on what it is classified together with. A command that goes on after an
    outcome that ends a window gives the same digits as one that was never stopped.
    """
    predictions: list[Prediction] = []
    problem = ""
    with ThreadPoolExecutor(usable_cores()) as pool:  # libsndfile and soxr release the GIL
        for pieces, waveforms in _windows(items, cut, pool):
            done = _classified(recognizer, pieces, waveforms, explain)
            for piece, outcome in zip(pieces, done, strict=True):
                if isinstance(outcome, str):
                    problem = problem or outcome
                else:
                    predictions.append(outcome)
                if piece.is_last:
                    found = () if problem else tuple(predictions)
                    yield Outcome(items[piece.number], found, problem, ends_window=piece is pieces[-1])
                    predictions, problem = [], ""


def _windows(
    items: Sequence[Item], cut: str, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[_Piece], "list[Future[Waveform]]"]]:
    """Utterances that are classified together, and their samples; those of the next window are decoded meanwhile."""
    ahead: tuple[list[_Piece], list[Future[Waveform]]] | None = None
    for window in _grouped(items, cut):
        loading = [pool.submit(_load, piece) for piece in window]
        if ahead:
            yield ahead
        ahead = window, loading
    if ahead:
        yield ahead


def _grouped(items: Sequence[Item], cut: str) -> Iterator[list[_Piece]]:
    """The utterances of each window: whole items, or a part of one item that is too long for a window."""
    window: list[_Piece] = []
    for number, item in enumerate(items):
        pieces = _pieces(number, item, cut)
        if window and not _fit([*window, *pieces]):
            yield window
            window = []
        for piece in pieces:
            if window and not _fit([*window, piece]):
                yield window
                window = []
            window.append(piece)
    if window:
        yield window


def _fit(pieces: Sequence[_Piece]) -> bool:
    return len(pieces) <= WINDOW_UTTERANCES and sum(piece.seconds for piece in pieces) <= WINDOW_SECONDS


def _pieces(number: int, item: Item, cut: str) -> list[_Piece]:
    try:
        return _pieces_of(number, item, cut)
    except UserError as error:
        return [_Piece(number, item, 0.0, None, None, False, True, _sentence(item, error))]


def _pieces_of(number: int, item: Item, cut: str) -> list[_Piece]:
    """The utterances of an item.

    Raises:
        UserError: it cannot be read, is too long for one utterance, or has no speech.
    """
    seconds = audio.sample_count(item.path, item.start_seconds, item.end_seconds) / SAMPLE_RATE
    is_whole = item.start_seconds is None and item.end_seconds is None
    wanted = cut == ALWAYS or (cut == AUTO and seconds > LONG_SECONDS and item.transcript is None)
    if not (is_whole and wanted):
        if seconds > MAX_AUDIO_SECONDS:
            mend = "Use --cut always, or give the times of its utterances in a CSV file."
            raise UserError(
                f"it is {seconds:.1f} s long, too long for one utterance (at most {MAX_AUDIO_SECONDS:g} s). "
                + (mend if is_whole else "Give the times of shorter segments.")
            )
        return [_Piece(number, item, seconds, item.start_seconds, item.end_seconds, False, True)]
    segments = speech_segments(item.path)
    if not segments:
        raise UserError("no speech was detected in it.")
    return [
        _Piece(
            number,
            replace(item, transcript=None),
            segment.end_seconds - segment.start_seconds,
            segment.start_seconds,
            segment.end_seconds,
            True,
            segment is segments[-1],
        )
        for segment in segments
    ]


def _load(piece: _Piece) -> Waveform:
    if piece.problem:
        raise UserError(piece.problem)
    return audio.load(piece.item.path, piece.start_seconds, piece.end_seconds)


def _classified(
    recognizer: EmotionRecognizer, pieces: Sequence[_Piece], waveforms: "Sequence[Future[Waveform]]", explain: bool
) -> list[Prediction | str]:
    """The prediction of each utterance, or a sentence that says why there is none."""
    outcomes: list[Prediction | str] = [""] * len(pieces)
    usable: dict[int, Waveform] = {}
    for i, (piece, future) in enumerate(zip(pieces, waveforms, strict=True)):
        try:
            waveform = future.result()
            recognizer.check(waveform, piece.item.transcript)
            usable[i] = waveform
        except UserError as error:
            outcomes[i] = piece.problem or _sentence(piece.item, error)
    transcripts = [pieces[i].item.transcript for i in usable]
    for i, prediction in zip(
        usable, recognizer.predict(list(usable.values()), transcripts, explain=explain), strict=True
    ):
        times = (pieces[i].start_seconds, pieces[i].end_seconds) if pieces[i].is_cut else (None, None)
        outcomes[i] = replace(prediction, start_seconds=times[0], end_seconds=times[1])
    return outcomes


def _sentence(item: Item, error: UserError) -> str:
    """Describe a problem with an item, beginning with its path; suggest a conversion for unreadable formats."""
    reason = str(error)
    path = str(item.path)
    reason = reason if reason.startswith(path) else f"{path}: {reason[:1].lower()}{reason[1:]}"
    if item.path.suffix.lower() in OTHER_SOUND and isinstance(error, AudioError) and error.fault == "unreadable":
        command = shlex.join(["ffmpeg", "-i", path, str(item.path.with_suffix(".wav"))])
        reason += f" Extract the sound: `{command}`."
    return reason
