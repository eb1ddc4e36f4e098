"""The IEMOCAP reader on trees that were damaged at random: a reading or one clear message, never a traceback.

A few hundred damages in every test run; `MMER_FUZZ=10000 pytest tests/corpora/test_iemocap_fuzz.py -s` for more, with
what came of them. A damage is known by its number alone: `MMER_FUZZ_FIRST=4711 MMER_FUZZ=1` repeats one.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from mmer_pipeline.corpora.labels import BUILT_IN
from mmer_pipeline.corpora.manifest import read_manifest, write_manifest
from mmer_pipeline.corpora.preparation import prepare
from mmer_pipeline.corpora.published_counts import compare
from mmer_pipeline.corpora.readers import Reading, read_corpus
from mmer_pipeline.demo.iemocap_tree import SESSIONS, Turn, write_tree
from mmer_pipeline.errors import UserError

COUNT = int(os.environ.get("MMER_FUZZ", "300"))
FIRST = int(os.environ.get("MMER_FUZZ_FIRST", "0"))
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # thousands of folders are slow on some disks
LABELS = BUILT_IN["iemocap-4"]
Tree = dict[Path, bytes]  # every file below a root, by its relative path
Damage = Callable[[Path, list[Path], Random], None]  # gets a file or folder, all of them, and chance


# Damages of a file's content: bytes → bytes.


def flip(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 4) if changed else 0):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def flip_a_bit(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def behead(content: bytes, random: Random) -> bytes:
    return content[random.randrange(len(content) + 1) :]


def empty(content: bytes, random: Random) -> bytes:
    return b""


def noise(content: bytes, random: Random) -> bytes:
    return random.randbytes(random.randrange(300))


def insert(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) + 1)
    signs = (b"\0", b"\n", b"\r", b"\t", b"[", b"]", b":", b"\xef\xbb\xbf", b"\xe2\x80\xa8")
    return content[:place] + random.choice((*signs, random.randbytes(3), b"_F" * 500)) + content[place:]


def lines_in_disorder(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    first, second = random.randrange(len(lines)), random.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def line_twice(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    lines.insert(random.randrange(len(lines)), random.choice(lines))
    return b"\n".join(lines)


def line_lost(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    del lines[random.randrange(len(lines))]
    return b"\n".join(lines)


def other_encoding(content: bytes, random: Random) -> bytes:
    return content.decode("latin-1").encode(random.choice(("utf-16", "utf-8-sig", "utf-32-be")))


def other_line_ends(content: bytes, random: Random) -> bytes:
    return content.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b" ")))


# Damages of the tree.


def delete(path: Path, _others: list[Path], _random: Random) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def rename(path: Path, others: list[Path], random: Random) -> None:
    name = path.name
    cases = (name.upper(), name.lower(), name.swapcase())
    others_name = random.choice(others).name
    target = path.with_name(random.choice((*cases, f"._{name}", f"{name}.bak", f"{name} (1)", others_name, "Ses.txt")))
    if not target.exists():
        path.rename(target)


def copy(path: Path, others: list[Path], random: Random) -> None:
    target = path.with_name(random.choice((f"{path.stem} (copy){path.suffix}", random.choice(others).name)))
    if not target.exists():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)


def move(path: Path, others: list[Path], random: Random) -> None:
    folder = random.choice([other for other in others if other.is_dir()] or [path.parent])
    if not folder.is_relative_to(path) and not (folder / path.name).exists():
        path.rename(folder / path.name)


def exchange(path: Path, others: list[Path], random: Random) -> None:
    """A file gets what stands in another: labels in place of words, text in place of a recording."""
    files = [other for other in others if other.is_file()]
    if path.is_file() and files:
        path.write_bytes(random.choice(files).read_bytes())


def folder_for_file(path: Path, others: list[Path], random: Random) -> None:
    delete(path, others, random)
    path.mkdir()


def file_for_folder(path: Path, others: list[Path], random: Random) -> None:
    delete(path, others, random)
    path.write_bytes(random.choice((b"", b"text")))


def link(path: Path, others: list[Path], random: Random) -> None:
    """A link to itself, to nothing, or to its own parent: a loop of folders."""
    delete(path, others, random)
    path.symlink_to(random.choice((path, path.with_name("nowhere"), path.parent)))


def one_deeper(path: Path, _others: list[Path], _random: Random) -> None:
    if path.is_dir():
        path.rename(path.with_name("held for a moment"))
        path.mkdir()
        path.with_name("held for a moment").rename(path / path.name)


CONTENT = (
    *(flip, flip, flip_a_bit, flip_a_bit, cut, cut, behead, empty, noise, insert, insert),
    *(lines_in_disorder, line_twice, line_lost, other_encoding, other_line_ends),
)
STRUCTURE: tuple[Damage, ...] = (
    *(delete, rename, copy, move, exchange, folder_for_file, file_for_folder, link, one_deeper),
)


def small_tree(directory: Path) -> Tree:
    """A dialogue a session, two in the last, and some of what macOS and single annotators leave."""
    turns = []
    for session, name in (*((s, f"Ses{s:02d}F_impro01") for s in SESSIONS), (5, "Ses05M_script01_1b")):
        for index, label in enumerate(("neu", "ang", "xxx")):
            text = ("Where is it?", "[LAUGHTER] On the table.", "{LG}")[index]
            tone = 0.2 * np.sin(np.arange(2000, dtype=np.float32) / (5 + index)) if index < 2 else None
            utterance = f"{name}_{'FM'[index % 2]}{index:03d}"
            turns.append(Turn(session, name, utterance, index, index + 0.9, label, 2.5, 3.0, 2.0, text, tone))
    root = write_tree(directory, turns)
    for folder in (root, root / "Session1", root / "Session2/dialog/EmoEvaluation", root / "Session3/sentences/wav"):
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1\xff")
    labels = root / "Session4/dialog/EmoEvaluation"
    (labels / "._Ses04F_impro01.txt").write_bytes(b"\0\5\x16\7Mac OS X\xff")
    (labels / "Categorical").mkdir()
    (labels / "Categorical" / "Ses04F_impro01_e2_cat.txt").write_text("Ses04F_impro01_F000 :Anger; ()\n")
    return {path.relative_to(directory): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lay_out(tree: Tree, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    for folder in {path.parent for path in tree}:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for path, content in tree.items():
        (directory / path).write_bytes(content)


def damage(directory: Path, tree: Tree, random: Random) -> list[str]:
    """Do one to three things to a tree that was just laid out, and say what was done."""
    done = []
    files = [directory / path for path in tree]
    texts = [path for path in files if path.suffix == ".txt"]
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        path, change = random.choice(texts if random.random() < 0.75 else files), random.choice(CONTENT)
        path.write_bytes(change(path.read_bytes(), random))
        done.append(f"{change.__name__} {path.relative_to(directory)}")
    for _ in range(random.choice((1, 1, 2)) if random.random() < 0.5 else 0):
        there = sorted(path for path in directory.rglob("*") if not path.is_symlink())
        if there:
            path, act = random.choice(there), random.choice(STRUCTURE)
            act(path, there, random)
            done.append(f"{act.__name__} {path.relative_to(directory)}")
    return done


def outcome(root: Path, whole: Reading, work: Path) -> str:
    """What becomes of a tree: a word for the statistics. Anything but a reading or a `UserError` passes through."""
    try:
        reading = read_corpus("iemocap", root)
    except UserError:
        return "refused by the reader"
    names = [utterance.utterance_id for utterance in reading.utterances]
    assert names
    assert len(set(names)) == len(names)
    assert all("\n" not in note for note in reading.notes)
    try:
        prepared = prepare(reading, LABELS)
    except UserError:
        return "refused by prepare"
    agreement = compare("iemocap", LABELS, prepared.utterances, ())
    assert agreement is not None
    assert agreement.found == len(prepared.utterances)
    assert all(prepared.problem_lines())
    write_manifest(work, prepared.utterances, root=root, corpus="iemocap", label_map=LABELS)
    assert [u.utterance_id for u in read_manifest(work).utterances] == [u.utterance_id for u in prepared.utterances]
    if reading.notes:
        return "read, with notes"
    if reading.utterances == whole.utterances:
        return "read as it was" if not prepared.excluded else "read as it was, but recordings are lost"
    labels, before = ({u.utterance_id: u.emotion for u in r.utterances} for r in (reading, whole))
    return "read with other words and no note" if labels == before else "read with other labels and no note"


def fuzz(directory: Path, numbers: range) -> Counter[str]:
    tree = small_tree(directory / "pristine")
    whole = read_corpus("iemocap", directory / "pristine")
    ground, found = directory / "damaged", Counter[str]()
    for number in numbers:
        lay_out(tree, ground)
        done = damage(ground, tree, Random(number))
        try:
            found[outcome(ground, whole, directory / "manifest.csv")] += 1
        except BaseException as error:
            error.add_note(f"damage {number}: {'; '.join(done)}")
            raise
    return found


def test_a_damaged_tree_gives_a_reading_or_one_message() -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        found = fuzz(Path(directory), range(FIRST, FIRST + COUNT))
    print("\n" + "\n".join(f"{count:7} {what}" for what, count in found.most_common()))
    assert found.total() == COUNT
    if FIRST == 0 and COUNT >= 300:  # the damages are of both kinds; one that moves labels is not passed over
        assert found["refused by the reader"] > COUNT / 20
        assert found["read, with notes"] > COUNT / 20
        assert found["read with other labels and no note"] == 0
