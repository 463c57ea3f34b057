"""Names of QMFv2: exchanges, agents, routing keys."""

from __future__ import annotations

from typing import Final, NamedTuple, Self

TOPIC: Final = "qmf.default.topic"
DIRECT: Final = "qmf.default.direct"
#: The exchange of the reply addresses of QMFv1 consoles.
FIRST_DIRECT: Final = "amq.direct"

#: The first two parts of the name of a host's agent, unless they are configured.
VENDOR: Final = "vdsm"
PRODUCT: Final = "vdsmd"

LOCATE_KEY: Final = "console.request.agent_locate"
#: The key of all unsolicited messages of agents.
INDICATIONS: Final = "agent.ind.#"

#: `_severity` by number (RFC 5424, section 6.2.1), as qpidd spells it in routing keys.
SEVERITIES: Final = ("emerg", "alert", "crit", "error", "warn", "note", "info", "debug")


class AgentName(NamedTuple):
    """`vendor:product:instance`. Vendor and product have no colon; the instance may."""

    vendor: str
    product: str
    instance: str

    def __str__(self) -> str:
        return f"{self.vendor}:{self.product}:{self.instance}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split a name into its parts.

        :raises ValueError: the name has fewer than three parts
        """
        vendor, product, instance = text.split(":", 2)
        return cls(vendor, product, instance)

    @property
    def kind(self) -> tuple[str, str]:
        """Vendor and product, which all agents of one program share."""
        return self.vendor, self.product

    def heartbeat_key(self) -> str:
        """Return the routing key of its heartbeats."""
        return f"agent.ind.heartbeat.{self._escaped()}"

    def data_key(self, package: str, class_name: str) -> str:
        """Return the routing key of its published objects of one class."""
        return f"agent.ind.data.{escape(package)}.{escape(class_name)}.{self._escaped()}"

    def event_key(self, package: str, class_name: str, severity: int) -> str:
        """Return the routing key of its events of one class."""
        word = SEVERITIES[severity]
        return f"agent.ind.event.{escape(package)}.{escape(class_name)}.{word}.{self._escaped()}"

    def _escaped(self) -> str:
        return ".".join(map(escape, self))


def escape(part: str) -> str:
    """Replace dots, which separate the words of a routing key, by underscores."""
    return part.replace(".", "_")
