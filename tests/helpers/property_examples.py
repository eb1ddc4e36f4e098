"""What properties are tried on: the profile of hypothesis, and texts, names, utterances and corpora to draw from."""

import os
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.transcripts import WAV2VEC2_ALPHABET, Alphabet, corpus_alphabet
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

Found = TypeVar("Found")

settings.register_profile(
    "quick",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("quick")

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # hundreds of folders are slow on some disks
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
# Text in which brackets, quotes, line ends and letters that change their length in upper case are likely.
SAID = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("[", "]", "{", "}", "[LAUGHTER]", "{LG}", "[a[b]c]", "[...]", " ", "\t", "\n", "\r", "\0", "\u2028"),
                *(",", '"', ";", "'", "\u2019", "\u02bc", "|", "<s>", "<pad>", "hello", "ß", "\u0149", "İ", "ı"),
                *("\u0390", "\u0345", "ﬁ", "e\u0301", "\u0301", "ş", "Łódź", "न\u093f", "٣", "\ufeff", "日本"),
            ]
        ),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
).map("".join)
SOME_NAMES = ["1", "01", "2", "10", "a2", "a10", "Ann", "s 1", "²", "٣"]
# Names without control characters and line ends, which are refused.
LETTERS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40)
NAME = st.one_of(st.sampled_from(SOME_NAMES), LETTERS.map(str.strip)).filter(lambda name: bool(name.strip()))
SECONDS = st.floats(0, 1e4, allow_nan=False)
UTTERANCES = st.builds(
    Utterance,
    utterance_id=NAME,
    audio=st.sampled_from(["a.wav", "d/b.flac", "x y.wav", 'q".wav', "ü.wav", "a,b.wav"]),
    start_seconds=st.none() | SECONDS,
    end_seconds=st.none() | SECONDS.map(lambda value: value + 10_001),
    speaker=NAME,
    session=NAME,
    dialogue=NAME,
    emotion=st.sampled_from(["hap", "exc", "ang", "neu", "sad"]),
    transcript=SAID,
)
CORPORA = st.lists(UTTERANCES, min_size=1, max_size=12, unique_by=lambda u: folded(u.utterance_id))
FOUR = BUILT_IN["iemocap-4"]
ALPHABETS = st.just(Alphabet(WAV2VEC2_ALPHABET)) | st.lists(SAID, max_size=4).map(corpus_alphabet)
IEMOCAP_ID = st.from_regex(r"Ses0[1-5][FM]_(impro0[1-8][ab]?|script0[1-3]_[1-3]b?)_[FM][0-9]{3}", fullmatch=True)


def folded(value: str) -> str:
    """A cell as a manifest gives it back."""
    return unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip()


def attempt(action: Callable[[], Found]) -> Found | UserError:
    """What comes of an action, the one permitted error included."""
    try:
        return action()
    except UserError as error:
        return error
