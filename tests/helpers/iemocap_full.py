"""A tree of IEMOCAP's full size and form, with its pitfalls planted in known numbers; words and sounds are ours.

`write_full_tree` writes it; what it returns says what was planted, so that a reader or an audit can be held
against it. Counts are those of the corpus, typed in here once more: the tests compare two sources.
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np

from mmer_pipeline.demo.iemocap_tree import (
    CATEGORY_NAMES,
    HEADER,
    RELEASE_DIR,
    Turn,
    evaluation_block,
    transcription_line,
)

RATE = 16_000
COUNTS = {  # label → utterances of session 1 to 5; the split of sur, fea, dis, oth and xxx is made up, not their sums
    "neu": (384, 362, 320, 258, 384),
    "hap": (135, 117, 135, 65, 143),
    "exc": (143, 210, 151, 238, 299),
    "ang": (229, 137, 240, 327, 170),
    "sad": (194, 197, 305, 143, 245),
    "fru": (280, 325, 382, 481, 381),
    "sur": (27, 20, 23, 19, 18),
    "fea": (8, 6, 7, 9, 10),
    "dis": (1, 1, 0, 0, 0),
    "oth": (1, 0, 1, 1, 0),
    "xxx": (417, 436, 572, 562, 520),
}
FOUR = ("neu", "hap", "exc", "ang", "sad")  # the labels of the 5,531
HAPPY = ("hap", "exc")
SCRIPTS = ("script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1", "script03_2")
BRACES = {"LAUGHTER": "{LG}", "BREATHING": "{BR}", "GARBAGE": "{NS}"}  # what some copies have in place of the tags
_MAC_LEFTOVER = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xb0\xff"  # not text, not audio

# Kinds of tagged utterances: how many, of happy labels or others, the tags, whether words stand beside them.
_TAGGED = (
    (20, True, ("LAUGHTER",), False),
    (90, True, ("LAUGHTER",), True),
    (3, True, ("LAUGHTER", "LAUGHTER"), True),
    (1, True, ("LAUGHTER", "BREATHING"), True),
    (3, False, ("LAUGHTER",), True),
    (8, False, ("BREATHING",), False),
    (17, False, ("BREATHING",), True),
    (1, False, ("BREATHING", "GARBAGE"), True),
    (3, False, ("GARBAGE",), False),
    (17, False, ("GARBAGE",), True),
    (8, False, ("garbage",), True),
    (1, True, ("laughter",), True),
)
# Recurring lines stand once in every session. Each row: how many lines, how many of their five copies have
# another label than the rest; no two of these the same, so that the majority in training is never a tie.
_RECURRING = ((17, 0), (57, 1), (40, 2))
_IMPROVISED_LINES = 4  # of the recurring ones; the others are scripted


@dataclass(frozen=True)
class Planted:
    """How many of each pitfall there are. Counts of utterances are of the 5,531 in four classes."""

    utterances: int = 5531
    turns: int = 10_039
    dialogues: int = 151
    prefix_is_not_the_speaker: int = 2750
    tagged_utterances: int = 172
    tag_only_utterances: int = 31  # their text is empty once the tags are stripped
    laughter_utterances: int = 117  # with [LAUGHTER], in capitals
    laughter_happy: int = 114
    recurring: int = 570  # of four words or more, word for word in another session as well
    recurring_scripted: int = 550
    recurring_right: int = 433  # whose label is the one that most of the other sessions' copies have: 76 %
    lines_without_id: int = 14
    ids_without_label: int = 9
    replaced_bytes: int = 3
    tags: tuple[tuple[str, int], ...] = (
        *(("LAUGHTER", 120), ("BREATHING", 27), ("GARBAGE", 21)),
        *(("garbage", 8), ("laughter", 1)),
    )
    braces: tuple[tuple[str, int], ...] = (("LG", 121), ("NS", 29), ("BR", 27))  # the same, in the other copies


@dataclass(frozen=True)
class FullTree:
    """A tree that was written, and all that stands in it."""

    root: Path
    turns: tuple[Turn, ...]  # every labelled turn, in the order of the files
    planted: Planted


def write_full_tree(
    directory: Path, *, audio: Literal["none", "tiny", "full"] = "tiny", braces: bool = False, seed: int = 0
) -> FullTree:
    """Write the tree below `directory`; the same arguments give the same bytes.

    Recordings are tones, each of its own pitch: "tiny" ones of 0.12 to 0.3 s, or as long as the turn with
    silence behind the tone ("full": 1.4 GB to a reader, 80 MB on the disk, for the files are sparse).
    """
    turns, planted = full_turns(seed), Planted()
    if braces:
        turns = tuple(replace(turn, transcript=_in_braces(turn.transcript)) for turn in turns)
    root = directory / RELEASE_DIR
    bad_byte = {turn.utterance for turn in [t for t in turns if "'" in t.transcript][::400][: planted.replaced_bytes]}
    assert len(bad_byte) == planted.replaced_bytes
    pitch = iter(range(len(turns)))
    for number, (dialogue, group) in enumerate(groupby(turns, key=lambda turn: turn.dialogue)):
        said = list(group)
        session = root / f"Session{said[0].session}"
        evaluation = session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt"
        transcription = session / "dialog" / "transcriptions" / f"{dialogue}.txt"
        recordings = session / "sentences" / "wav" / dialogue
        _write(evaluation, HEADER + "".join(map(evaluation_block, said)))
        lines = b"".join(_transcription(turn, index, turn.utterance in bad_byte) for index, turn in enumerate(said))
        if number < planted.lines_without_id:
            lines += b"M: [BREATHING]\n" if number % 2 else b"F: What was that?\n"
        elif number < planted.lines_without_id + planted.ids_without_label:
            lines += f"{dialogue}_MXX0 [100.0000-101.0000]: Nobody labelled this line {number}.\n".encode()
        _write(transcription, lines)
        recordings.mkdir(parents=True)
        for turn in said:
            if audio != "none":
                _write_wav(recordings / f"{turn.utterance}.wav", turn, next(pitch), full=audio == "full")
        _write_clutter(evaluation, transcription, recordings, said)
    return FullTree(root, turns, planted)


def full_turns(seed: int = 0) -> tuple[Turn, ...]:
    """All 10,039 turns in the order of the files, without recordings."""
    random = np.random.default_rng(seed)
    turns = _with_speakers([turn for session in range(1, 6) for turn in _labels(session, random)], random)
    talk = _Talk(random)
    texts: dict[str, str] = {}
    _plant_recurring(turns, texts, talk, random)
    _plant_tags(turns, texts, talk, random)
    seconds = np.clip(random.lognormal(np.log(3.5), 0.709, len(turns)), 0.58, 33.9)  # median 3.5, mean 4.5
    seconds[int(seconds.argmax())] = 34.1388
    now, finished, dialogue = 0.0, [], ""
    for turn, length in zip(turns, seconds.tolist(), strict=True):
        text = texts.get(turn.utterance) or talk.line(round(length * 2.8))
        now = now if turn.dialogue == dialogue else 0.0
        dialogue, start = turn.dialogue, now + 0.4
        now = start + length
        finished.append(replace(turn, start_seconds=start, end_seconds=now, transcript=text))
    return tuple(finished)


def _dialogue_names(session: int) -> list[str]:
    """The dialogues of a session; 151 in all."""
    improvised = {letter: [f"impro{number:02d}" for number in range(1, 8 + (session > 1))] for letter in "FM"}
    scripts = {letter: list(SCRIPTS) for letter in "FM"}
    if session == 3:
        improvised["M"] = [f"impro{name}" for name in ("01", "02", "03", "04", "05a", "05b", "06", "07", "08a", "08b")]
    if session == 5:
        scripts["M"].insert(1, "script01_1b")
    return [f"Ses{session:02d}{letter}_{name}" for letter in "FM" for name in improvised[letter] + scripts[letter]]


def _labels(session: int, random: np.random.Generator) -> Iterator[Turn]:
    """A session's labels, dealt out to its dialogues; the turns have neither words, times nor speakers yet."""
    labels = random.permutation([label for label, counts in COUNTS.items() for _ in range(counts[session - 1])])
    names = _dialogue_names(session)
    ends = 24 * np.arange(1, len(names) + 1)  # the shortest dialogue has 24 turns
    ends += np.cumsum(random.multinomial(len(labels) - ends[-1], random.dirichlet([4.0] * len(names))))
    for name, part in zip(names, np.split(labels, ends[:-1]), strict=True):
        for label in part.tolist():
            yield Turn(session, name, "", 0.0, 0.0, label, 3.0, 2.5, 3.0, "")


