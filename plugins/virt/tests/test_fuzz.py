"""Whatever `vmParams` holds: a machine, or a refusal that blames the request; never a bug's error."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import soak
from vdsm_bridge.call.context import Context
from vdsm_core.errors import Conflict, InvalidRequest, UnexpectedError, VdsmError
from vdsm_virt.api.devices import AnyDevice
from vdsm_virt.api.params import KnownVmParams

pytestmark = pytest.mark.soak

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["true", "0", "1", "-1", "/a", "br0", "\x00", "\ud800", "a" * 5000, "]]>", "<a>&b;", "٣"]
    ),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _members(struct):
    return {field.encode_name: _value(field.type) for field in msgspec.structs.fields(struct)}


def _literals(type_):
    if typing.get_origin(type_) is typing.Literal:
        return list(typing.get_args(type_))
    return [value for argument in typing.get_args(type_) for value in _literals(argument)]


def _structs(type_):
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return [type_]
    return [struct for argument in typing.get_args(type_) for struct in _structs(argument)]


def _value(type_):
    """Values that may fit: the choices of a type, the members of a struct, small numbers, and junk."""
    choices = [JUNK, st.integers(0, 64), st.integers(0, 64).map(str)]
    if literals := _literals(type_):
        choices.append(st.sampled_from(literals))
    for struct in _structs(type_):
        if issubclass(struct, typing.get_args(AnyDevice)):
            continue
        inner = st.fixed_dictionaries({}, optional=_members(struct))
        choices.append(st.lists(inner, max_size=2) if "list" in str(type_) else inner)
    return st.one_of(choices)


DEVICES = st.one_of(
    [
        st.fixed_dictionaries(
            {"type": st.just(device.__struct_config__.tag)},
            optional={**_members(device), "path": st.sampled_from(["/a", "/dev/b", "", "c"])},
        )
        for device in typing.get_args(AnyDevice)
    ]
)
MEMBERS = {
    name: value
    for name, value in _members(KnownVmParams).items()
    if name not in ("devices", "xml", "vmName", "memSize")
}
PARAMS = st.fixed_dictionaries(
    {"vmName": st.just("a") | JUNK, "memSize": st.just(64) | SCALARS},
    optional={
        **MEMBERS,
        "devices": st.lists(DEVICES | JUNK, max_size=4),
        "xml": JUNK,
        "unknown": JUNK,
    },
)
QUIET = settings(
    max_examples=soak.count(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _try(vms, arguments, *, text=False):
    """Ask for a machine; check that the outcome is one of the two that may be."""
    before = set(vms.ids())
    try:
        vm_id = vms.host.bridge.call("VM.create", arguments, Context(), text=text).vm_id
    except (InvalidRequest, Conflict):
        assert before == set(vms.ids())
    except UnexpectedError as error:
        raise AssertionError(f"a bug: {error}") from error
    except VdsmError as error:
        raise AssertionError(f"the request is to blame, not the host: {error!r} {error}") from error
    else:
        vms.call("VM.getInfo", vmID=vm_id)
        vms.call("VM.destroy", vmID=vm_id)
        assert before == set(vms.ids())


@pytest.mark.parametrize("text", [False, True])
def test_any_parameters_are_a_machine_or_a_refusal(vms, text):
    """Random members, over a protocol of typed values and over one of text."""

    @QUIET
    @given(params=PARAMS)
    def check(params):
        _try(vms, {"vmParams": params}, text=text)

    check()


def test_any_devices_are_a_machine_or_a_refusal(vms):
    """Random devices of known kinds: deeper into the document than random members get."""

    @QUIET
    @given(found=st.lists(DEVICES, min_size=1, max_size=4))
    def check(found):
        _try(vms, {"vmParams": {"vmName": "a", "memSize": 64, "devices": found}})

    check()


ELEMENTS = st.sampled_from(
    [
        "<memory>1024</memory>", "<memory unit='X'>1</memory>", "<vcpu>2</vcpu>",
        "<vcpu current='9'>x</vcpu>",
        "<os><type>hvm</type></os>", "<uuid>9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55</uuid>", "<uuid/>",
        "<clock offset='variable' adjustment='reset'/>", "<cpu mode='host-model'/>", "<name>b</name>",
        "<name/>", "<metadata/>", "<metadata><a:b xmlns:a='u'/></metadata>", "<devices/>",
        "<devices><disk/></devices>",
        "<devices><graphics type='vnc' port='x'/></devices>",
        "<devices><video/></devices>",
        "<devices><interface type='user'/></devices>", "<devices><console/></devices>",
        "<x/>", "text", "&amp;", "<", "\x01",
    ]
)  # fmt: skip


def test_any_document_is_a_machine_or_a_refusal(vms):
    """Random pieces of domain documents, some of them broken."""

    @QUIET
    @given(pieces=st.lists(ELEMENTS, max_size=8), name=st.sampled_from(["<name>a</name>", ""]))
    def check(pieces, name):
        within = f"{name}<memory>1024</memory><os><type>hvm</type></os>{''.join(pieces)}"
        xml = f"<domain type='test'>{within}</domain>"
        _try(vms, {"vmParams": {"xml": xml}})

    check()


CALLS = st.tuples(
    st.sampled_from(
        ["VM.pause", "VM.cont", "VM.reset", "VM.shutdown", "VM.destroy", "VM.getInfo", "VM.getStats"]
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "vmID": JUNK
            | st.sampled_from(
                ["9b6f7d32-0c3f-4a0d-8c7e-0f2f6b1c7f55", "6695EB01-f6a4-8304-79aa-97f2502e193f"]
            ),
            "delay": JUNK,
            "gracefulAttempts": JUNK,
            "extra": JUNK,
        },
    ),
)


def test_any_call_on_a_machine_is_done_or_refused(vms):
    """Random arguments to the other verbs of a machine."""

    @QUIET
    @given(call=CALLS)
    def check(call):
        verb, arguments = call
        if arguments.get("delay"):
            arguments["delay"] = str(arguments["delay"])
        try:
            vms.call(verb, **arguments)
        except UnexpectedError as error:
            raise AssertionError(f"a bug: {error}") from error
        except VdsmError:
            return

    check()
    assert vms.call("Host.getVMList")
