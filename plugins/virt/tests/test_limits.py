"""Limits and the services that set them: what is computed, refused by code, and sent to a real peer."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from vdsm_core.hypervisor import IO_LIMITS
from vdsm_virt import privileged
from vdsm_virt.api.tuning import DiskLimits, LimitsParams
from vdsm_virt.domain import qos
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.qos import DiskPolicy, Policy
from vdsm_virt.tuning.errors import (
    HostedEngineAbsent,
    KSMUpdateFailed,
    MOMPolicyUpdateFailed,
    SetHAPolicyFailed,
)
from vdsm_virt.tuning.limits import changed

NONE = dict.fromkeys(IO_LIMITS, 0)


@pytest.mark.parametrize(
    ("present", "wanted", "after"),
    [
        ({}, {"read_iops_sec": 5}, {"read_iops_sec": 5}),
        ({"total_iops_sec": 9}, {"read_iops_sec": 5}, {"read_iops_sec": 5}),
        (
            {"read_iops_sec": 5, "write_bytes_sec": 7},
            {"total_iops_sec": 9},
            {"total_iops_sec": 9, "write_bytes_sec": 7},
        ),
        ({"total_bytes_sec": 9}, {"read_bytes_sec": 0}, {"total_bytes_sec": 9}),
        ({"total_bytes_sec": 9}, {"total_bytes_sec": "0"}, {}),
    ],
)
def test_a_total_excludes_its_parts(present, wanted, after):
    """In the same unit, and the other way round; what is not mentioned stays."""
    assert changed({**NONE, **present}, LimitsParams(**wanted)) == {**NONE, **after}


def test_a_policy_is_read_as_it_was_written():
    """In VDSM's form, with and without the namespace of its children."""
    maximum = DiskLimits(**{**NONE, "total_iops_sec": 400})
    policy = Policy(
        vcpu_limit=50,
        disks=[DiskPolicy(name="vda", path="/a&b", maximum=maximum, guaranteed=DiskLimits(**NONE))],
    )
    text = qos.write_text(policy)
    inner = text.replace("<qos", f'<qos xmlns="{qos.URI}"', 1)
    assert qos.read(parse(f"<domain><metadata>{inner}</metadata></domain>")) == policy
    prefixed = text.replace("<qos>", f'<t:qos xmlns:t="{qos.URI}">').replace("</qos>", "</t:qos>")
    assert qos.read(parse(f"<domain><metadata>{prefixed}</metadata></domain>")) == policy
    assert qos.read(parse("<domain/>")) == Policy()


class Mom(SimpleXMLRPCDispatcher):
    """MOM's side of its socket: takes policies, and refuses some."""

    def __init__(self, path: Path) -> None:
        super().__init__(allow_none=True)
        self.policies: dict[str, str] = {}
        self.register_function(lambda: True, "ping")
        self.register_function(lambda text: self._take("", text), "setPolicy")
        self.register_function(self._take, "setNamedPolicy")
        dispatcher = self

        class Handler(SimpleXMLRPCRequestHandler):
            rpc_paths = ("/RPC2",)
            disable_nagle_algorithm = False

            def log_message(self, *_: object) -> None:
                """Write nothing."""

            def address_string(self) -> str:
                """A unix socket has no address."""
                return "unix"

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            logRequests = False

            def _dispatch(self, method: str, params: tuple[object, ...]) -> object:
                return dispatcher._dispatch(method, params)

            def _marshaled_dispatch(self, *arguments: object) -> str:
                return dispatcher._marshaled_dispatch(*arguments)

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def _take(self, name: str, text: str) -> bool:
        if text == "broken":
            raise ValueError("line 1: syntax error")
        self.policies[name] = text
        return text != "(refuse)"

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mom(tmp_path: Path) -> Iterator[Mom]:
    """MOM on its socket."""
    served = Mom(tmp_path / "mom.sock")
    yield served
    served.close()


def config(tmp_path: Path) -> dict[str, object]:
    """The configuration of a host whose MOM is in a folder of the test's."""
    return {"plugin": {"virt": {"mom_socket": str(tmp_path / "mom.sock")}}}


def test_policies_reach_mom(make_machines, mom, tmp_path):
    """The whole policy, and variables by a policy of VDSM's name; what MOM refuses is an error."""
    vms = make_machines(config=config(tmp_path))
    vms.call("Host.setMOMPolicy", policy="(def x 1)")
    vms.call("Host.setMOMPolicyParameters", key_value_store={"ksmEnabled": True, "load": 0.5, "name": "a b"})
    assert mom.policies == {
        "": "(def x 1)",
        "01-parameters": '(set ksmEnabled 1)\n(set load 0.5)\n(set name "a b")',
    }
    assert vms.call("Host.getStats").mom_status == "active"
    for text, reason in (("broken", "syntax error"), ("(refuse)", "refuses")):
        with pytest.raises(MOMPolicyUpdateFailed, match=reason):
            vms.call("Host.setMOMPolicy", policy=text)
    for name, value in (("a)(b", 1), ("a", 'x" y')):
        with pytest.raises(Exception, match="key_value_store"):
            vms.call("Host.setMOMPolicyParameters", key_value_store={name: value})


def test_without_mom(make_machines, tmp_path):
    """The error has the socket and VDSM's code."""
    vms = make_machines(config=config(tmp_path))
    with pytest.raises(MOMPolicyUpdateFailed, match=r"mom\.sock") as refused:
        vms.call("Host.setMOMPolicy", policy="(def x 1)")
    assert refused.value.code == 54
    assert vms.call("Host.getStats").mom_status == "inactive"


def test_maintenance_without_a_hosted_engine(vms):
    """Is an error of its own; so is a mode that does not exist."""
    with pytest.raises(HostedEngineAbsent) as absent:
        vms.call("Host.setHaMaintenanceMode", mode="global", enabled=True)
    with pytest.raises(SetHAPolicyFailed) as wrong:
        vms.call("Host.setHaMaintenanceMode", mode="everywhere", enabled=True)
    assert (absent.value.code, wrong.value.code) == (40, 61)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"runs": 1}, "no setting 'runs'"),
        ({"run": 3}, "from 0 to 2"),
        ({"run": -1}, "from 0 to 2"),
        ({"pages_to_scan": 2**32}, "pages_to_scan is a number"),
        ({}, "no setting is given"),
    ],
)
def test_ksm_takes_its_own_settings_only(vms, given, reason):
    """Others, and numbers out of range, are refused before anything is written."""
    with pytest.raises(KSMUpdateFailed, match=reason) as refused:
        vms.call("Host.setKsmTune", tuningParams=given)
    assert refused.value.code == 71


def test_the_kernel_gets_settings(tmp_path, monkeypatch):
    """Each in its file; what the kernel refuses is returned."""
    monkeypatch.setattr(privileged, "_KSM", tmp_path)
    assert privileged.set_ksm.function({"run": 1, "sleep_millisecs": 20}) == ""
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "run": "1",
        "sleep_millisecs": "20",
    }
    monkeypatch.setattr(privileged, "_KSM", tmp_path / "run")
    assert "Not a directory" in privileged.set_ksm.function({"run": 1})


def test_quotas_on_a_host_without_control_groups(vms):
    """The hypervisor's reason under VDSM's code."""
    vm_id = vms.create()
    with pytest.raises(Exception, match="processor time") as refused:
        vms.call("VM.setCpuTuneQuota", vmID=vm_id, quota=5000)
    assert refused.value.code == 62