def _with_speakers(turns: Sequence[Turn], random: np.random.Generator) -> list[Turn]:
    """Number the turns; exactly so many of the 5,531 as in the corpus are the other actor's than the prefix says."""
    four = [index for index, turn in enumerate(turns) if turn.label in FOUR]
    other = set(random.permutation(four)[: Planted().prefix_is_not_the_speaker].tolist())
    other |= {index for index, turn in enumerate(turns) if turn.label not in FOUR and random.random() < 0.5}
    numbers: dict[tuple[str, str], int] = {}
    named = []
    for index, turn in enumerate(turns):
        prefix = turn.dialogue[5]
        speaker = {"F": "M", "M": "F"}[prefix] if index in other else prefix
        number = numbers.setdefault((turn.dialogue, speaker), 0)
        numbers[turn.dialogue, speaker] += 1
        named.append(replace(turn, utterance=f"{turn.dialogue}_{speaker}{number:03d}"))
    return named


def _plant_recurring(turns: Sequence[Turn], texts: dict[str, str], talk: "_Talk", random: np.random.Generator) -> None:
    """Give a turn of each session the same words; the pattern of labels decides what a look-up gets right."""
    free: dict[tuple[int, bool, str], list[str]] = {}
    for index in random.permutation(len(turns)).tolist():
        turn = turns[index]
        free.setdefault((turn.session, "script" in turn.dialogue, turn.label), []).append(turn.utterance)
    patterns = [others for count, others in _RECURRING for _ in range(count)]
    for number, others in enumerate(random.permutation(patterns).tolist()):
        labels = random.permutation(["neu", "exc", "ang", "sad"]).tolist()
        mine = random.permutation(([labels[0]] * 5 + labels[1 : 1 + others])[-5:]).tolist()
        line = talk.line(int(random.integers(5, 12)))
        for session, label in enumerate(mine, start=1):
            texts[free[session, number >= _IMPROVISED_LINES, label].pop()] = line


