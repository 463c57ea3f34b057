"""vdsmsh over TLS, with the files that `vdsm-tool pki` made."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.tool.main import main as tool
from vdsm_bridge.transport import CallOptions, Credentials
from vdsmsh.connection.target import add_tls_files, choose_url, connect
from vdsmsh.main import main


class Pki(NamedTuple):
    """A host over TLS, and the files of its client."""

    url: str
    ca: str
    cert: str
    key: str

    @property
    def options(self) -> list[str]:
        return ["--url", self.url, "--ca", self.ca, "--cert", self.cert, "--key", self.key]


@pytest.fixture
def pki(tmp_path: Path, home: Path, make_vdsm_host: Callable[..., TestHost]) -> Pki:
    """A host that wants to see a certificate, and a client that has one."""
    rest = pytest.importorskip("vdsm_rest")
    folder = tmp_path / "pki"
    assert tool(["pki", "init", "--dir", str(folder)]) == 0
    assert tool(["pki", "client", "bob", "--dir", str(folder)]) == 0
    host = make_vdsm_host(
        bindings={"rest": rest.RestBinding},
        config={
            "plugin": {"rest": {"port": 0, "tls": "required"}},
            "access": {"loopback": "none", "certificates": {"CN=bob": "operator"}},
            "tls": {
                "certificate": str(folder / "certs" / "vdsmcert.pem"),
                "key": str(folder / "keys" / "vdsmkey.pem"),
                "ca": str(folder / "certs" / "cacert.pem"),
                "client_certificates": "required",
            },
        },
    )
    (info,) = (plugin for plugin in host.host.plugins() if plugin.name == "rest")
    mine = folder / "clients" / "bob"
    return Pki(info.address[0], *(str(mine / name) for name in ("ca.pem", "cert.pem", "key.pem")))


def test_a_call(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    """With the options, a host over TLS is as any other."""
    assert main([*pki.options, "room", "add", "--left", "1", "--right", "2"]) == 0
    assert capsys.readouterr().out == "3\n"


def test_the_environment(
    pki: Pki, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of the environment say the same."""
    for name, value in (("URL", pki.url), ("CA", pki.ca), ("CERT", pki.cert), ("KEY", pki.key)):
        monkeypatch.setenv(f"VDSM_{name}", value)
    assert main(["room", "add", "--left", "1", "--right", "2"]) == 0
    assert capsys.readouterr().out == "3\n"


def test_events(pki: Pki) -> None:
    """A stream of events is read over TLS, and ends when it is closed."""
    transport = connect(pki.url, Credentials(ca=pki.ca, certificate=pki.cert, key=pki.key))
    options = CallOptions(timeout=10.0)
    lamp = {"lampID": "33333333-2222-4333-8444-555555555555", "name": "new"}
    with transport.events(["|sample"], options, snapshot=True) as stream:
        assert transport.call("Lamp.create", {"lamp": lamp}, options)["name"] == "new"
        assert stream.next(0.1) == [] or stream.position is not None
    transport.close()


def test_what_is_missing(pki: Pki, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each message says what cannot be done, why, and with which option to mend it."""
    other = tmp_path / "other"
    tool(["pki", "init", "--dir", str(other)])
    tool(["pki", "client", "eve", "--dir", str(other)])
    eve = other / "clients" / "eve"
    text = tmp_path / "text"
    text.write_text("hello")
    url, ca = ["--url", pki.url], ["--ca", pki.ca]
    plain = ["--url", pki.url.replace("https", "http")]
    capsys.readouterr()
    for options, said in (
        (
            url,
            "its certificate is not trusted: self-signed certificate in certificate chain; --ca names the CA",
        ),
        ([*url, *ca], "the host needs a client certificate; give --cert and --key"),
        (
            [*url, *ca, "--cert", f"{eve}/cert.pem", "--key", f"{eve}/key.pem"],
            "the host does not trust the CA",
        ),
        ([*url, *ca, "--cert", pki.cert, "--key", f"{eve}/key.pem"], "cert.pem for TLS: key values mismatch"),
        ([*url, "--ca", "/no/such/file"], "cannot read /no/such/file: No such file or directory"),
        ([*url, "--ca", str(text)], f"cannot use {text} for TLS: "),
        ([*plain], "This address requires TLS: use https://"),
    ):
        assert main([*options, "host", "ping"]) != 0, options
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1


def test_tls_where_there_is_none(
    make_vdsm_host: Callable[..., TestHost], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error about a port without TLS differs from the one about a host that cannot be reached."""
    rest = pytest.importorskip("vdsm_rest")
    host = make_vdsm_host(bindings={"rest": rest.RestBinding}, config={"plugin": {"rest": {"port": 0}}})
    (info,) = (plugin for plugin in host.host.plugins() if plugin.name == "rest")
    assert main(["--url", info.address[0].replace("http", "https"), "host", "ping"]) != 0
    assert "a port without TLS needs http://" in capsys.readouterr().err


def test_the_request_as_a_command(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    """`--dry-run` prints a line that calls the host with the same files."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert main([*pki.options, "--dry-run", "room", "add", "--left", "1", "--right", "2"]) == 0
    line = capsys.readouterr().out
    assert f"--cacert {pki.ca} --cert {pki.cert} --key {pki.key}" in line
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "3"), done.stderr


def test_files_of_the_environment() -> None:
    """What is given goes before the environment, one by one."""
    proof = add_tls_files(Credentials(), {"--ca": "a"}, {"VDSM_CA": "b", "VDSM_CERT": "c"})
    assert proof == Credentials(ca="a", certificate="c")


def test_the_host_of_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration of the host says whether it speaks TLS."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    file = home / "xdg_config_home" / "vdsm" / "vdsm.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[plugin.rest]\ntls = "required"\nport = 1234\n')
    assert choose_url("", {}) == "https://127.0.0.1:1234"
