"""Signals that ask long-running work to stop."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.progress import STOP_SIGNALS, StopRequest

REPOSITORY = Path(__file__).resolve().parents[2]
# Shows a bar on the terminal until it is asked to stop, and writes a file then, as training writes its state.
WORKING = """
import fcntl, signal, termios, time
from pathlib import Path
from stages.progress import StopRequest, Work
from stages.shared_options import Common

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even if the tests were started with nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # the terminal of this session from now on
common = Common(cache=None, runs=None, device="cpu", as_json=False, quiet=False, tables=False)
with StopRequest() as stop, Work(common, "work") as work:
    Path("started").touch()
    while not stop.requested:
        work.show(1, 100)
        time.sleep(0.001)
    print("Stopping")
    work.show(2, 100)
    Path("saved").touch()
"""


@pytest.fixture(autouse=True)
def _signals_of_a_terminal():
    """The handlers that a program has at its start: in the background, or after nohup, some signals are ignored."""
    start = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in start.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_asks_to_stop(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_and_a_second_hangup_does_not():
    with StopRequest() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_second_signal_does_not_interrupt_processes_of_torchrun_which_may_all_get_two(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with StopRequest() as stop:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


def test_after_nohup_a_hangup_is_ignored_as_before():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_work_whose_terminal_is_closed_saves_and_stops():
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING], stdin=other_end, stdout=other_end, stderr=other_end, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    os.close(other_end)
    while not Path("started").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # the bar is being drawn
    os.close(terminal)
    assert process.wait() == 0
    assert Path("saved").exists()