def _plant_tags(turns: Sequence[Turn], texts: dict[str, str], talk: "_Talk", random: np.random.Generator) -> None:
    order = [turns[index] for index in random.permutation(len(turns)).tolist()]
    free = {
        happy: [t for t in order if t.label in FOUR and (t.label in HAPPY) == happy and t.utterance not in texts]
        for happy in (True, False)
    }
    for count, happy, tags, with_words in _TAGGED:
        for _ in range(count):
            pieces = talk.line(int(random.integers(4, 12))).split() if with_words else []
            for tag in tags:
                pieces.insert(int(random.integers(len(pieces) + 1)), f"[{tag}]")
            texts[free[happy].pop().utterance] = " ".join(pieces)


class _Talk:
    """Sentences from a small grammar. One of four words or more is never said twice; the short ones are."""

    SHORT = (
        *("Yes.", "No.", "Okay.", "What?", "Right.", "Why not?", "Oh, really?", "I know.", "All right.", "Come on."),
        *("Maybe so.", "You did?", "Not again.", "Fine, then.", "Is it?", "Never mind.", "That's it.", "Go ahead."),
    )
    OPENERS = ("", "", "", "Well, ", "Look, ", "You know, ", "I mean, ", "Listen, ")
    SUBJECTS = ("I", "we", "you", "they", "she", "he", "my brother", "your aunt", "the neighbours", "nobody")
    VERBS = (
        *("found", "lost", "sold", "painted", "kept", "wanted", "couldn't carry", "forgot", "bought", "broke"),
        *("hid", "didn't see", "mended", "borrowed"),
    )
    OBJECTS = (
        *("the blue suitcase", "an old letter", "that wooden chair", "the spare keys", "two train tickets"),
        *("a broken lamp", "the garden gate", "my winter coat", "her violin", "some photographs", "the last lemon"),
        *("his bicycle", "every newspaper", "our map"),
    )
    PLACES = (
        *("behind the station", "in the kitchen", "by the river", "at the harbour", "under the stairs", "near town"),
        *("on the ferry", "outside the bakery", "in the attic", "across the street"),
    )
    TIMES = ("on Monday", "last winter", "this morning", "at midnight", "years ago", "before lunch", "again", "at last")
    JOINTS = ("and", "but", "because", "so", "when")

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._said: set[str] = set()

    def line(self, words: int) -> str:
        """Something of about so many words."""
        if words < 4:
            return self._pick(self.SHORT)
        while True:
            text = self._pick(self.OPENERS) + self._clause()
            while len(text.split()) + 4 < words:
                text += f" {self._pick(self.JOINTS)} {self._clause()}"
            key = " ".join(re.findall(r"[a-z']+", text.lower()))
            if key not in self._said:
                self._said.add(key)
                return text[0].upper() + text[1:] + self._pick(("...", ".", ".", "?", "!"))

    def _clause(self) -> str:
        parts = [self.SUBJECTS, self.VERBS, self.OBJECTS, *((self.PLACES,) if self._random.random() < 0.6 else ())]
        return " ".join(self._pick(part) for part in (*parts, self.TIMES))

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[int(self._random.integers(len(choices)))]


