"""Names of runs, corpora and systems: those that no directory or page can have are refused where they are given."""

import pytest
from helpers.command_line import invoke

from mmer_pipeline.names import MOST_BYTES, as_title, fault_of_run, fault_of_title

NO_TITLES = {"": "empty", "  ": "empty", "a\nb": "line break", "a\0": "line break", "\u202eevil": "line break",
             "x" * 100_000: "has 100,000 bytes, expected at most 200"}  # fmt: skip
NO_RUNS = {"-x": "begins with '-'", ".x": "begins with '.'", " x": "begins with ' '", "x.": "ends with '.'",
           "x ": "ends with ' '", ".": "is a path", "..": "is a path", "a/b": "is a path", "a\\b": "is a path",
           "COM1": "device on Windows", "nul.txt": "device on Windows", "fold-1": "a fold's directory",
           "fold-none": "a fold's directory", "report": "reserved for reports", "Report": "reserved for reports",
           **NO_TITLES, "": "is a path"}  # fmt: skip


@pytest.mark.parametrize("name", ["mmer", "mmer-alpha-0.01", "com10", "fold-back", "é α", "a:b", "a" * MOST_BYTES])
def test_usual_names_are_allowed(name):
    assert fault_of_run(name) == fault_of_title(name) == ""


@pytest.mark.parametrize("name", NO_RUNS)
def test_a_name_that_no_run_can_have_says_why(name):
    fault = fault_of_run(name)
    assert NO_RUNS[name] in fault
    assert len(fault) < 200


@pytest.mark.parametrize("command", ["train", "evaluate", "report"])
@pytest.mark.parametrize("name", ["a\nb", "COM1", "fold-1", "..", "x" * 300])
def test_commands_refuse_such_a_run_in_one_message(command, name):
    result = invoke(command, "--run", name)
    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert NO_RUNS.get(name, "has 300 bytes") in result.stderr


@pytest.mark.parametrize("command", [["prepare", "csv", "--root", "."], ["report", "--import", "x.csv"]])
@pytest.mark.parametrize("name", NO_TITLES)
def test_commands_refuse_a_title_that_no_page_can_show(command, name):
    result = invoke(*command, "--name", name)
    assert result.exit_code == 2
    assert NO_TITLES[name] in result.stderr


def test_an_entry_of_systems_whose_run_would_have_no_possible_name_is_refused():
    words = ":".join(f"learning-rate=0.{'0' * 100}{digit}" for digit in (1, 2, 3))
    result = invoke("cv", "--systems", f"mmer:{words}")
    assert result.exit_code == 2
    assert "bytes, expected at most 200" in result.stderr


def test_the_name_of_a_file_becomes_a_title():
    assert as_title("their results") == "their results"
    assert as_title("a\nb\udcff") == "a_b_"
    assert fault_of_title(as_title("é" * 300)) == ""
