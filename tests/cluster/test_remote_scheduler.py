"""Connections to a scheduler that runs elsewhere: with certificates, without, and with wrong ones."""

import socket
import time
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster, Security
from helpers.certificates import write_certificates
from helpers.command_line import fail, succeed

from mmer_pipeline.cluster import remote_scheduler

OPTIONS = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "processes": False, "n_workers": 1}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The options with the cluster's certificates, and those with another authority's."""
    directory = tmp_path_factory.mktemp("certificates")
    return {name: write_certificates(directory / name) for name in ("right", "other")}


def files(options):
    return dict(zip(options[::2], options[1::2], strict=True))


@pytest.fixture(scope="module")
def secure(certificates):
    """The address of a scheduler with TLS."""
    named = files(certificates["right"])
    roles = {
        f"tls_{role}_{kind}": named[f"--tls-{kind}"]
        for role in ("client", "scheduler", "worker")
        for kind in ("cert", "key")
    }
    security = Security(tls_ca_file=named["--tls-ca"], require_encryption=True, **roles)
    with LocalCluster(protocol="tls://", security=security, threads_per_worker=1, **OPTIONS) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def plain():
    """The address of a scheduler without TLS."""
    with LocalCluster(protocol="tcp://", threads_per_worker=1, **OPTIONS) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def extract(manifest, encoders):
    """The words of an extraction of text features."""
    return ["extract", "--system", "roberta", *encoders, "--manifest", manifest.path]


def test_certificates_are_taken_from_the_options_or_from_dask_s_configuration(extract, secure, certificates):
    succeed(*extract, "--scheduler", secure, *certificates["right"])
    assert len(list(Path("cache/features").rglob("*.h5"))) == 1
    named = files(certificates["right"])
    keys = {"--tls-ca": "ca-file", "--tls-cert": "client.cert", "--tls-key": "client.key"}
    with dask.config.set({f"distributed.comm.tls.{keys[option]}": name for option, name in named.items()}):
        succeed(*extract, "--cache-dir", "second", "--scheduler", secure)
    assert len(list(Path("second/features").rglob("*.h5"))) == 1
    assert dask.config.get("distributed.comm.tls.ca-file", None) is None  # nothing is left for the next command


def with_other(certificates, *options):
    """The right certificates, with these options changed."""
    mixed = {**files(certificates["right"]), **{name: files(certificates["other"])[name] for name in options}}
    return [word for pair in mixed.items() for word in pair]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda _: [], "needs certificates: --tls-ca and --tls-cert are missing"),
        (lambda given: given["right"][2:], "needs certificates: --tls-ca is missing"),
        (lambda given: ["--tls-ca", "none.pem", *given["right"][2:]], "--tls-ca none.pem could not be read: No such"),
        (lambda given: with_other(given, "--tls-key"), "Expected PEM files"),
        (lambda given: with_other(given, "--tls-ca"), "has no certificate of the authority in --tls-ca"),
        (lambda given: with_other(given, "--tls-cert", "--tls-key"), "refuses the certificate in --tls-cert"),
    ],
)
def test_missing_and_wrong_certificates_are_named_at_once(options, message, extract, secure, certificates):
    began = time.monotonic()
    assert message in fail(*extract, "--scheduler", secure, *options(certificates))
    assert time.monotonic() - began < remote_scheduler.GREETING_SECONDS


def test_a_key_with_a_password_is_refused_without_asking_for_it(extract, secure, certificates):
    Path("locked.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    locked = [*certificates["right"][:4], "--tls-key", "locked.pem"]
    assert "is protected by a password" in fail(*extract, "--scheduler", secure, *locked)


def test_tls_and_plain_tcp_that_were_confused_are_told_apart(extract, secure, plain, certificates, monkeypatch):
    monkeypatch.setattr(remote_scheduler, "GREETING_SECONDS", 0.5)
    swapped = plain.replace("tcp://", "tls://")
    assert "does not answer with TLS" in fail(*extract, "--scheduler", swapped, *certificates["right"])
    assert "its address begins with tls://" in fail(*extract, "--scheduler", secure.replace("tls://", "tcp://"))


def test_plain_tcp_to_another_host_is_used_only_if_asked_for(extract, monkeypatch):
    monkeypatch.setattr(remote_scheduler, "CONNECT_SECONDS", 0)
    for address in ("tcp://192.0.2.7:8786", "192.0.2.7:8786", "tcp://[2001:db8::7]:8786", "tcp://node1.invalid:8786"):
        assert "the scheduler is on another host" in fail(*extract, "--scheduler", address)
        assert "No Dask scheduler answers" in fail(*extract, "--scheduler", address, "--insecure")
    with dask.config.set({"distributed.comm.require-encryption": True}):
        assert "configuration requires encryption" in fail(*extract, "--scheduler", "tcp://127.0.0.1:8786")


def test_a_program_that_is_no_scheduler(extract, monkeypatch):
    monkeypatch.setattr(remote_scheduler, "GREETING_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert "not as a Dask scheduler does" in fail(*extract, "--scheduler", address)


@pytest.mark.parametrize("address", ["tls://node1", "tcp://node1:word", "thread"])
def test_what_is_no_address_is_said(address, extract):
    assert "is not the address of a Dask scheduler" in fail(*extract, "--scheduler", address)


def test_an_address_is_checked_where_nothing_has_to_be_computed(extract):
    succeed(*extract)
    assert "is not the address of a Dask scheduler" in fail(*extract, "--scheduler", "thread")
    assert "the scheduler is on another host" in fail(*extract, "--scheduler", "tcp://192.0.2.7:8786")
    assert "--tls-ca and --tls-cert are missing" in fail(*extract, "--scheduler", "tls://192.0.2.7:8786")
    succeed(*extract, "--scheduler", "tcp://192.0.2.7:8786", "--insecure")


@pytest.mark.parametrize("option", [["--insecure"], ["--tls-ca", "ca.pem"]])
def test_options_of_clusters_are_refused_for_local_workers(option, extract):
    assert "apply only to --scheduler ADDRESS" in fail(*extract, *option, code=2)
    assert "apply only to --scheduler ADDRESS" in fail("cv", *option, code=2)