def _in_braces(text: str) -> str:
    return re.sub(r"\[(\w+)\]", lambda match: BRACES[match[1].upper()], text)


def _transcription(turn: Turn, index: int, bad_byte: bool) -> bytes:
    """The transcription's line: every other time ends a digit later than in the file of labels."""
    line = transcription_line(replace(turn, end_seconds=turn.end_seconds + 0.0001 * (index % 2))).encode()
    return line.replace(b"'", b"\x92", 1) if bad_byte else line


def _write_wav(path: Path, turn: Turn, pitch: int, *, full: bool) -> None:
    """16 kHz, 16 bit, mono, a tone of a pitch and loudness of its own; written by hand, for there are 10,039."""
    length = turn.end_seconds - turn.start_seconds
    tone = np.arange(round((0.12 + 0.18 * length / 34.2) * RATE))
    samples = (3000 + 1300 * (pitch % 7)) * np.sin(2 * np.pi * (120 + 0.05 * pitch) / RATE * tone)
    size = 2 * (round(length * RATE) if full else len(tone))
    form = (16, 1, 1, RATE, 2 * RATE, 2, 16)  # PCM, one channel, bytes a second, bytes and bits a sample
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVEfmt ", *form, b"data", size)
    with path.open("wb") as stream:
        stream.write(head + samples.astype("<i2").tobytes())
        stream.truncate(44 + size)


def _write_clutter(evaluation: Path, transcription: Path, recordings: Path, turns: Sequence[Turn]) -> None:
    """What a reader has to step over: macOS leftovers, and the files of single annotators."""
    for path in (evaluation, transcription, recordings / f"{turns[0].utterance}.wav"):
        path.with_name(f"._{path.name}").write_bytes(_MAC_LEFTOVER)
        path.with_name(".DS_Store").write_bytes(_MAC_LEFTOVER)
    vote: dict[str, Callable[[Turn], str]] = {
        "Categorical/{}_e2_cat.txt": lambda turn: f"{turn.utterance} :{CATEGORY_NAMES[turn.label]}; ()\n",
        "Attribute/{}_e2_atr.txt": lambda turn: f"{turn.utterance} :act {turn.activation:.0f}; :val 3;  ()\n",
        "Self-evaluation/{}_f1_cat.anvil": lambda turn: f"{turn.utterance} :Anger; ()\n",
    }
    for name, line in vote.items():
        _write(evaluation.parent / name.format(evaluation.stem), "".join(map(line, turns)))


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
