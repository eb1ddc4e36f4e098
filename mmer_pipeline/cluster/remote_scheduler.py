"""The connection to a Dask scheduler that runs elsewhere: certificates, and what is wrong if there is no answer.

Dask's own configuration (`distributed.comm.tls`, `require-encryption`) says which certificates are used and whether
plain TCP is allowed; the options of the command line change it for one command.
"""

import ipaddress
import socket
import ssl
import time
from pathlib import Path

import dask
from distributed import Client, Security
from distributed.comm.addressing import parse_host_port

from mmer_pipeline.errors import UserError

CONNECT_SECONDS = 30  # a scheduler that starts at the same time needs a few of them
RECONNECT_SECONDS = 120  # how long a scheduler may be away; it is started again, or the network fails
GREETING_SECONDS = 10  # a scheduler sends its first bytes at once
_SECURE = "tls"


def connected(address: str) -> Client:
    """A client of the scheduler at `address`.

    Raises:
        UserError: the address is malformed or on another host without encryption, certificates are missing, unusable or
            refused, or no scheduler answers.
    """
    host, port, context = check_address(address)
    _greet(address, host, port, context)
    try:
        return Client(address, security=Security(), timeout=RECONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(_no_answer(address, error)) from None


def check_address(address: str) -> tuple[str, int, ssl.SSLContext | None]:
    """Check an address, and the certificates, without connecting; returns host, port, and the certificates for TLS.

    Raises:
        UserError: the address is malformed or on another host without encryption, or certificates are missing or
            unusable.
    """
    scheme, host, port = _parts(address)
    if scheme == _SECURE:
        return host, port, _certificates(address)
    _check_plain(address, host)
    return host, port, None


def _parts(address: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; without a scheme it is plain TCP, as for Dask."""
    scheme, mark, location = address.partition("://")
    if not mark:
        scheme, location = "tcp", address
    try:
        host, port = parse_host_port(location)
    except ValueError as error:
        raise UserError(
            f"{address!r} is not the address of a Dask scheduler ({error}). Expected one such as tls://node1:8786."
        ) from None
    return scheme, host, port


def _certificates(address: str) -> ssl.SSLContext:
    """Load the client's certificates."""
    security = Security()
    config = security.get_tls_config_for_role("client")
    given = {"--tls-ca": config["ca_file"], "--tls-cert": config["cert"], "--tls-key": config["key"]}
    missing = [option for option in ("--tls-ca", "--tls-cert") if not given[option]]
    if missing:
        raise UserError(
            f"A connection to {address} needs certificates: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Give the files that the scheduler was started with: "
            "--tls-ca (its authority), --tls-cert and --tls-key, or set distributed.comm.tls in Dask's configuration."
        )
    for option, name in given.items():
        if name and "\n" not in name:  # Dask's configuration may contain the certificate itself
            try:
                if b"ENCRYPTED" in Path(name).read_bytes():
                    raise UserError(f"{option} {name} is protected by a password. Give a key without one.")
            except OSError as error:
                raise UserError(f"{option} {name} could not be read: {error.strerror}.") from None
    try:
        context: ssl.SSLContext = security.get_connection_args("client")["ssl_context"]
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UserError(
            f"The certificates {', '.join(f'{option} {name}' for option, name in given.items() if name)} cannot be "
            f"used ({error}). Expected PEM files: an authority, a certificate, and the key of this certificate."
        ) from None
    return context


def _check_plain(address: str, host: str) -> None:
    """Refuse a connection without encryption, unless it stays on this machine or was asked for."""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    required = dask.config.get("distributed.comm.require-encryption")
    if required or (required is None and not here):
        reason = "Dask's configuration requires encryption" if required else "the scheduler is on another host"
        raise UserError(
            f"{address} is not encrypted, but {reason}. Without encryption everybody who can reach the cluster can run "
            "programs as you, and read your data. Start the scheduler and its workers with certificates and give "
            "tls:// with --tls-ca, --tls-cert and --tls-key. In a network that only you can reach, --insecure allows "
            "plain TCP."
        )


def _greet(address: str, host: str, port: int, context: ssl.SSLContext | None) -> None:
    """Wait until the scheduler sends its first byte; Dask alone would try again and again, and not say why."""
    plain = _opened(address, host, port)
    plain.settimeout(GREETING_SECONDS)
    with plain, _encrypted(address, plain, context) if context else plain as stream:
        try:
            first = stream.recv(1)
        except ssl.SSLError as error:
            raise UserError(
                f"The scheduler at {address} refuses the certificate in --tls-cert ({error.reason}). Give one that was "
                "signed by the scheduler's authority."
            ) from None
        except OSError as error:
            raise UserError(_no_greeting(address, str(error), context)) from None
    if not first:
        raise UserError(_no_greeting(address, "the connection was closed", context))


def _opened(address: str, host: str, port: int) -> socket.socket:
    """A connection to a scheduler, which may be about to start."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(0.1, deadline - time.monotonic()))
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(_no_answer(address, error)) from None
            time.sleep(0.2)


def _encrypted(address: str, plain: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    try:
        return context.wrap_socket(plain)
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"The scheduler at {address} has no certificate of the authority in --tls-ca ({error.verify_message}). "
            "Give the authority with which the scheduler was started."
        ) from None
    except OSError as error:
        raise UserError(
            f"{address} does not answer with TLS ({error}). If the scheduler was started without certificates, its "
            "address begins with tcp://."
        ) from None


def _no_answer(address: str, error: Exception) -> str:
    return (
        f"No Dask scheduler answers at {address!r} ({error}). Expected an address such as tls://node1:8786. "
        "Start the scheduler there with `dask scheduler`."
    )


def _no_greeting(address: str, reason: str, context: ssl.SSLContext | None) -> str:
    hint = "" if context else " If it was started with certificates, its address begins with tls://."
    return f"A program answers at {address}, but not as a Dask scheduler does ({reason}).{hint}"
