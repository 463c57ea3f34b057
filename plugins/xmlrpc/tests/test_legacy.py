"""Old names that a third party declares with its verbs: positional arguments, defaults and reply keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import pytest

from vdsm_bridge import Feature, LegacyMethod, Namespace, Progress, action, query, task
from vdsm_bridge.types import SPELL_TEXT, SPELLING, UUID, Open, Record, Request

from .conftest import Serve

ONE, TWO = "11111111-2222-4333-8444-000000000001", "11111111-2222-4333-8444-000000000002"
DONE = {"code": 0, "message": "Done"}
OK = {"code": 0, "message": "OK"}


class Full(Record, frozen=True):
    """A machine; in short it has no name."""

    vm_id: UUID = msgspec.field(name="vmId")
    status: str = "Up"
    vm_name: str | msgspec.UnsetType = "a"


class Known(Request, frozen=True):
    """What is known of a new machine."""

    vm_id: UUID = msgspec.field(name="vmId")
    mem_size: int


class VMParams(Open[Known]):
    """A new machine."""


class Host(Namespace, plural="host"):
    """The host's machines."""

    @query(
        since="1.0",
        name="getVMList",
        names={"vm_list": "vmList"},
        legacy=LegacyMethod("list", args=("fullStatus", "vmList"), reply="vmList"),
    )
    def get_vm_list(
        self,
        vm_list: list[UUID] = [],  # noqa: B006 - the bridge copies defaults
        full_status: bool = False,
    ) -> list[Full]:
        """All machines, or those named."""
        name = "a" if full_status else msgspec.UNSET
        return [Full(vm_id=vm_id, vm_name=name) for vm_id in vm_list or [ONE, TWO]]

    @query(since="1.0", legacy=LegacyMethod("getAllVmStats", reply="statsList"))
    def get_all_vm_stats(self) -> list[Full]:
        """Statistics of all machines."""
        return [Full(vm_id=ONE)]

    @query(since="1.0", legacy=LegacyMethod("getVdsCapabilities", reply="info"))
    def get_capabilities(self) -> dict[str, str]:
        """What the host can."""
        return {"memSize": "64"}


class Created(Record, frozen=True):
    """A place for a machine."""

    params: Full
    migration_port: int = 0


class Moving(Record, frozen=True):
    """How far a machine is."""

    progress: int
    data_total: Annotated[int, msgspec.Meta(extra={SPELLING: SPELL_TEXT})]


class VM(Namespace, key="vmID"):
    """A machine."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    @action(
        since="1.0",
        names={"vm_params": "vmParams"},
        legacy=LegacyMethod("create", args=("vmParams",), id_inside="vmId", reply="vmList"),
    )
    def create(self, vm_id: UUID, vm_params: VMParams) -> Full:
        """Create."""
        self.calls.append((vm_id, vm_params))
        return Full(vm_id=vm_id)

    @action(
        since="1.0",
        legacy=LegacyMethod(
            "migrationCreate", args=("params",), id_inside="vmId", members=("migrationPort", "params")
        ),
    )
    def migration_create(self, vm_id: UUID, params: VMParams) -> Created:
        """Expect it."""
        self.calls.append((vm_id, params))
        return Created(params=Full(vm_id=vm_id))

    @query(since="1.0", legacy=LegacyMethod("migrateStatus", reply="migrationStats", members=("progress",)))
    def get_migration_status(self, vm_id: UUID) -> Moving:
        """How far it is."""
        return Moving(progress=40, data_total=5_000_000_000)

    @action(since="1.0", done="Machine destroyed", legacy=LegacyMethod("destroy"))
    def destroy(self, vm_id: UUID) -> None:
        """Destroy."""

    @action(since="1.0", legacy=LegacyMethod("pause", fixed={"output": [""]}))
    def pause(self, vm_id: UUID) -> None:
        """Pause."""

    @action(since="1.0", legacy=LegacyMethod("reset"))
    def reset(self, vm_id: UUID) -> None:
        """Reset."""

    @query(
        since="1.0",
        legacy=(
            LegacyMethod("getVmStats", reply="statsList", shape="array"),
            LegacyMethod("vmStats", reply="stats"),
        ),
    )
    def get_stats(self, vm_id: UUID) -> Full:
        """Statistics."""
        return Full(vm_id=vm_id)

    @action(
        since="1.0",
        legacy=LegacyMethod("shutdown", args=("vmID", "delay", "message", "reboot", LegacyMethod.IGNORED)),
    )
    def shutdown(self, vm_id: UUID, delay: int = 0, message: str = "", reboot: bool = False) -> None:
        """Shut down."""
        self.calls.append((vm_id, delay, message, reboot))

    @task(since="1.0", legacy=LegacyMethod("freeze"))
    def freeze(self, vm_id: UUID, progress: Progress) -> None:
        """A task, for the sake of its reply."""


class Machines(Feature):
    """Verbs of VDSM's names."""

    vm = VM()

    def namespaces(self) -> list[Namespace]:
        """`Host` in part, and `VM`."""
        return [Host(), self.vm]


@pytest.fixture
def vm() -> VM:
    """The machine's verbs, which remember what they were called with."""
    return VM()


@pytest.fixture
def client(serve: Serve, vm: VM) -> Iterator[Any]:
    """A client of a host with those verbs."""

    class WithMachines(Machines):
        pass

    WithMachines.vm = vm
    with serve(verbs={"machines": WithMachines}).proxy() as proxy:
        yield proxy


