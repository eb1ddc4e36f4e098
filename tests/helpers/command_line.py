"""Commands as a person types them, for whichever test needs them."""

from click.testing import CliRunner

from stages.cli import main


def invoke(*arguments):
    """Run a command; an exception that is no exit is raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def succeed(*arguments):
    """Run a command that must end well."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def fail(*arguments, code=1):
    """Run a command that must fail, without a traceback; returns what it says."""
    result = invoke(*arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stderr
