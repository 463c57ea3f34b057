"""Other people's clients: OpenSSL's and curl."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from subprocess import PIPE, STDOUT

import pytest

from vdsm_bridge.testing.certificates import TestPki

from .conftest import Served

Serve = Callable[..., Served]


def program(name: str) -> str:
    """The path of a program, or skip."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def s_client(served: Served, pki: TestPki, *options: str, lines: Sequence[bytes] = ()) -> str:
    """What OpenSSL's client prints; each line is typed once the output shows that the last one was read."""
    client = pki.client("bob")
    connection = ["-connect", f"127.0.0.1:{served.port}", "-CAfile", str(pki.ca), "-verify_return_error"]
    own = ["-cert", str(client.certificate), "-key", str(client.key)]
    words = [program("openssl"), "s_client", *connection, *own, *options]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        for line, answer in zip(lines[::2], lines[1::2], strict=True):
            process.stdin.write(line)
            process.stdin.flush()
            while answer not in said and (piece := os.read(process.stdout.fileno(), 65_536)):
                said += piece
        process.stdin.close()
        said += process.stdout.read()
    return said.decode()


def test_openssl(serve_tls: Serve, pki: TestPki) -> None:
    """The certificate holds, the key exchange is ephemeral, nothing is compressed."""
    said = s_client(serve_tls(), pki, "-tls1_2", "-servername", "localhost")
    assert "Verify return code: 0 (ok)" in said
    assert "Secure Renegotiation IS supported" in said
    assert "Compression: NONE" in said
    assert "ECDHE-ECDSA-AES" in said


def test_renegotiation(serve_tls: Serve, pki: TestPki) -> None:
    """A client that asks for a second handshake is refused one."""
    said = s_client(serve_tls(), pki, "-tls1_2", lines=[b"R\n", b"o renegotiation"])
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said.lower()


def test_key_update(serve_tls: Serve, pki: TestPki) -> None:
    """A client of TLS 1.3 may renew the keys of both directions within a connection."""
    typed = [b"K\n", b"KEYUPDATE", b"GET /ping HTTP/1.0\r\n\r\n", b"/ping"]
    said = s_client(serve_tls(), pki, "-tls1_3", lines=typed)
    assert "200 OK" in said
    assert said.index("KEYUPDATE") < said.index("200 OK")


def test_curl(serve_tls: Serve, pki: TestPki) -> None:
    """As an administrator calls."""
    served, client = serve_tls(), pki.client("bob")
    words = [program("curl"), "--silent", "--show-error", "--cacert", str(pki.ca)]
    words += ["--cert", str(client.certificate), "--key", str(client.key)]
    done = subprocess.run(
        [*words, "--data-binary", "@-", f"https://127.0.0.1:{served.port}/ping"],
        input=b"x" * 300_000,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"/ping"), done.stderr
