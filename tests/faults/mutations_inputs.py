"""Inputs that others made, mutated: a seed gives one input, which is refused with a message or read as it says.

`make faults` runs many seeds; a sample is part of the tests.
"""

import gc
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from faults import mutated_audio, mutated_corpora, mutated_structures

SECONDS = 120  # after which an input counts as one that hangs; most take milliseconds
MOST_MEMORY_KIB = 700 << 10  # by which one input may raise the memory of the process
SUBJECTS: tuple[Callable[[Random, Path], str], ...] = (
    *(mutated_corpora.run_value, mutated_corpora.run_line, mutated_corpora.run_bytes, mutated_corpora.run_tree),
    *(mutated_structures.run_json, mutated_structures.run_yaml, mutated_structures.run_parquet),
    *(mutated_structures.run_label_map, mutated_structures.run_settings, mutated_audio.run),
)


def run(seed: int, directory: Path) -> str:
    """Make the mutated input of a seed in `directory/input`, which is emptied first, and read it.

    Returns:
        "refused", or "same": the values are those of the unmutated input, apart from the mutated ones.

    Raises:
        AssertionError: anything else: a traceback, a wrong result, a hang, too much memory.
    """
    random = Random(seed)
    subject = random.choice(SUBJECTS)
    shutil.rmtree(directory / "input", ignore_errors=True)
    (directory / "input").mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limited():
            outcome = subject(random, directory / "input")
    except (AssertionError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AssertionError(f"seed {seed}, {subject.__name__}: {type(error).__name__}: {str(error)[:500]}") from error
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_MEMORY_KIB, f"seed {seed}, {subject.__name__}: {grown:,} KiB"
    return outcome


@contextmanager
def _limited() -> Iterator[None]:
    """Raise an AssertionError inside the block once it has taken too long; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise AssertionError(f"it took more than {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        gc.collect(0)
