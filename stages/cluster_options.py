"""The options of commands that can use a Dask cluster. This module imports nothing heavy."""

import functools
from pathlib import Path
from typing import Any

import click

from stages.setting_options import Command
from stages.shared_options import FILE

LOCAL = (None, "threads", "processes")  # values of --scheduler that start workers on this machine


def cluster_options(command: Command) -> Command:
    """Add the certificates for `--scheduler ADDRESS`, which change Dask's configuration while the command runs."""

    @functools.wraps(command)
    def wrapper(
        *args: Any, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, insecure: bool, **kwargs: Any
    ) -> Any:
        files = {"ca-file": tls_ca, "client.cert": tls_cert, "client.key": tls_key}
        changes: dict[str, Any] = {f"distributed.comm.tls.{key}": str(path) for key, path in files.items() if path}
        if insecure:
            changes["distributed.comm.require-encryption"] = False
        if not changes:
            return command(*args, **kwargs)
        if kwargs["scheduler"] in LOCAL:
            raise click.UsageError("--tls-ca, --tls-cert, --tls-key and --insecure apply only to --scheduler ADDRESS.")
        import dask
        import distributed  # noqa: F401 (it adds its defaults to the configuration)

        with dask.config.set(changes):
            return command(*args, **kwargs)

    options = [
        click.option("--tls-ca", type=FILE, help="Certificate of the authority that the scheduler's is signed by."),
        click.option("--tls-cert", type=FILE, help="Certificate to show to the scheduler."),
        click.option("--tls-key", type=FILE, help="Key of --tls-cert."),
        click.option("--insecure", is_flag=True, help="Allow plain TCP to a scheduler on another host."),
    ]
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]