def test_list(client: Any) -> None:
    """`list(fullStatus=false, vmList=[])`: an array under `vmList`."""
    short = [{"vmId": ONE, "status": "Up"}, {"vmId": TWO, "status": "Up"}]
    for params in ((), (False,), ("false",), ("FALSE", []), (None, None)):
        assert client.list(*params) == {"status": DONE, "vmList": short}
    assert client.list(False, [TWO])["vmList"] == short[1:]
    full = [{**machine, "vmName": "a"} for machine in short]
    for params in ((True,), ("True",), ("true", [])):
        assert client.list(*params)["vmList"] == full
    assert client.list(True, [ONE])["vmList"] == full[:1]


def test_list_with_a_flag_that_is_none(client: Any) -> None:
    """A flag that is neither true nor false is an error that names it."""
    status = client.list("perhaps")["status"]
    assert (status["code"], status["slug"]) == (91, "invalid-argument")
    assert "fullStatus" in status["message"]


def test_create(client: Any, vm: VM) -> None:
    """One struct with the id inside; the reply holds one struct under `vmList`; unknown members are kept."""
    reply = client.create({"vmId": ONE, "memSize": "512", "keyboardLayout": "en-us"})
    assert reply == {"status": DONE, "vmList": {"vmId": ONE, "status": "Up", "vmName": "a"}}
    ((vm_id, params),) = vm.calls
    assert (vm_id, params.known.mem_size, params.unknown) == (ONE, 512, {"keyboardLayout": "en-us"})


def test_members_beside_the_status(client: Any, vm: VM) -> None:
    """Where VDSM put members of a result beside `status`, they are there, spelled as their types say."""
    reply = client.migrationCreate({"vmId": ONE, "memSize": "512"})
    machine = {"vmId": ONE, "status": "Up", "vmName": "a"}
    assert reply == {"status": DONE, "migrationPort": 0, "params": machine}
    assert vm.calls[0][0] == ONE
    stats = {"progress": 40, "dataTotal": "5000000000"}
    assert client.migrateStatus(ONE) == {"status": DONE, "progress": 40, "migrationStats": stats}


@pytest.mark.parametrize(
    ("params", "slug", "code"),
    [
        ((), "missing-argument", 11),
        (("x",), "invalid-argument", 91),
        (({},), "missing-argument", 11),
        (({"vmId": "x", "memSize": 1},), "invalid-argument", 91),
        (({"vmId": ONE, "memSize": 1}, 2), "invalid-argument", 91),
    ],
)
def test_create_refused(client: Any, vm: VM, params: tuple[Any, ...], slug: str, code: int) -> None:
    """A description that cannot be right is refused, and nothing is created."""
    status = client.create(*params)["status"]
    assert (status["slug"], status["code"]) == (slug, code)
    assert vm.calls == []


def test_sentences_and_fixed_members(client: Any) -> None:
    """The sentences of success and the odd members that VDSM's clients know."""
    assert client.destroy(ONE) == {"status": {"code": 0, "message": "Machine destroyed"}}
    assert client.pause(ONE) == {"status": DONE, "output": [""]}
    assert client.VM.pause(ONE) == {"status": DONE}
    assert client.reset(ONE) == {"status": DONE}


def test_one_result_in_an_array(client: Any) -> None:
    """`getVmStats` gives one struct in an array, `getAllVmStats` all of them."""
    stats = {"vmId": ONE, "status": "Up", "vmName": "a"}
    assert client.getVmStats(ONE) == {"status": DONE, "statsList": [stats]}
    assert client.getAllVmStats() == {"status": DONE, "statsList": [stats]}


def test_info(client: Any) -> None:
    """Capabilities stand under `info`."""
    assert client.getVdsCapabilities() == {"status": DONE, "info": {"memSize": "64"}}


def test_positions_and_defaults(client: Any, vm: VM) -> None:
    """Arguments by place, numbers and booleans as text; nil and what is not given are the defaults."""
    client.shutdown(ONE)
    client.shutdown(ONE, "30", "bye", "true")
    client.shutdown(ONE, None, "bye")
    assert vm.calls == [(ONE, 0, "", False), (ONE, 30, "bye", True), (ONE, 0, "bye", False)]
    assert client.shutdown(ONE, 1, "a", False, "ignored", 7)["status"]["slug"] == "invalid-argument"


def test_task(client: Any) -> None:
    """A task's id stands under `uuid`; its verbs have VDSM's keys and sentence."""
    reply = client.freeze(ONE)
    assert set(reply) == {"status", "uuid"}
    task_id = reply["uuid"]
    assert client.getTaskInfo(task_id) == {"status": OK, "TaskInfo": {"id": task_id, "verb": "VM.freeze"}}
    assert client.getTaskStatus(task_id)["taskStatus"]["taskID"] == task_id
    assert list(client.getAllTasksStatuses()["allTasksStatus"]) == [task_id]
    assert list(client.getAllTasksInfo()["allTasksInfo"]) == [task_id]
    assert list(client.getAllTasks({"ignored": "options"})["tasks"]) == [task_id]
    status = client.getTaskStatus(TWO)["status"]
    assert (status["code"], status["slug"]) == (401, "no-such-task")


def test_only_what_there_is_is_offered(client: Any) -> None:
    """An old name exists exactly if its verb does, and leads back to it."""
    offered = set(client.system.listMethods())
    assert {"list", "create", "getVmStats", "vmStats"} <= offered
    assert "migrate" not in offered
    assert "An old name of VM.getStats" in client.system.methodHelp("vmStats")


def test_several_old_names(client: Any) -> None:
    """Each old name of one verb has its own form."""
    stats = {"vmId": ONE, "status": "Up", "vmName": "a"}
    assert client.vmStats(ONE) == {"status": DONE, "stats": stats}
