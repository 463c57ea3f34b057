"""The Debian packages, as a distributor and an administrator meet them: `make packages`, as root."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from folder import CommandFailed, Folder

from .installed import AS_ROOT, Caller, Daemon, ask

pytestmark = pytest.mark.timeout(1800)

#: One package a plugin.
NAMES = ("virt", "hooks", "rest", "xmlrpc", "qmf")
PLUGINS = {"vdsm-http", "vdsmsh", *(f"vdsm-{name}" for name in NAMES)}
#: The worst that each unit may be rated; 10 is a service without any confinement.
EXPOSURE = {"vdsmd.service": 2.0, "vdsm-helper.service": 1.0}
SOCKET_UNIT = "/usr/lib/systemd/system/vdsm-helper.socket"
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

#: Two machines of libvirt's made-up hypervisor.
MACHINES = """<node>
  <domain type='test'><name>one</name><uuid>11111111-2222-4333-8444-555555555501</uuid>
    <memory>65536</memory><os><type>hvm</type></os></domain>
  <domain type='test'><name>two</name><uuid>11111111-2222-4333-8444-555555555502</uuid>
    <memory>65536</memory><os><type>hvm</type></os></domain>
</node>
"""
TOKENS = '[access]\ntokens = "/etc/vdsm/tokens"\n'
#: Run an operation of the helper, and print its result or its error.
ASK = """
from vdsm_core.errors import VdsmError
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_virt import privileged as virt
client = PrivilegedClient("/run/helper")
client.register("virt", operations_of(virt))
try:
    print(client.run(virt.read_firmware))
except VdsmError as error:
    print(error)
"""


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
    _accounts_are_apart(host)
    (host.root / config).write_text('[hypervisor]\nuri = "test:///default"\n')
    assert "can be used" in host.run("vdsm-tool", "config", "check")
    _units_are_confined(host)
    host.run("systemd-sysusers", "--inline", "u alice -", "m alice vdsm", "u bob -")
    daemon, caller = Daemon(host), Caller(host)
    with daemon.running(), caller.calling():
        _rest_alone(host, daemon)
        _xmlrpc_comes_and_goes(host, daemon)
        _everything(host, daemon)
    assert (caller.failures, caller.calls > 50) == ([], True)
    print(f"{caller.calls} calls over REST meanwhile, none failed; the longest took {caller.longest:.2f} s")
    _nothing_is_left(host, config)


def _accounts_are_apart(host: Folder) -> None:
    """The daemon's account may use libvirt; those for the code of others are in none of its groups."""
    groups = {
        name: set(host.run("id", "-Gn", name).split()) for name in ("vdsm", "vdsm-hooks", "vdsm-imageio")
    }
    assert groups == {
        "vdsm": {"vdsm", "libvirt", "kvm"},
        "vdsm-hooks": {"vdsm-hooks"},
        "vdsm-imageio": {"vdsm-imageio"},
    }


def _units_are_confined(host: Folder) -> None:
    """systemd finds no fault with the installed units, and rates them as well confined."""
    for unit, most in EXPOSURE.items():
        assert host.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}") == ""
        said = host.run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
        rating = re.search(rf"Overall exposure level for {unit}: ([\d.]+)", said)
        assert rating, said
        print(rating[0])
        assert float(rating[1]) <= most
    assert host.run("systemd-analyze", "verify", "--man=no", SOCKET_UNIT) == ""


def _rest_alone(host: Folder, daemon: Daemon) -> None:
    assert owned(host, "/run/vdsm/api.sock") == "vdsm:vdsm 660"
    assert owned(host, "/run/vdsm") == "vdsm:vdsm 750"
    assert owned(host, "/var/lib/vdsm") == "vdsm:vdsm 700"
    status = daemon.status()
    assert set(status["Uid"].split()) == {host.run("id", "-u", "vdsm").strip()}
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    # Nobody logs in as the daemon: its own user id has no role.
    assert daemon.python(LOCAL, user="vdsm").startswith("HTTP/1.1 40")
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
    assert _plugins(host) == {"base", "hooks", "rest", "virt", "xmlrpc", "qmf"}
    assert "test" in daemon.call("vdsmsh", "vm", "list", "-f", "value")
    for page in ("vdsmd.8", "vdsm-tool.8", "vdsm.toml.5", "vdsmsh.1", *(f"vdsm-{n}.7" for n in NAMES)):
        assert (host.root / f"usr/share/man/man{page[-1]}/{page}.gz").is_file(), page
    assert _completed(host, "vdsm-tool", "plugin", "dis") == ["disable"]
    assert _completed(host, "vdsm-tool", "plugin", "disable", "xml") == ["xmlrpc"]


