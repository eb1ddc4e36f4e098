"""Explanations as files: JSON with every number, and a picture of the sound, the words and the gate."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from mmer_pipeline import audio, files
from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.digests import digest_of_texts
from mmer_pipeline.errors import UserError
from mmer_pipeline.pages.plotting import HUES, INK, png, styled
from mmer_pipeline.prediction.results import Explanation, Prediction

NAME_LENGTH = 50  # a file's name may have 255 bytes, and a character up to 4
ROW_INCHES = 0.26  # height of a word in the picture
WORD_LENGTH = 24  # of a longer one, the picture shows the beginning
MEANING = (
    "Gate: the share of the sound that the model passed on at a word (1: all, 0: none). Attention: the moments of the "
    "recording that the model looked at for a word. Both show what the model passed on, not why it decided."
)


def write_explanation(directory: Path, utterance_id: str, recording: Path, prediction: Prediction) -> list[Path]:
    """Write `<utterance>.json` and `<utterance>.png` to a directory; returns their paths.

    An id that is no file name, or is long, becomes one with a digest, so that no two are the same; and so does one that
    the file system takes for another, as "A" and "a".

    A system that does not combine words and sound has nothing to explain: nothing is written.

    Raises:
        AudioError: the recording cannot be read any more.
    """
    explanation = prediction.explanation
    if explanation is None:
        return []
    name = re.sub(r"[^\w.-]+", "_", utterance_id)[:NAME_LENGTH]
    if name != utterance_id or _is_of_another(directory / f"{name}.json", utterance_id):
        name = f"{name}-{digest_of_texts([utterance_id])[:8]}"
    json_path, picture = directory / f"{name}.json", directory / f"{name}.png"
    waveform = audio.load(recording, prediction.start_seconds, prediction.end_seconds)
    files.write_json(json_path, as_json(utterance_id, prediction, explanation))
    files.write_bytes(picture, png(_drawn(waveform, prediction, explanation)))
    return [json_path, picture]


def _is_of_another(path: Path, utterance_id: str) -> bool:
    try:
        found = files.read_json(path, "mmer-pipe predict")
    except UserError:  # there is none, or it is damaged
        return False
    return isinstance(found, dict) and found.get("utterance_id") != utterance_id


def as_json(utterance_id: str, prediction: Prediction, explanation: Explanation) -> dict[str, Any]:
    """The numbers of an explanation as plain values."""
    return {
        "utterance_id": utterance_id,
        "prediction": prediction.label,
        "probabilities": dict(prediction.probabilities),
        "transcript": prediction.transcript,
        "transcript_source": prediction.transcript_source,
        "meaning": MEANING,
        "gate": explanation.gate,
        "frame_seconds": [round(time, 4) for time in explanation.frame_seconds],
        "words": [
            {
                "word": word.text,
                "gate": word.gate,
                "peak_seconds": round(explanation.frame_seconds[int(np.argmax(word.attention))], 4),
                "attention": [round(weight, 6) for weight in word.attention],
            }
            for word in explanation.words
        ],
    }


@styled
def _drawn(waveform: np.ndarray, prediction: Prediction, explanation: Explanation) -> Figure:
    """The waveform; below it the attention of each word over time, and beside that the gate of each word."""
    words, seconds = explanation.words, len(waveform) / SAMPLE_RATE
    is_gated = explanation.gate is not None and bool(words)
    rows = ROW_INCHES * max(1, len(words))
    plot = Figure(figsize=(9.0, 2.0 + rows), layout="constrained")
    widths = (4, 1) if is_gated else (1,)
    grid = plot.add_gridspec(2, len(widths), height_ratios=(1.0, max(0.5, rows)), width_ratios=widths)
    sound = plot.add_subplot(grid[0, 0])
    sound.plot(np.arange(len(waveform)) / SAMPLE_RATE, waveform, linewidth=0.4, color=(INK, 0.7))
    sound.set(xlim=(0, seconds), yticks=[], title=f"{_shown(prediction.label)} ({prediction.probability:.2f})")
    sound.tick_params(labelbottom=not words)
    if not words:
        return plot
    weights = np.array([word.attention for word in words])  # [words, frames]
    times = explanation.frame_seconds
    half = (times[1] - times[0]) / 2 if len(times) > 1 else seconds / 2
    view = plot.add_subplot(grid[1, 0], sharex=sound)
    shown = weights / weights.max(axis=1, keepdims=True)  # each word's darkest moment is its peak
    extent = (times[0] - half, times[-1] + half, len(words) - 0.5, -0.5)
    view.imshow(shown, aspect="auto", cmap="Blues", interpolation="nearest", extent=extent)
    view.set(xlim=(0, seconds), xlabel="seconds", title="attention of each word to the sound")
    view.set_yticks(range(len(words)), [_shown(word.text) for word in words])
    view.grid(visible=False)
    if is_gated:
        gates = plot.add_subplot(grid[1, 1])
        gates.barh(range(len(words)), [word.gate or 0.0 for word in words], height=0.7, color=HUES[1])
        gates.set(xlim=(0, 1), ylim=(len(words) - 0.5, -0.5), yticks=[], xlabel="gate", title="acoustic gate")
    return plot


def _shown(text: str) -> str:
    """A label of the picture: not too long, and with a box for each character that the font does not have."""
    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    text = text if len(text) <= WORD_LENGTH else f"{text[: WORD_LENGTH - 1]}…"
    return "".join(character if ord(character) in known else "□" for character in text)
