"""Let changes fail as on a full, failing or read-only disk: every change, with every error, once or from then on.

The command must end with one message that names the file and what to do; nothing that was there before is damaged; and
the same command goes on once the disk works again.
"""

import errno
import os
import random
from itertools import product
from pathlib import Path

from faults.kills import undisturbed
from faults.shim import (
    ALL,
    ALLOCATE,
    CREATE,
    FAIL_FROM,
    FAIL_ONCE,
    MKDIR,
    MODE,
    OPEN,
    RENAME,
    RMDIR,
    SYNC,
    TRUNCATE,
    UNLINK,
    WRITE,
    Plan,
)
from faults.workplace import STAGES, FoundError, NoMoreError, Workplace, tree

CASES = tuple(STAGES)
_NEW = CREATE | WRITE | TRUNCATE | ALLOCATE | SYNC | RENAME | MKDIR
KINDS = {  # of changes that can fail with an error
    errno.ENOSPC: _NEW,
    errno.EDQUOT: _NEW,
    errno.EIO: ALL - MODE,
    errno.EROFS: CREATE | OPEN | WRITE | TRUNCATE | ALLOCATE | RENAME | UNLINK | MKDIR | RMDIR | MODE,
}
REMEDIES = ("run the same command again", "Make it writable", "Free some space")


def trial(case: str, seed: int, workplace: Workplace) -> dict[str, int | str]:
    """Let one change of a stage's command fail, or all from that one on; then run it without faults, and compare.

    Raises:
        FoundError: a promise was not kept.
        NoMoreError: every change has failed in every way.
    """
    workplace.prepare_states(case)
    changes, _ = undisturbed(case, workplace)
    ways = list(product(KINDS, (FAIL_FROM, FAIL_ONCE), range(1, changes + 1)))
    random.Random(case).shuffle(ways)  # any part of them is a fair sample
    if seed >= len(ways):
        raise NoMoreError
    number, action, at = ways[seed]
    workplace.restore(STAGES[case].before)
    before = tree(workplace.place)
    ended = workplace.run(case, Plan(action, at, KINDS[number], number, half=bool(seed % 2)))
    fired = workplace.control.fired
    if not fired:  # fewer changes can fail with this error
        return {"faults": 0}
    what = f"{errno.errorcode[number]} {'once' if action == FAIL_ONCE else 'from'} {fired}"
    try:
        _check_end(ended.code, ended.output, fired, workplace)
        _check_before(before, case, workplace)
        workplace.run_well(case)
        workplace.compare(case)
    except FoundError as error:
        raise FoundError(f"{what}: {error}\n{ended.output[-2500:]}") from None
    return {"faults": 1}


def _check_end(code: int, output: str, fired: str, workplace: Workplace) -> None:
    if code == 0:
        return  # the change was not needed; the comparison at the end finds out
    if code != 1 or "Traceback" in output:
        raise FoundError(f"exit {code} instead of a message")
    kind, path = fired.split(" ", 2)[1], Path(fired.split(" ", 2)[2])
    name = path.name.removeprefix(".").removesuffix(".tmp").removesuffix(".lock").removesuffix(".partial.jsonl")
    name = name.replace(".partial.new", "").replace(".partial.h5", "")
    # What can be done without: a note that cannot be written, a file that cannot be removed. Then something else fails.
    is_note = path.name.endswith(".verified") or kind in ("unlink", "rmdir")
    names = {name, name.rsplit(".", 1)[0], path.parent.name, os.path.relpath(path.parent, workplace.place)}
    if ".tmp/" in str(path):  # a directory that is written under another name
        names |= {part.removeprefix(".").removesuffix(".tmp") for part in path.parts if part.endswith(".tmp")}
    begins = [at for at in map(output.find, ("Error: ", " failed: ")) if at >= 0]  # `cv` has a line for each job, too
    message = output[min(begins) :] if begins else ""
    is_named = any(name and name in message for name in names)
    if not (is_named or is_note or (kind == "sync" and path.is_dir())):
        raise FoundError(f"no message names {name}")
    if not any(remedy in message for remedy in REMEDIES):
        raise FoundError("the message does not say what to do")


def _check_before(before: dict[str, bytes | None], case: str, workplace: Workplace) -> None:
    """Check that every earlier file is there, with its old content or that of the finished command."""
    now, end = tree(workplace.place), tree(workplace.state(case))
    changed = [
        name
        for name, content in before.items()
        if name not in now or now[name] not in (content, end.get(name, content))
    ]
    if changed:
        raise FoundError(f"what was there before is damaged: {', '.join(changed[:5])}")
