"""`vdsm-tool pki`: what it makes holds in a handshake, is closed to others, and is never overwritten."""

from __future__ import annotations

import os
import pwd
import shlex
import ssl
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vdsm_bridge.call.access import Access, Credentials
from vdsm_bridge.call.certificate import Certificate
from vdsm_bridge.tool.main import main
from vdsm_core import config as configuration
from vdsm_core.errors import Unauthenticated


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files go: nothing is there yet."""
    return tmp_path / "a folder" / "pki"


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """An administrator whose new files are closed to others."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def make(folder: Path, *words: str) -> int:
    """Run a command on the folder."""
    return main(["pki", *words, "--dir", str(folder)])


def server(folder: Path) -> ssl.SSLContext:
    """What a host with these files has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certs" / "vdsmcert.pem", folder / "keys" / "vdsmkey.pem")
    context.load_verify_locations(folder / "certs" / "cacert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client(folder: Path, name: str) -> ssl.SSLContext:
    """What a client with its folder has."""
    mine = folder / "clients" / name
    context = ssl.create_default_context(cafile=str(mine / "ca.pem"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(mine / "cert.pem", mine / "key.pem")
    return context


def meet(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> Certificate:
    """Shake hands in memory; return what the host learned of the client.

    :raises ssl.SSLError: one of both refuses
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    ]
    waiting = True
    while waiting:
        waiting = False
        for side in sides[::-1]:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
    described = sides[0].getpeercert()
    assert described is not None
    return Certificate.of(described, sides[0].getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "host.example.org", "192.0.2.7"])
def test_a_client_meets_a_host(folder: Path, host: str) -> None:
    """Under each of the host's names and addresses, both sides are verified."""
    assert make(folder, "init", "--host", "host.example.org", "192.0.2.7") == 0
    assert make(folder, "client", "bob") == 0
    certificate = meet(server(folder), client(folder, "bob"), host)
    assert (certificate.common_name, certificate.subject) == ("bob", "CN=bob")


