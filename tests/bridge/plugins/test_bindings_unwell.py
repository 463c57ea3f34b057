"""What is reported about bindings that failed to start or are unhealthy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vdsm_bridge.plugins.binding import Binding, Health
from vdsm_bridge.plugins.feature import PluginInfo
from vdsm_bridge.testing import TestHost


def one(host: TestHost, name: str) -> PluginInfo:
    """Return the description of one plugin."""
    (info,) = (info for info in host.host.plugins() if info.name == name)
    return info


class Bad(Binding):
    """A binding that cannot start, for an unexpected reason."""

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
    """A binding that runs, and reports that it cannot serve."""

    reports = True

    def start(self) -> None:
        """Succeed."""

    def health(self) -> Health:
        """Report the reason, or fail."""
        if not self.reports:
            raise KeyError("what?")
        return Health("degraded", "the broker is away")


@pytest.mark.parametrize(
    ("reports", "message"),
    [(True, "degraded: the broker is away"), (False, "its health check failed; see the log")],
)
def test_a_binding_that_is_not_well(
    make_vdsm_host: Callable[..., TestHost], monkeypatch: pytest.MonkeyPatch, reports: bool, message: str
) -> None:
    """`Host.getPlugins` asks it; it runs all the same, and a reload does not count that as a failure."""
    monkeypatch.setattr(Unwell, "reports", reports)
    host = make_vdsm_host(bindings={"unwell": Unwell})
    (info,) = (plugin for plugin in host.call("Host.getPlugins") if plugin.name == "unwell")
    assert (info.state, info.error) == ("running", message)
    assert one(host, "unwell").error == ""


class Refused(Bad):
    """A binding whose error has the reason why it cannot start."""

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
    """A port in use is no bug; an unexpected error is logged with its traceback."""
    host = make_vdsm_host(bindings={"bad": plugin})
    told = [record for record in caplog.records if "Cannot start plugin" in record.getMessage()]
    assert one(host, "bad").error in told[0].getMessage()
    assert [bool(record.exc_info) for record in told] == [traceback]
