"""The group behind `mmer-pipe`: commands that chain, and what becomes of a failure."""

import sys
from typing import Any

import click

from mmer_pipeline import __version__
from mmer_pipeline.errors import UserError
from stages.demo import demo
from stages.evaluate import evaluate
from stages.extract import extract
from stages.options import common_options
from stages.prepare import prepare
from stages.report import report
from stages.train import train

EXIT_FAILURE = 1


class Failure(click.ClickException):
    """A `UserError` on its way to the terminal: the message alone, exit code 1."""

    exit_code = EXIT_FAILURE


class Pipeline(click.Group):
    """A group whose user-facing failures are one message, or a traceback with `--debug`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which the data flows."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chain; a `UserError` of any stage ends it."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            if "--debug" in sys.argv:
                raise
            raise Failure(str(error)) from error


@click.group(
    cls=Pipeline,
    chain=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="mmer-pipe")
@common_options
def main(common: object) -> None:
    """Speech emotion recognition from recording and transcript (MMER), stage by stage.

    Commands chain: `mmer-pipe extract train --fold 2 evaluate --fold 2`. Each can be rerun by itself; one
    whose input has not changed does nothing and says so.
    """


for stage in (prepare, extract, train, evaluate, report, demo):
    main.add_command(stage)


if __name__ == "__main__":
    main()
