"""What is told of bindings that did not start, or run and are not well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vdsm_bridge.plugins.binding import Binding, Health
from vdsm_bridge.plugins.feature import PluginInfo
from vdsm_bridge.testing import TestHost


def one(host: TestHost, name: str) -> PluginInfo:
    """What is told of one plugin."""
    (info,) = (info for info in host.server.plugins() if info.name == name)
    return info


class Bad(Binding):
    """A binding that cannot start, for a reason that nobody foresaw."""

    def start(self) -> None:
        """Fail."""
        raise OSError(98, "Address already in use")

    def stop(self, grace: float) -> None:
        """Never."""

    @property
    def address(self) -> tuple[str, ...]:
        """Nothing."""
        return ()


class Unwell(Bad):
    """A binding that runs, and knows that it serves nobody."""

    knows = True

    def start(self) -> None:
        """Succeed."""

    def health(self) -> Health:
        """Say why, or fail even there."""
        if not self.knows:
            raise KeyError("what?")
        return Health("degraded", "the broker is away")


@pytest.mark.parametrize(
    ("knows", "said"),
    [(True, "degraded: the broker is away"), (False, "it cannot tell how it is; see the log")],
)
def test_a_binding_that_is_not_well(
    make_vdsm_host: Callable[..., TestHost], monkeypatch: pytest.MonkeyPatch, knows: bool, said: str
) -> None:
    """`Host.getPlugins` asks it; it runs all the same, and a reload does not count that as a failure."""
    monkeypatch.setattr(Unwell, "knows", knows)
    host = make_vdsm_host(bindings={"unwell": Unwell})
    (told,) = (plugin for plugin in host.call("Host.getPlugins") if plugin.name == "unwell")
    assert (told.state, told.error) == ("running", said)
    assert one(host, "unwell").error == ""


class Refused(Bad):
    """A binding that says itself why it cannot start."""

    def start(self) -> None:
        """Fail."""
        raise OSError("Cannot listen on 127.0.0.1:1: Permission denied")


@pytest.mark.parametrize(("plugin", "traceback"), [(Refused, False), (Bad, True)])
def test_a_reason_in_words_is_one_line_of_the_log(
    make_vdsm_host: Callable[..., TestHost],
    caplog: pytest.LogCaptureFixture,
    plugin: type[Bad],
    traceback: bool,
) -> None:
    """A port that is taken is no bug; what nobody foresaw has its traceback."""
    host = make_vdsm_host(bindings={"bad": plugin})
    told = [record for record in caplog.records if "did not start" in record.getMessage()]
    assert one(host, "bad").error in told[0].getMessage()
    assert [bool(record.exc_info) for record in told] == [traceback]
