"""Certificates for a Dask cluster."""

from pathlib import Path

from distributed import Security


def write_certificates(directory: Path) -> list[str]:
    """Write a certificate that is its own authority; returns the options that name its files."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Security.temporary().get_tls_config_for_role("client")
    options = []
    for option, content in (("--tls-ca", made["ca_file"]), ("--tls-cert", made["cert"]), ("--tls-key", made["key"])):
        path = directory / f"{option.removeprefix('--tls-')}.pem"
        path.write_text(content)
        options += [option, str(path)]
    return options