def test_other_names_and_other_cas(folder: Path, tmp_path: Path) -> None:
    """A name that the certificate does not have is refused, and so is a client of another CA."""
    for each in (folder, tmp_path / "other"):
        assert make(each, "init") == 0
        assert make(each, "client", "bob") == 0
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        meet(server(folder), client(folder, "bob"), "elsewhere.example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        meet(server(folder), client(tmp_path / "other", "bob"), "localhost")


def test_modes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, and the folder of a client, are for their owner only; certificates are for all users."""
    monkeypatch.setattr("pwd.getpwnam", {}.__getitem__)  # there is no account of the service
    make(folder, "init")
    make(folder, "client", "bob")
    modes = {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert modes == {
        "certs/cacert.pem": 0o644,
        "certs/vdsmcert.pem": 0o644,
        "clients/bob/ca.pem": 0o600,
        "clients/bob/cert.pem": 0o600,
        "clients/bob/key.pem": 0o600,
        "keys/cakey.pem": 0o600,
        "keys/vdsmkey.pem": 0o600,
    }
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700


def test_the_folder_of_the_service(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--system` writes to the folder of the system service, which `[tls]` has by default."""
    monkeypatch.setattr(configuration, "SYSTEM_PKI", folder)
    assert main(["--system", "pki", "init"]) == 0
    assert (folder / "keys" / "vdsmkey.pem").exists()
    assert "[tls]" not in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group")
def test_the_account_of_the_service_can_read_its_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that root makes is readable by the group of the service's account, the key of the CA is not."""
    service = pwd.struct_passwd(("vdsm", "x", 54_321, 54_322, "", "/", "/bin/false"))
    monkeypatch.setattr("pwd.getpwnam", {"vdsm": service}.__getitem__)
    make(folder, "init")
    found = {
        name: (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        for name in (".", "certs", "keys", "keys/vdsmkey.pem", "keys/cakey.pem")
        for status in [(folder / name).stat()]
    }
    assert found == {
        ".": (0o755, 0, 0),
        "certs": (0o755, 0, 0),
        "keys": (0o710, 0, 54_322),
        "keys/vdsmkey.pem": (0o640, 0, 54_322),
        "keys/cakey.pem": (0o600, 0, 0),
    }


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second CA or client of a name is refused by the file that is there, and nothing has changed."""
    make(folder, "init")
    make(folder, "client", "bob")
    (folder / "certs" / "cacert.pem").rename(folder / "certs" / "kept.pem")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert make(folder, "init") == 1
    (folder / "certs" / "kept.pem").rename(folder / "certs" / "cacert.pem")
    assert make(folder, "client", "bob") == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors == [
        f"vdsm-tool: {folder}/keys/cakey.pem: the file exists and is not overwritten",
        f"vdsm-tool: {folder}/clients/bob/cert.pem: the file exists and is not overwritten",
    ]
    (folder / "certs" / "cacert.pem").rename(folder / "certs" / "kept.pem")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_printed_can_be_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines for the configuration are accepted, name these files, and give the client its role."""
    make(folder, "init", "--host", "host.example.org")
    printed = capsys.readouterr().out.partition("[tls]")[2].partition("Then")[0]
    make(folder, "client", "bob", "--role", "monitor")
    client_out = capsys.readouterr().out
    table = client_out.partition("[access.certificates]")[2].partition("To call")[0]
    document = tomllib.loads(f"[tls]{printed}[access.certificates]{table}")
    config = configuration.merge([("printed", document)])
    assert config.tls.certificate == str(folder / "certs" / "vdsmcert.pem")
    certificate = meet(server(folder), client(folder, "bob"), "host.example.org")
    access = Access(config.access)
    identity = access.identify(Credentials(address="192.0.2.1", certificate=certificate))
    assert (identity.name, identity.role, identity.how) == ("CN=bob", "monitor", "certificate")
    (line,) = (line for line in client_out.splitlines() if line.strip().startswith("vdsmsh "))
    words = shlex.split(line)
    assert words[1:3] == ["--url", "https://host.example.org:8088"]
    assert [Path(word).is_file() for word in words[4:9:2]] == [True] * 3
    (folder / "clients" / "eve").mkdir()
    make(folder, "client", "eve")
    certificate = meet(server(folder), client(folder, "eve"), "localhost")
    with pytest.raises(Unauthenticated, match="the certificate of 'eve' has no role"):
        access.identify(Credentials(address="192.0.2.1", certificate=certificate))


def test_a_client_needs_a_ca(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the files of `pki init` the one that is missing is named; a key of another kind is refused."""
    assert make(folder, "client", "bob") == 1
    assert capsys.readouterr().err == f"vdsm-tool: {folder}/certs/cacert.pem: No such file or directory\n"
    make(folder, "init")
    (folder / "keys" / "cakey.pem").write_text("hello")
    assert make(folder, "client", "bob") == 1
    assert f"Cannot use the files in {folder}" in capsys.readouterr().err
    assert not (folder / "clients").exists()


def test_revoked_certificates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A host with the list refuses those on it, and no others; the option is printed once."""
    make(folder, "init")
    for name in ("bob", "eve", "ann"):
        make(folder, "client", name)
    capsys.readouterr()
    assert make(folder, "revoke", "bob") == 0
    printed = capsys.readouterr().out
    document = tomllib.loads(printed.partition("`vdsm-tool reload`:")[2])
    lists = folder / "certs" / "crl.pem"
    assert configuration.merge([("printed", document)]).tls.crl == str(lists)
    assert stat.S_IMODE(lists.stat().st_mode) == 0o644
    assert make(folder, "revoke", str(folder / "clients" / "eve" / "cert.pem")) == 0
    assert make(folder, "revoke", "bob") == 0
    printed = capsys.readouterr().out
    assert "The certificate of bob is revoked already" in printed
    assert "[tls]" not in printed
    host = server(folder)
    host.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    host.load_verify_locations(lists)
    for name in ("bob", "eve"):
        with pytest.raises(ssl.SSLError, match="certificate revoked"):
            meet(host, client(folder, name), "localhost")
    assert meet(host, client(folder, "ann"), "localhost").common_name == "ann"
    assert list(lists.parent.glob("*.new")) == []


def test_what_cannot_be_revoked(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not of this CA is refused by name, and the list stays as it is."""
    assert make(folder, "revoke", "bob") == 1
    other = tmp_path / "other"
    for each in (folder, other):
        make(each, "init")
        make(each, "client", "bob")
    assert make(folder, "revoke", "bob") == 0
    lists = folder / "certs" / "crl.pem"
    before = lists.read_bytes()
    capsys.readouterr()
    for words, reason in (
        (other / "clients" / "bob" / "cert.pem", "the certificate is of another CA"),
        (folder / "certs" / "cacert.pem", "it is the certificate of the CA itself"),
        (folder / "clients" / "bob" / "key.pem", "Cannot revoke"),
        ("ann", f"neither such a file nor a client of this name in {folder / 'clients'}"),
    ):
        assert make(folder, "revoke", str(words)) == 1
        assert reason in capsys.readouterr().err
    assert lists.read_bytes() == before
    make(other, "revoke", "bob")
    lists.write_bytes((other / "certs" / "crl.pem").read_bytes())
    make(folder, "client", "ann")
    assert make(folder, "revoke", "ann") == 1
    assert "the revocation list is of another CA" in capsys.readouterr().err


def test_revoking_side_by_side(folder: Path) -> None:
    """Of several revocations at the same time, each ends up in the list."""
    make(folder, "init")
    names = [f"client{number}" for number in range(4)]
    for name in names:
        make(folder, "client", name)
    command = [sys.executable, "-m", "vdsm_bridge.tool", "pki", "revoke", "--dir", str(folder)]
    running = [subprocess.Popen([*command, name], stdout=subprocess.DEVNULL) for name in names]
    assert [process.wait(60) for process in running] == [0] * len(names)
    host = server(folder)
    host.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    host.load_verify_locations(folder / "certs" / "crl.pem")
    for name in names:
        with pytest.raises(ssl.SSLError, match="certificate revoked"):
            meet(host, client(folder, name), "localhost")


def test_without_the_library(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says what to install; the rest of vdsm does without it."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "vdsm_bridge.tool.pki_authority", raising=False)
    for words in (["init"], ["client", "bob"], ["revoke", "bob"]):
        assert make(folder, *words) == 1
    assert capsys.readouterr().err.count("install python3-cryptography") == 3
    assert not folder.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["client", "a/b"],
        ["client", ""],
        ["client", 'a"b'],
        ["client", "bob", "--role", "king"],
        ["client", "bob", "--days", "0"],
        ["init", "--days", "4000"],
        ["init", "--host", "a b"],
        ["init", "--host", "a,DNS:b"],
    ],
)
def test_wrong_usage(folder: Path, words: list[str]) -> None:
    """Names that would be something else in a path, a certificate or a configuration are refused."""
    with pytest.raises(SystemExit) as caught:
        make(folder, *words)
    assert caught.value.code == 2
    assert not folder.exists()
