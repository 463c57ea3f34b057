"""The exchanges and the policy that hosts and consoles need on RabbitMQ, as a definitions file.

The AMQP 1.0 plugin of RabbitMQ 3.x can declare neither an exchange nor an exclusive queue: the exchanges are
declared beforehand, and a policy removes the queues that a lost connection leaves behind.

`python -m vdsm_qmf.topology` prints the file, without users; `rabbitmqctl import_definitions` reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vdsm_qmf.protocol.names import DIRECT, TOPIC

#: Milliseconds that the queue of a lost connection is kept, and bytes that any queue may hold.
_EXPIRES: Final = 60_000
_MAX_BYTES: Final = 64 * 1024 * 1024


def definitions(users: Mapping[str, str] | None = None, vhost: str = "/") -> dict[str, Any]:
    """Return the document.

    :param users: passwords by name of users to create; for tests, since the document has them in the clear
    """
    exchanges = [
        {
            "name": name,
            "vhost": vhost,
            "type": kind,
            "durable": True,
            "auto_delete": False,
            "internal": False,
            "arguments": {},
        }
        for name, kind in ((TOPIC, "topic"), (DIRECT, "direct"))
    ]
    policy = {
        "vhost": vhost,
        "name": "vdsm-left-queues",
        "pattern": "^amq\\.gen-",
        "apply-to": "queues",
        "definition": {"expires": _EXPIRES, "max-length-bytes": _MAX_BYTES},
        "priority": 0,
    }
    document: dict[str, Any] = {"exchanges": exchanges, "policies": [policy]}
    if users:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        document["vhosts"] = [{"name": vhost}]
        document["users"] = [
            {"name": name, "password": password, "tags": ""} for name, password in users.items()
        ]
        document["permissions"] = [{"user": name, "vhost": vhost, **everything} for name in users]
    return document


def main() -> None:
    """Print the document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(definitions())).decode() + "\n")


if __name__ == "__main__":
    main()
