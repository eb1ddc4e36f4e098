"""mmer.toml that a person mistyped or that is something else: one message, and no value is read as another."""

import os
from pathlib import Path

import pytest
from helpers.command_line import fail


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[train]\nepochs = true\n", "[train] epochs: expected a text or a number, found True"),  # was one epoch
        ("[train]\nepochs = 2.7\n", "'2.7' is not a valid integer range"),  # were two
        ("[train]\nepochs = [1]\n", "[train] epochs: expected a text or a number, found [1]"),
        ("[train]\nepochs = {a = 1}\n", "[train] epochs: expected a text or a number"),
        ("[train]\nepochs = 2001-01-01\n", "[train] epochs: expected a text or a number, found 2001-01-01"),
        ("[train]\nkeep-state = 1\n", "[train] keep-state: expected true or false, found 1"),
        ("[train]\nkeep-state = 'no'\n", "[train] keep-state: expected true or false, found no"),
        ("[train]\nalpha = nan\n", "'nan' is not a number"),
        ("[train]\nlearning-rate = -inf\n", "-inf is not in the range"),
        (f"[train]\nseed = {'9' * 5000}\n", "is not valid TOML: Exceeds the limit"),
        (f"[train]\nfold = {'[' * 5000}\n", "is not valid TOML: maximum recursion depth exceeded"),
        ("[train]\nepochs = 1\nepochs = 2\n", "is not valid TOML: Cannot overwrite a value"),
        ("[train.more]\nepochs = 1\n", "[train] has no option 'more'"),
        ("train = 5\n", "has no option 'train'"),
        ("[[train]]\nepochs = 1\n", "has no option 'train'"),
        ('[train]\ncache-dir = "a\\u0000"\n', "contains NUL"),  # was a traceback
        ("\udcff", "is not valid TOML: 'utf-8' codec"),
    ],
)
def test_what_could_not_be_typed_is_refused(content: str, said: str) -> None:
    Path("mmer.toml").write_text(content, errors="surrogateescape")
    assert said in fail("train", code=2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "mmer.toml is a pipe, a socket or a device"),
        (os.mkdir, "mmer.toml cannot be read (Is a directory)"),
        (lambda name: Path(name).symlink_to("not-there"), "mmer.toml cannot be read (No such file or directory)"),
        (lambda name: Path(name).symlink_to(name), "mmer.toml cannot be read (Too many levels of symbolic links)"),
    ],
)
def test_what_is_no_file_is_refused_and_not_passed_over(make, said: str) -> None:
    """The settings were left out without a word, and a pipe was waited for."""
    make("mmer.toml")
    assert said in fail("train", code=2)


@pytest.mark.parametrize("encoder", ["a" * 5000, "~nobody-of-this-name/encoder"])
def test_an_encoder_that_no_directory_can_be_is_a_name(encoder: str) -> None:
    """It was a traceback."""
    Path("mmer.toml").write_text(f"[train]\ntext-encoder = '{encoder}'\n")
    assert "No manifest at" in fail("train")


def test_a_byte_order_mark_is_no_part_of_the_settings(manifest) -> None:
    Path("mmer.toml").write_bytes(b"\xef\xbb\xbf[train]\nepochs = 'x'\n")
    assert "'x' is not a valid integer range" in fail("train", code=2)
