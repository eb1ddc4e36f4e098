"""The command `mmer-pipe`: a group of commands that can be chained."""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

import click

from mmer_pipeline import __version__
from stages.audit import audit
from stages.cv import cv
from stages.demo import demo
from stages.evaluate import evaluate
from stages.extract import extract
from stages.fuse import fuse
from stages.init import init
from stages.pack import pack
from stages.predict import predict
from stages.prepare import prepare
from stages.report import report
from stages.shared_options import common_options, show_suggestion
from stages.train import train
from stages.transcribe import transcribe
from stages.tune import tune

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)  # for a closed pipe, click ends quietly


class Pipeline(click.Group):
    """A group that lists its commands in the order in which the data flows through them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands in the order in which they were added."""
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a chain of commands; output that cannot be shown or written is no reason for a traceback."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                is_unicode = stream.encoding.lower().startswith("utf")
                stream.reconfigure(errors="backslashreplace" if is_unicode else "replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None or error.errno not in _UNWRITABLE or "--debug" in sys.argv:
                raise
            with suppress(OSError):
                click.echo(f"Error: The output could not be written: {error.strerror}.", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write is not tried again
            sys.exit(1)


@click.group(
    cls=Pipeline, chain=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="mmer-pipe")
@common_options
def main(common: object) -> None:
    """Recognise emotions from recordings and their transcripts (MMER).

    Commands can be chained, as in `mmer-pipe extract train --fold 2 evaluate --fold 2`, or run separately. Work that
    has already been done with the same inputs and settings is skipped.
    """


@main.result_callback()
def _end_of_chain(*_: object, **__: object) -> None:
    show_suggestion()


for stage in (init, prepare, audit, transcribe, extract, train, evaluate, fuse, report, cv, tune, pack, predict, demo):
    main.add_command(stage)


if __name__ == "__main__":
    main()
