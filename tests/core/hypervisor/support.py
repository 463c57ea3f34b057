"""What the tests of the hypervisor share."""

from __future__ import annotations

from typing import TypeVar

from vdsm_core.config import HypervisorOptions
from vdsm_core.hypervisor import HypervisorEvent

OPTIONS = HypervisorOptions(
    uri="test:///default",
    call_deadline=5.0,
    keepalive=1,
    reconnect_first=0.02,
    reconnect_most=0.1,
    sample_interval=0.05,
)
#: The domain that the test driver begins with.
TEST_DOMAIN = "6695eb01-f6a4-8304-79aa-97f2502e193f"
UNKNOWN = "00000000-0000-4000-8000-000000000000"

E = TypeVar("E")


def xml(name: str, uuid: str = "", os_type: str = "hvm") -> str:
    """A domain of the test driver's."""
    element = f"<uuid>{uuid}</uuid>" if uuid else ""
    return (
        f"<domain type='test'><name>{name}</name>{element}<memory>8192</memory>"
        f"<os><type>{os_type}</type></os></domain>"
    )


class Listener:
    """Records the events that it receives."""

    def __init__(self) -> None:
        self.events: list[HypervisorEvent] = []

    def __call__(self, event: HypervisorEvent) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """Those of one kind."""
        return [event for event in self.events if isinstance(event, kind)]