def _completed(host: Folder, *words: str) -> list[str]:
    """Return what bash offers for the last word."""
    script = f"""
        source /usr/share/bash-completion/completions/{words[0]}
        COMP_WORDS=({" ".join(words)}) COMP_CWORD={len(words) - 1}
        $(complete -p {words[0]} | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
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


def test_an_upgrade_from_a_daemon_of_root(host: Folder, config: Path) -> None:
    """State, secrets and machines of a release that ran as root are there for the account of this one."""
    host.install(*debs("vdsm-core", "vdsm-http", "vdsm-virt", "vdsm-rest", "vdsmsh"))
    (host.root / "etc/vdsm/machines.xml").write_text(MACHINES)
    token = _of_an_earlier_release(host, config)
    daemon = Daemon(host)
    with daemon.running(AS_ROOT):
        assert set(daemon.status()["Uid"].split()) == {"0"}
        before = _machines(host)
        assert len(before) == 2
    assert owned(host, "/var/lib/vdsm/events.sqlite").startswith("root:")
    numbers = _events(host)
    # What apt runs when the new package takes the place of the old one.
    (host.root / config).write_text('[hypervisor]\nuri = "test:///etc/vdsm/machines.xml"\n' + TOKENS)
    host.run("sh", "/var/lib/dpkg/info/vdsm-core.postinst", "configure", "0.1.0-0")
    assert owned(host, "/etc/vdsm/tokens") == "vdsm:root 600"
    with daemon.running():
        assert set(daemon.status()["Uid"].split()) == {host.run("id", "-u", "vdsm").strip()}
        assert _machines(host) == before
        with_token = f"""urllib.request.urlopen(urllib.request.Request(
            "http://127.0.0.1:8088/api/vms", headers={{"Authorization": "Bearer {token}"}})).status"""
        assert daemon.python(with_token) == 200
    left = host.run("find", "/var/lib/vdsm", "/run/vdsm", "!", "-user", "vdsm").split()
    assert left == []
    after = _events(host)
    assert after[: len(numbers)] == numbers
    assert len(after) > len(numbers)


def _of_an_earlier_release(host: Folder, config: Path) -> str:
    """Configure a daemon that stays root, with tokens that only root may read; a token."""
    uri = 'uri = "test:///etc/vdsm/machines.xml"'
    (host.root / config).write_text(f'[daemon]\nuser = "root"\n[hypervisor]\n{uri}\n{TOKENS}')
    token = "of-an-earlier-release"
    file = host.root / "etc/vdsm/tokens"
    file.write_text(f"admin joe {hashlib.sha256(token.encode()).hexdigest()}\n")
    file.chmod(0o600)
    return token


def _machines(host: Folder) -> list[str]:
    status, machines = ask(host.root / "run/vdsm", "/api/vms")
    assert status == 200
    return sorted(machine["vmId"] for machine in machines)


def _events(host: Folder) -> list[int]:
    """The numbers of the events in the journal."""
    with closing(sqlite3.connect(host.root / "var/lib/vdsm/events.sqlite")) as journal:
        return [number for (number,) in journal.execute("SELECT seq FROM events ORDER BY seq")]


def test_the_helper_as_a_service(host: Folder) -> None:
    """Started by its socket, it serves the daemon's account, and nobody else; not even root."""
    host.install(*debs("vdsm-core", "vdsm-virt"), "systemd")
    activate = "systemd-socket-activate -l /run/helper vdsm-helper --system 2>&1"
    allowed = f"chmod 666 /run/helper; {as_user('vdsm')} python3 -c '{ASK}'"
    refused = f"python3 -c '{ASK}'; {as_user('vdsm-hooks')} python3 -c '{ASK}'"
    script = f"""
        {activate} & while [ ! -S /run/helper ]; do sleep 0.05; done
        {allowed}; {refused}; kill %1; wait"""
    said = host.run("bash", "-c", script)
    assert said.count("Firmware(product_serial=") == 1, said
    assert "operation=virt.read_firmware outcome=ok" in said
    assert re.findall(r"and not user id (\d+)", said) == ["0", host.run("id", "-u", "vdsm-hooks").strip()]
    assert "capabilities: none" in said


def as_user(name: str) -> str:
    """The words that run a command as a user, with its groups."""
    return f"setpriv --reuid={name} --regid={name} --init-groups"
