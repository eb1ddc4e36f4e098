"""Output that cannot show every letter, is full, or whose reader has gone: no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.run_example import write_import

from stages.cli import main

NAME = "théirs → α"


def report(charset, *options):
    write_import(Path("theirs.csv"), flipped=2)
    runner = CliRunner(charset=charset)
    result = runner.invoke(main, ["report", "--import", "theirs.csv", "--name", NAME, *options])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("charset", ["ascii", "cp1252"])
def test_letters_that_the_output_lacks_are_question_marks(charset):
    shown = report(charset).stdout
    assert "irs ? ?" in shown
    assert NAME in Path("runs/report-with-imports/report.md").read_text()


@pytest.mark.parametrize("charset", ["ascii", "utf-8"])
def test_json_has_every_letter_on_any_output(charset):
    value = json.loads(report(charset, "--json").stdout)
    assert [system["name"] for system in value["systems"]] == [NAME]


def run(*arguments, **options):
    command = [sys.executable, "-c", "from stages.cli import main; main(prog_name='mmer-pipe')", *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"]])
def test_an_output_that_is_full_is_one_message(arguments):
    with Path("/dev/full").open("w") as full, run(*arguments, stdout=full) as process:
        said = process.communicate(timeout=120)[1]
    assert (process.returncode, said) == (1, "Error: The output could not be written: No space left on device.\n")


def test_a_reader_that_has_gone_is_no_error_to_speak_of():
    reading, writing = os.pipe()
    os.close(reading)
    with run("--help", stdout=writing) as process:
        os.close(writing)
        assert process.communicate(timeout=120)[1] == ""
