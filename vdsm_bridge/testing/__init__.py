"""The kit for plugin authors: a host within the test, a clock, a sample, the contract suite of bindings."""

from vdsm_bridge.testing.clock import Clock
from vdsm_bridge.testing.host import TestHost, found
from vdsm_bridge.testing.sample import Sample

__all__ = ["Clock", "Sample", "TestHost", "found"]
