"""The memory overcommitment manager (MOM), a service of its own, over XML-RPC on a unix socket."""

from __future__ import annotations

import http.client
import logging
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from vdsm_core.work.scheduler import Jobs
from vdsm_virt.tuning.errors import MOMPolicyUpdateFailed

log = logging.getLogger(__name__)

#: Seconds for an answer, and before the next attempt after one that failed.
_ANSWER: Final = 2.0
_PAUSE: Final = 5.0
#: Seconds for which the service counts as it was found last.
_FRESH: Final = 15.0
#: MOM's name of the policy that sets variables; policies are evaluated in the order of their names.
_PARAMETERS: Final = "01-parameters"


class Mom:
    """Sets policies of MOM, and shows whether it runs.

    :param path: of its socket
    :param jobs: for the looks at whether it runs
    :param clock: seconds, monotonic
    """

    def __init__(self, path: Path, jobs: Jobs, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._jobs = jobs
        self._clock = clock
        self._active = False
        self._looked = 0.0
        self._failed = 0.0

    def set_policy(self, policy: str) -> None:
        """Replace the whole policy by a text in MOM's language.

        :raises MOMPolicyUpdateFailed: MOM does not answer, or refuses it
        """
        self._call("setPolicy", policy)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set variables of the policy.

        :raises MOMPolicyUpdateFailed: MOM does not answer, or refuses them
        """
        lines = (f"(set {name} {_literal(value)})" for name, value in values.items())
        self._call("setNamedPolicy", _PARAMETERS, "\n".join(lines))

    @property
    def status(self) -> str:
        """Whether MOM answered last: "active" or "inactive"."""
        if not self._path.exists():
            self._active = False
        elif self._clock() - self._looked > _FRESH:
            self._looked = self._clock()
            self._jobs.plan("looking for MOM", self._look, second="not needed")
        return "active" if self._active else "inactive"

    def _look(self) -> None:
        try:
            self._ask("ping")
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            log.debug("MOM does not answer: %s", error)
            self._active = False
        else:
            self._active = True

    def _call(self, method: str, *arguments: str) -> None:
        if self._failed and self._clock() - self._failed < _PAUSE:
            raise MOMPolicyUpdateFailed(reason=f"it did not answer on {self._path} a moment ago")
        try:
            accepted = self._ask(method, *arguments)
        except xmlrpc.client.Error as error:
            raise MOMPolicyUpdateFailed(reason=f"it refuses the policy: {_text(error)}") from None
        except (OSError, http.client.HTTPException) as error:
            self._active, self._failed = False, self._clock()
            raise MOMPolicyUpdateFailed(reason=f"it does not answer on {self._path}: {error}") from None
        self._active, self._failed = True, 0.0
        if not accepted:
            raise MOMPolicyUpdateFailed(reason="it refuses the policy")

    def _ask(self, method: str, *arguments: str) -> Any:
        with xmlrpc.client.ServerProxy("http://localhost/RPC2", _Transport(self._path)) as proxy:
            return getattr(proxy, method)(*arguments)


def _literal(value: Any) -> str:
    """Return a value in MOM's language: a number, or a text in quotes."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    try:
        float(value)
    except ValueError:
        return '"{}"'.format(value.replace('"', "'"))
    return str(value)


def _text(error: xmlrpc.client.Error) -> str:
    return str(getattr(error, "faultString", error))[:500]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _Connection(self._path)
        # Where `close` finds it.
        self._connection = (host, connection)
        return connection
