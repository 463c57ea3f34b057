"""The displays of a running machine."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_core.errors import InvalidArgument
from vdsm_core.types import UUID
from vdsm_virt.api.hotplug import DisplayPassword
from vdsm_virt.api.scalars import Word
from vdsm_virt.machine.control import Control
from vdsm_virt.verbs.vm import VM

Seconds = Annotated[int, Meta(ge=0, le=10**9, extra_json_schema={"x-unit": "s"})]


_METHOD: Final = LegacyMethod("setVmTicket", args=("vmID", "password", "ttl", "existingConnAction", "params"))
_NONE: Final[dict[str, str]] = {}


class Displays(Namespace, group_of=VM):
    """Let viewers in."""

    def __init__(self, control: Control) -> None:
        self._control = control

    @action(since="1.0", legacy=_METHOD)
    def set_ticket(
        self,
        vm_id: UUID,
        password: DisplayPassword,
        ttl: Seconds,
        existing_conn_action: Literal["disconnect", "keep", "fail"] = "disconnect",
        params: Annotated[dict[Word, Word], Meta(max_length=16)] = _NONE,
    ) -> None:
        """Set the password of a machine's first display. Until then no viewer gets in.

        :param password: at most 8 bytes for VNC, 60 for SPICE
        :param ttl: seconds until it expires; 0 is never
        :param existing_conn_action: what happens to viewers of SPICE that are connected; VNC keeps them
        :param params: `fips` "true", which asks for SASL, is refused; other members are for hooks
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises SetTicketFailed: it has no display, or the hypervisor refuses
        """
        if params.get("fips", "false") != "false":
            raise InvalidArgument(argument="params.fips", reason="SASL for displays is not supported")
        self._control.set_ticket(vm_id.lower(), password, ttl, existing_conn_action, params)
