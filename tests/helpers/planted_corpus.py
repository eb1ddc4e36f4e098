"""A small corpus without any leak, in which a test plants one."""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from mmer_pipeline.audit.run_audit import make_audit
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance

RATE = 16_000
EMOTIONS = ("hap", "ang", "neu", "sad")
WORDS = (
    *("table", "window", "garden", "letter", "winter", "bottle", "river", "pencil", "market", "kitchen", "yellow"),
    *("silver", "quiet", "early", "often", "under", "behind", "carry", "follow", "wander", "listen", "borrow", "seven"),
    *("twelve", "morning", "evening", "station", "village", "number", "paper"),
)


@dataclass
class Corpus:
    """Rows, recordings and encoders before they are audited; utterance n is spoken in session 1 + n // 16."""

    directory: Path
    rows: list[Utterance]
    encoders: dict[str, str] = field(default_factory=dict)
    name: str = "planted"
    column: str = "session"

    def change(self, number: int, **cells: object) -> None:
        self.rows[number] = replace(self.rows[number], **cells)  # type: ignore[arg-type]

    def path(self, number: int) -> Path:
        return self.directory / "audio" / self.rows[number].audio

    def samples(self, number: int) -> np.ndarray:
        return soundfile.read(self.path(number))[0]

    def record(self, number: int, samples: np.ndarray, rate: int = RATE) -> None:
        soundfile.write(self.path(number), np.clip(samples, -1, 1), rate, subtype="PCM_16")

    def audit(self, *, audio: bool = True) -> dict:
        manifest = self.directory / "manifest.csv"
        label_map = BUILT_IN["iemocap-4"]
        write_manifest(manifest, self.rows, root=self.directory / "audio", corpus=self.name, label_map=label_map)
        return make_audit(read_manifest(manifest), column=self.column, audio=audio, encoders=self.encoders)

    def copied(self, directory: Path) -> "Corpus":
        """The same corpus in another directory."""
        shutil.copytree(self.directory / "audio", directory / "audio")
        return replace(self, directory=directory, rows=list(self.rows), encoders=dict(self.encoders))


def sound(seed: int, seconds: float = 1.3, envelope: int | None = None) -> np.ndarray:
    """Noise with the rhythm of syllables, about −23 dBFS; `envelope` is the seed of the rhythm alone."""
    random = np.random.default_rng(seed)
    count = round(seconds * RATE)
    rhythm = np.random.default_rng(seed if envelope is None else envelope).uniform(0.1, 1, round(seconds * 8) + 2)
    loudness = np.interp(np.arange(count) / RATE * 8, np.arange(len(rhythm)), rhythm)
    samples = random.normal(0, 1, count) * loudness
    return 0.07 * samples / samples.std()


def write_clean_corpus(directory: Path) -> Corpus:
    """48 utterances: three sessions of two speakers, all with other words, sounds and dialogues, and four classes."""
    random = np.random.default_rng(4)
    (directory / "audio").mkdir(parents=True)
    rows = []
    for number in range(48):
        session, speaker = 1 + number // 16, "FM"[number // 8 % 2]
        name = f"Ses0{session}{speaker}_impro{1 + number % 8:02d}_{speaker}{number:03d}"
        text = " ".join(random.choice(WORDS, 6, replace=False))
        emotion = EMOTIONS[number % 4]
        row = Utterance(
            *(name, f"{name}.wav", None, None, f"Ses0{session}_{speaker}", str(session), f"talk-{number}", emotion),
            transcript=text,
        )
        rows.append(row)
    encoder = directory / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    (encoder / "README.md").write_text("---\ntags:\n- speech\ndatasets:\n- librispeech_asr\n---\nA speech encoder.\n")
    corpus = Corpus(directory, rows, {"text encoder": "roberta-base", "speech encoder": str(encoder)})
    for number in range(48):
        corpus.record(number, sound(number, random.uniform(1.2, 1.5)))
    return corpus
