"""The five hook scripts of `examples/hooks`, each at a real start of a real guest."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BRIDGE, BootFiles, GuestAgent, LabHost
from tests.functional.site import BOOT, Site
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples" / "hooks"
POINT = "before_vm_start"
MAC = "52:54:00:0a:0b:0c"
HOOKS = """\
[plugin.hooks]
folder = "{{folder}}/scripts"
user = "{account}"
{properties}
"""


@pytest.fixture(scope="module")
def daemon(lab_host: LabHost) -> Iterator[Daemon]:
    """A daemon with the properties that the README of the examples defines."""
    readme = (EXAMPLES / "README.md").read_text()
    properties = readme.partition("```toml\n")[2].partition("```")[0].replace("{", "{{").replace("}", "}}")
    with tempfile.TemporaryDirectory(prefix="vdsm-hooks-") as folder:
        # Scripts run as another account, which has to get there.
        Path(folder).chmod(0o755)
        (Path(folder) / "scripts" / POINT).mkdir(parents=True)
        config = CONFIG + HOOKS.format(properties=properties, account=pwd.getpwuid(65_534).pw_name)
        with Daemon(Path(folder), lab_host.uri, config.replace("{{folder}}", folder)) as daemon:
            yield daemon


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, daemon: Daemon) -> Iterator[Site]:
    """Its machines."""
    site = Site(lab_host, boot, daemon)
    try:
        yield site
    finally:
        site.clean()


@pytest.fixture
def installed(daemon: Daemon, request: pytest.FixtureRequest) -> Iterator[str]:
    """The one script of an example, installed while the daemon runs; its name."""
    (script,) = (EXAMPLES / request.param / POINT).iterdir()
    target = daemon.folder / "scripts" / POINT / script.name
    shutil.copy(script, target)
    os.chown(target, 0, 0)
    target.chmod(0o755)
    yield script.name
    target.unlink()


def start(site: Site, name: str, **extra: Any) -> str:
    """A machine that has started, with processors that do not run."""
    vm_id = site.create(name, **{"launchPaused": "true", **extra})
    site.wait_for(vm_id, "Paused", within=BOOT)
    return vm_id


def command_line(site: Site, vm_id: str) -> str:
    """How QEMU was started."""
    return Path(f"/proc/{site.host.qemu_pid(vm_id)}/cmdline").read_text().replace("\0", " ")


def run(site: Site, vm_id: str, script: str) -> dict[str, Any]:
    """The one run of a script for a machine."""
    runs: list[dict[str, Any]] = site.daemon.rest("GET", f"/api/host/hook-runs?vmID={vm_id}")
    (found,) = (each for each in runs if each["script"] == script)
    return found


@pytest.mark.parametrize("installed", ["qemucmdline"], indirect=True)
def test_arguments_of_qemu(site: Site, installed: str) -> None:
    """QEMU has them."""
    custom = {"qemu_cmdline": '["-global", "virtio-net-pci.packed=on"]'}
    vm_id = start(site, "cmdline", custom=custom)
    assert "-global virtio-net-pci.packed=on" in command_line(site, vm_id)
    assert run(site, vm_id, installed)["exitCode"] == 0


@pytest.mark.parametrize("installed", ["smbios"], indirect=True)
def test_the_guest_reads_its_smbios(site: Site, boot: BootFiles, installed: str) -> None:
    """What the script has set, and beside it what was there already."""
    custom = {"smbios": '{"system": {"product": "Rack 7", "sku": "k-7"}, "bios": {"vendor": "Example"}}'}
    vm_id = site.create("smbios", boot.with_agent(), custom=custom)
    site.wait_for(vm_id, "Up", "Powering up", within=BOOT)
    agent = GuestAgent(site.host, vm_id)
    agent.wait(BOOT)
    folder = "/sys/class/dmi/id"
    read = agent.shell(f"cd {folder}; cat product_name product_sku bios_vendor product_uuid").split("\n")
    assert read[:3] == ["Rack 7", "k-7", "Example"]
    assert read[3].lower() == vm_id
    assert run(site, vm_id, installed)["exitCode"] == 0


@pytest.mark.parametrize("installed", ["macbind"], indirect=True)
def test_a_card_on_a_bridge(site: Site, installed: str) -> None:
    """The card of this address, which the engine left unplugged; without such a card there is no start."""
    nic = {"type": "interface", "device": "bridge", "network": "", "macAddr": MAC, "nicModel": "pv"}
    vm_id = start(site, "macbind", devices=[nic], custom={"macbind": f"{MAC}={BRIDGE}"})
    assert BRIDGE in site.host.virsh("domiflist", vm_id)
    until(lambda: run(site, vm_id, installed)["exitCode"] == 0)
    other = site.create("unbound", devices=[], custom={"macbind": f"{MAC}={BRIDGE}"})
    site.wait_for(other, "Down", within=BOOT)
    assert f"the machine has no card {MAC}" in site.stats(other)["exitMessage"]


@pytest.mark.parametrize("installed", ["diskcache"], indirect=True)
def test_a_mode_of_cache(site: Site, installed: str) -> None:
    """QEMU opens the image with the flags of the mode."""
    for mode, direct in (("writeback", "false"), ("none", "true")):
        vm_id = start(site, f"cache-{mode}", custom={"diskcache": f"vda={mode}"})
        assert f"cache='{mode}'" in site.host.virsh("dumpxml", vm_id)
        assert f'"cache":{{"direct":{direct}' in command_line(site, vm_id)
        assert run(site, vm_id, installed)["exitCode"] == 0


@pytest.mark.parametrize("installed", ["policy"], indirect=True)
def test_a_machine_without_an_owner(site: Site, installed: str) -> None:
    """It does not start, and its error names the script and the rule; one with an owner starts."""
    refused = site.create("nobodys")
    site.wait_for(refused, "Down", within=BOOT)
    message = site.stats(refused)["exitMessage"]
    assert installed in message
    assert "custom property 'owner'" in message
    assert refused not in site.host.virsh("list", "--uuid")
    start(site, "somebodys", custom={"owner": "joe@example"})
    shown = site.daemon.vdsmsh("hook", "runs", "--vm-id", refused)
    assert "10_policy" in shown
