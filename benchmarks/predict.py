"""Prediction: real-time factor, latency and start-up, against the plain way.

The plain way takes one file after another: transformers' pipeline writes the transcript, then the model classifies that
one utterance. Both use Moonshine tiny and MiniLM, two threads or the GPU, and the same recordings (the demo's).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import pipeline

from benchmarks.measure import Bench, Figure, in_turn, median_process
from mmer_pipeline import audio, paths
from mmer_pipeline.audio import SAMPLE_RATE
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET
from mmer_pipeline.demo.corpus import write_demo_corpus
from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.encoders.asr import MOONSHINE_TOKENS_PER_SECOND
from mmer_pipeline.encoders.embedded import embedded_directory
from mmer_pipeline.encoders.encoder_files import resolve_encoder
from mmer_pipeline.prediction.packing import pack
from mmer_pipeline.prediction.pipeline import predict_items
from mmer_pipeline.prediction.recognizer import EmotionRecognizer
from mmer_pipeline.prediction.results import Item
from mmer_pipeline.prediction.trained_model import EncoderReference, Member, TrainedModel
from mmer_pipeline.presets import PRESETS
from mmer_pipeline.systems.base import Parts
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training.build_model import model_class

LABELS = ("happy", "angry", "neutral", "sad")
TARGET = 2.0  # times the plain way's throughput


def figures(bench: Bench) -> Iterator[Figure]:
    """Throughput and latency with loaded models, then the time of a whole command for one recording."""
    root = write_demo_corpus(bench.directory / "recordings", sessions=(1,))
    recordings = sorted(root.rglob("sentences/**/*.wav"))[: bench.count(74, 3)]
    model = untrained_model(bench.directory)
    recognizer = EmotionRecognizer(model, device=str(bench.device))
    plain = plain_way(recognizer, bench)
    seconds = sum(audio.sample_count(path) for path in recordings) / SAMPLE_RATE

    def ours(files: Sequence[Path]) -> Callable[[], Any]:
        items = [Item(path.stem, path) for path in files]
        return lambda: [outcome.predictions[0].label for outcome in predict_items(recognizer, items)]

    def baseline(files: Sequence[Path]) -> Callable[[], Any]:
        return lambda: [plain(path) for path in files]

    both = in_turn(ours(recordings), baseline(recordings), bench)
    yield Figure(
        "predict, many files: real-time factor", f"small, {len(recordings)} files, {seconds:.0f} s",
        both.ours / seconds, "s/s", both.baseline / seconds, both.ratio,
        target=f"{TARGET:g} × the plain way", met=both.ratio >= TARGET,
        note=f"{len(recordings) / both.ours:.1f} files/s, plain {len(recordings) / both.baseline:.1f}",
    )  # fmt: skip
    middle = sorted(recordings, key=audio.sample_count)[len(recordings) // 2]
    one = in_turn(ours([middle]), baseline([middle]), bench)
    length = audio.sample_count(middle) / SAMPLE_RATE
    yield Figure(
        "predict, one file: latency", f"small, {length:.1f} s", one.ours, "s", one.baseline, one.ratio,
        note="models loaded",
    )  # fmt: skip
    pack(model, bench.directory / "packed", cross_validation=None)
    command = ("-m", "stages.cli", "predict", str(middle), "--model", str(bench.directory / "packed"))
    whole = median_process((*command, "--device", str(bench.device)), bench.count(bench.rounds, 1))
    yield Figure(
        "mmer-pipe predict, one file, with start-up", "small", whole.seconds, "s",
        note=f"peak memory {whole.peak_bytes / 2**30:.2f} GiB",
    )  # fmt: skip


def plain_way(recognizer: EmotionRecognizer, bench: Bench) -> Callable[[Path], str]:
    """A function from a recording to its emotion, made of transformers' pipeline and the model."""
    asr: Any = pipeline(
        "automatic-speech-recognition", model=str(embedded_directory("embedded/moonshine-tiny")), device=bench.device
    )

    def classify(path: Path) -> str:
        waveform = audio.load(path)
        limit = int(MOONSHINE_TOKENS_PER_SECOND * len(waveform) / SAMPLE_RATE)
        text = asr({"raw": waveform, "sampling_rate": SAMPLE_RATE}, generate_kwargs={"max_new_tokens": limit})["text"]
        return recognizer.predict([waveform], [text])[0].label

    return classify


def untrained_model(directory: Path) -> TrainedModel:
    """MMER with the embedded encoders and random heads, as `train` would leave it."""
    settings = settings_for("mmer", fold=0, **PRESETS["small"])
    text, speech = (resolve_encoder(name) for name in (settings.text_encoder, settings.speech_encoder))
    model = model_class("mmer").build(settings, Parts(list(LABELS), list(WAV2VEC2_ALPHABET), speech, text))
    place = directory / "untrained"
    shutil.rmtree(place, ignore_errors=True)
    model.save_pretrained(place)
    return TrainedModel(
        name="untrained",
        settings=settings,
        labels=LABELS,
        members=(Member(place, 0, "", digest_of_result(place / paths.WEIGHTS_NAME)),),
        text=EncoderReference(settings.text_encoder, None, text.digest()),
        corpus="none",
        utterances=0,
        versions={},
    )
