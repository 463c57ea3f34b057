"""The kit for plugin authors: a host within the test, a sample feature, the contract suite of bindings."""

from vdsm_bridge.testing.host import TestHost, found
from vdsm_bridge.testing.sample import Sample

__all__ = ["Sample", "TestHost", "found"]
