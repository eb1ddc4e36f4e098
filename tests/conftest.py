"""What all tests share: a workplace of their own, tiny encoders, a tiny corpus, the real data beside the repo."""

import gc
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

# huggingface_hub and torch read these when they are imported: before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "mmer-pipeline-tests-have-no-hub-cache")
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / "mmer-pipeline-tests-cache")  # of converted models
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"  # without bf16, so that --precision auto is fp32 on every CPU
# Dask's workers are forked from a process that has imported everything, which takes five seconds.
os.environ["DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD"] = "forkserver"

import numpy as np
import pytest
import soundfile

from mmer_pipeline import paths
from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import Manifest, read_manifest, write_manifest
from mmer_pipeline.corpora.utterances import Utterance

SHARED = Path(__file__).resolve().parents[2] / "shared"
RATE = 16_000

EMOTIONS = {  # label → pitch in Hz and what is said
    "hap": (440.0, "Oh, that is wonderful news! [LAUGHTER]"),
    "ang": (330.0, "Don't you dare do that again!"),
    "neu": (220.0, "I think it is on the table."),
    "sad": (110.0, "She isn't coming home."),
}

TinyCorpus = Callable[..., Manifest]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first: with one file a worker, none is left alone with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # a stable sort: files stay together


@pytest.fixture(scope="session", autouse=True)
def _imports_of_workers() -> None:
    """Name what jobs import to the server that Dask forks workers from; the server starts with the first worker."""
    from distributed.utils import get_mp_context

    encoders = [f"transformers.models.{name}.modeling_{name}" for name in ("roberta", "wav2vec2")]
    stages = [f"mmer_pipeline.training.{name}" for name in ("fold", "evaluation")]
    get_mp_context().set_forkserver_preload(["distributed", "sklearn.metrics", *encoders, *stages])


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collection, which statsmodels runs in full for each correction."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's: no cache or runs directory, no mmer.toml, a working directory of its own."""
    # Under make the commands suggest no next one, and `make test` is make.
    for variable in (paths.CACHE_DIR_VARIABLE, paths.RUNS_DIR_VARIABLE, "MAKELEVEL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real recordings, encoders and configurations (`../shared` of the repository)."""
    if not SHARED.is_dir():
        pytest.skip(f"real recordings and encoders are missing: there is no {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny RoBERTa with a tokenizer of its own; hidden size 64. Not to be changed."""
    from mmer_pipeline.demo.encoders import tiny_text_encoder

    sentences = [text for _, text in EMOTIONS.values()] * 2
    return tiny_text_encoder(tmp_path_factory.mktemp("encoders") / "tiny-text", sentences)


@pytest.fixture(scope="session")
def tiny_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a tiny wav2vec2 with wav2vec2-base's kernels; hidden size 64, 4 heads. Not to be changed."""
    from mmer_pipeline.demo.encoders import tiny_speech_encoder

    return tiny_speech_encoder(tmp_path_factory.mktemp("encoders") / "tiny-speech")


@pytest.fixture(scope="session")
def tiny_corpus() -> TinyCorpus:
    """A function that writes a corpus of tones and reads its manifest: see `write_tiny_corpus`."""
    return write_tiny_corpus


@pytest.fixture
def manifest() -> Manifest:
    """A corpus of tones in the working directory, without features."""
    return write_tiny_corpus()


@pytest.fixture
def corpus(manifest: Manifest, tiny_text: Path, tiny_speech: Path) -> Manifest:
    """A corpus of tones in the working directory, with its features of both kinds in float16."""
    from helpers.pipeline import extract

    extract(manifest, tiny_text, tiny_speech)
    return manifest


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widest layers of published systems at a size that tests can train."""
    monkeypatch.setattr("mmer_pipeline.systems.published.makiuchi.WIDTH", 16)


@pytest.fixture(scope="session")
def encoders(tiny_text: Path, tiny_speech: Path) -> list[str]:
    """The options that name the tiny encoders."""
    return ["--text-encoder", str(tiny_text), "--speech-encoder", str(tiny_speech)]


@pytest.fixture(scope="session")
def trained(tiny_text: Path, tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with a corpus and trained runs: see `helpers.trained_runs`. Not to be changed."""
    from helpers.trained_runs import write_runs

    return write_runs(tmp_path_factory.mktemp("trained"), tiny_text, tiny_speech)


def write_tiny_corpus(directory: Path | None = None, *, sessions: int = 2, repeats: int = 1) -> Manifest:
    """Write `corpus/*.wav` and `cache/manifest.csv` below a directory (the working directory by default).

    Each session has two speakers, each speaker says every emotion `repeats` times, in dialogues of four: by
    default 16 utterances of 0.4 to 1.2 s. An emotion has a pitch and a sentence of its own.
    """
    directory = directory or Path.cwd()
    utterances = []
    for session in range(1, sessions + 1):
        for speaker in (f"{session}F", f"{session}M"):
            for take in range(1, repeats + 1):
                for emotion, (pitch, text) in EMOTIONS.items():
                    name = f"{speaker}-{take}-{emotion}"
                    audio = f"session{session}/{name}.wav"
                    _write_tone(directory / "corpus" / audio, pitch, name)
                    dialogue = f"{speaker}-{take}"
                    utterances.append(
                        Utterance(name, audio, None, None, speaker, str(session), dialogue, emotion, text)
                    )
    manifest = directory / "cache" / paths.MANIFEST_NAME
    label_map = BUILT_IN["iemocap-4"]
    write_manifest(manifest, utterances, root=directory / "corpus", corpus="tones", label_map=label_map)
    return read_manifest(manifest)


def _write_tone(path: Path, pitch_hz: float, name: str) -> None:
    """A tone in a little noise; its name decides length and noise."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    seconds = generator.uniform(0.4, 1.2)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * pitch_hz * time) + generator.normal(0, 0.01, len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="PCM_16")
