"""The verbs of `Host` that every host has."""

from __future__ import annotations

import logging

import pytest

from vdsm_bridge.testing import TestHost


@pytest.fixture
def logger() -> logging.Logger:
    """A logger that is used by no other test."""
    return logging.getLogger("vdsm.test.levels")


@pytest.mark.parametrize(
    ("level", "number"), [(10, 10), ("DEBUG", 10), ("WARN", 30), ("WARNING", 30), ("CRIT", 50)]
)
def test_set_log_level(vdsm_host: TestHost, logger: logging.Logger, level: str | int, number: int) -> None:
    """VDSM's short names are taken, too; other loggers stay as they are."""
    before = logging.getLogger().level
    vdsm_host.call("Host.setLogLevel", level=level, name=logger.name)
    assert logger.level == number
    assert logging.getLogger().level == before


def test_get_plugins(vdsm_host: TestHost) -> None:
    """Each plugin with its group and its state."""
    plugins = {(p.name, p.group): p.state for p in vdsm_host.call("Host.getPlugins")}
    assert plugins == {("base", "vdsm.verbs"): "running", ("sample", "vdsm.verbs"): "running"}


def test_descriptions_follow_the_verbs(vdsm_host: TestHost) -> None:
    """A description is made once, and again where a reload has replaced the verb."""
    first = {verb.name: verb for verb in vdsm_host.call("Host.getVerbs")}
    again = {verb.name: verb for verb in vdsm_host.call("Host.getVerbs")}
    assert all(again[name] is verb for name, verb in first.items())
    assert set(again) == set(vdsm_host.host.runtime.registry.verbs)


def test_get_verbs(vdsm_host: TestHost) -> None:
    """The API describes itself: every verb, itself included, with its parameters, result and errors."""
    verbs = {verb.name: verb for verb in vdsm_host.call("Host.getVerbs")}
    assert set(verbs) == set(vdsm_host.bridge.verbs)
    burn = verbs["Lamp.burn"]
    assert (burn.kind, burn.access, burn.since, burn.plugin) == ("task", "operator", "1.0", "sample")
    assert (burn.key, burn.listed_by, burn.errors) == ("lampID", "Lamp.list", ["no-such-lamp"])
    hours = next(param for param in burn.params if param.name == "hours")
    assert (hours.required, hours.doc) == (False, "how many")
    assert (hours.type["minimum"], hours.type["maximum"]) == (1, 1000)
    assert "taskID" in str(burn.result)
