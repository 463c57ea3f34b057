"""The contract of a client's transport."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Credentials,
    Transport,
    TransportError,
    Unreachable,
)


class Recorder(Transport):
    """Records its calls."""

    revision = "1"

    def __init__(self) -> None:
        super().__init__("recorder://", Credentials())
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        self.calls.append((verb, dict(arguments)))
        return [{"name": "Host.ping"}]

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        return verb

    def close(self) -> None:
        pass


def test_verbs_are_read_from_the_host() -> None:
    """A transport need not say how verbs are described: the API does."""
    transport = Recorder()
    assert transport.verbs(CallOptions()) == [{"name": "Host.ping"}]
    assert transport.calls == [("Host.getVerbs", {})]


def test_refusal_carries_the_error_of_the_host() -> None:
    """Slug, code, message and facts of the host's error; the text is the message."""
    error = CallRefused("no-such-vm", 1, "There is no machine 'x'", {"vm_id": "x"})
    assert (error.slug, error.code, error.facts) == ("no-such-vm", 1, {"vm_id": "x"})
    assert str(error) == "There is no machine 'x'"


def test_errors_are_one_tree() -> None:
    """A client catches both kinds by their base class, and can distinguish them."""
    assert issubclass(CallRefused, TransportError)
    assert issubclass(Unreachable, TransportError)
    assert not issubclass(CallRefused, Unreachable)


def test_token_is_not_shown() -> None:
    """Credentials in a log or a traceback hide their secret."""
    assert "hush" not in repr(Credentials(token="hush", token_source="$VDSM_TOKEN"))


def test_a_client_needs_no_host() -> None:
    """The contract loads nothing of the host and nothing outside of the standard library."""
    code = "import sys, vdsm_bridge.transport; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30).split())
    assert "vdsm_bridge" in loaded
    assert {"vdsm_core", "msgspec", "libvirt", "stevedore", "pluggy"} & loaded == set()
