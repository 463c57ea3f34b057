"""The Debian packages, as a distributor and an administrator meet them: `make packages`, as root."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from folder import CommandFailed, Folder

from .installed import Caller, Daemon, ask

pytestmark = pytest.mark.timeout(1800)

#: One package a plugin.
NAMES = ("virt", "rest", "xmlrpc", "qmf")
PLUGINS = {"vdsm-http", "vdsmsh", *(f"vdsm-{name}" for name in NAMES)}
#: The worst that the unit may be rated; 10 is a service without any confinement.
EXPOSURE = 2.5
#: The status of a request over loopback TCP without a token.
ON_LOOPBACK = """(lambda connection: (
    connection.request("GET", "/api/host/ping"),
    connection.getresponse().status,
)[-1])(http.client.HTTPConnection("127.0.0.1", 8088))"""
#: What XML-RPC answers to such a caller: it serves, and the caller is not known.
UNKNOWN_CALLER = 100
#: The same over the socket, for whoever may use it.
LOCAL = """(lambda s: (
    s.connect("/run/vdsm/api.sock"),
    s.sendall(b"GET /api/host/ping HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n"),
    s.recv(12).decode(),
)[-1])(socket.socket(socket.AF_UNIX))"""


def debs(*names: str) -> list[str]:
    return [f"/packages/{name}.deb" for name in names]


def owned(folder: Folder, path: str) -> str:
    return folder.run("stat", "-c", "%U:%G %a", path).strip()


def test_lintian(builder: Folder) -> None:
    """lintian has no error to tell, of the source and of each package."""
    said = builder.run("sh", "-c", "lintian --fail-on none /build/*.changes 2>&1")
    findings = [line for line in said.splitlines() if re.match("[EW]: ", line)]
    print(*findings, sep="\n")
    assert [line for line in findings if line.startswith("E: ")] == []
    # Told by all, for no bug of Debian's is closed: it shows that all were looked at.
    assert {line.split()[1].rstrip(":") for line in findings} >= {"vdsm", "vdsm-core", *PLUGINS}


def test_shells(builder: Folder) -> None:
    """zsh can read the completions that the packages have."""
    found = builder.run("sh", "-c", "ls /build/*/debian/vdsm*/usr/share/zsh/vendor-completions/*").split()
    assert {path.rpartition("/")[2] for path in found} == {"_vdsm-tool", "_vdsmd", "_vdsmsh"}
    for path in found:
        builder.run("zsh", "-n", path)


def test_installing_switching_removing(host: Folder, config: Path) -> None:
    """REST alone, its unit confined; XML-RPC comes and goes; the command line; all; nothing is left."""
    host.install(*debs("vdsm-core", "vdsm-http", "vdsm-virt", "vdsm-rest"))
    there = host.installed()
    assert {
        "vdsm-core",
        "vdsm-virt",
        "vdsm-rest",
        "vdsm-http",
        "python3-cherrypy3",
        "python3-libvirt",
    } <= there
    assert there & {"vdsm-xmlrpc", "vdsm-qmf", "python3-qpid-proton", "python3-cliff"} == set()
    with pytest.raises(CommandFailed, match="No module named 'proton'"):
        host.run("python3", "-c", "import proton")
    assert owned(host, "/run/vdsm") == "root:vdsm 750"
    assert owned(host, "/var/lib/vdsm") == "root:root 700"
    (host.root / config).write_text('[hypervisor]\nuri = "test:///default"\n')
    assert "can be used" in host.run("vdsm-tool", "config", "check")
    _unit_is_confined(host)
    host.run("systemd-sysusers", "--inline", "u alice -", "m alice vdsm", "u bob -")
    daemon, caller = Daemon(host), Caller(host)
    with daemon.running(), caller.calling():
        _rest_alone(host, daemon)
        _xmlrpc_comes_and_goes(host, daemon)
        _everything(host, daemon)
    assert (caller.failures, caller.calls > 50) == ([], True)
    print(f"{caller.calls} calls over REST meanwhile, none failed; the longest took {caller.longest:.2f} s")
    _nothing_is_left(host, config)


def _unit_is_confined(host: Folder) -> None:
    """systemd finds no fault with the installed unit, and rates it as well confined."""
    assert host.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/vdsmd.service") == ""
    said = host.run("systemd-analyze", "security", "--offline=true", "--no-pager", "vdsmd.service")
    rating = re.search(r"Overall exposure level for vdsmd.service: ([\d.]+)", said)
    assert rating, said
    print(rating[0])
    assert float(rating[1]) <= EXPOSURE


def _rest_alone(host: Folder, daemon: Daemon) -> None:
    assert owned(host, "/run/vdsm/api.sock") == "root:vdsm 660"
    assert daemon.python(ON_LOOPBACK) == 401
    assert ask(host.root / "run/vdsm", "/api/vms")[0] == 200
    assert daemon.python(LOCAL, user="alice").startswith("HTTP/1.1 20")
    with pytest.raises(CommandFailed, match="PermissionError"):
        daemon.python(LOCAL, user="bob")
    assert _plugins(host) == {"base", "rest", "virt"}


def _xmlrpc_comes_and_goes(host: Folder, daemon: Daemon) -> None:
    call = 'xmlrpc.client.ServerProxy("http://127.0.0.1:54321/").Host.ping()["status"]["code"]'
    with pytest.raises(CommandFailed, match="ConnectionRefusedError"):
        daemon.python(call)
    # The package asks for the reload; its outcome stands in what was said.
    said = host.install(*debs("vdsm-xmlrpc"))
    assert "The daemon has applied the configuration" in said
    assert daemon.python(call) == UNKNOWN_CALLER
    host.run("vdsm-tool", "plugin", "disable", "xmlrpc")
    with pytest.raises(CommandFailed, match="ConnectionRefusedError"):
        daemon.python(call)
    host.run("vdsm-tool", "plugin", "enable", "xmlrpc")
    assert daemon.python(call) == UNKNOWN_CALLER
    host.apt("purge", "vdsm-xmlrpc")
    with pytest.raises(CommandFailed, match="ConnectionRefusedError"):
        daemon.python(call)
    assert _plugins(host) == {"base", "rest", "virt"}


def _everything(host: Folder, daemon: Daemon) -> None:
    host.install(*debs("vdsm", *PLUGINS))
    assert "python3-qpid-proton" in host.installed()
    assert _plugins(host) == {"base", "rest", "virt", "xmlrpc", "qmf"}
    assert "test" in daemon.call("vdsmsh", "vm", "list", "-f", "value")
    for page in ("vdsmd.8", "vdsm-tool.8", "vdsm.toml.5", "vdsmsh.1", *(f"vdsm-{n}.7" for n in NAMES)):
        assert (host.root / f"usr/share/man/man{page[-1]}/{page}.gz").is_file(), page
    assert _completed(host, "vdsm-tool", "plugin", "dis") == ["disable"]
    assert _completed(host, "vdsm-tool", "plugin", "disable", "xml") == ["xmlrpc"]


def _completed(host: Folder, *words: str) -> list[str]:
    """What bash offers for the last word."""
    script = f"""
        source /usr/share/bash-completion/completions/{words[0]}
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        _{words[0].replace("-", "_")}
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    return host.run("bash", "-c", script).split()


def _plugins(host: Folder) -> set[str]:
    """The plugins that run, by what the daemon says."""
    status, plugins = ask(host.root / "run/vdsm", "/api/host/plugins")
    assert status == 200
    return {plugin["name"] for plugin in plugins if plugin["state"] == "running"}


def _nothing_is_left(host: Folder, config: Path) -> None:
    host.apt("purge", "vdsm*")
    assert {name for name in host.installed() if name.startswith("vdsm")} == set()
    found = subprocess.run(
        ["find", host.root / "usr", host.root / "etc", host.root / "var/lib/vdsm", "-name", "*vdsm*"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert found == [str(host.root / "etc/vdsm")]
    # What an administrator has written is the administrator's.
    kept = [path for path in (host.root / "etc/vdsm").rglob("*") if path.is_file()]
    assert kept == [host.root / config]
