"""The contract suite through the bridge itself: the yardstick holds its own rules."""

from __future__ import annotations

from vdsm_bridge.testing.client import BridgeClient
from vdsm_bridge.testing.contract import BindingContract
from vdsm_bridge.testing.host import TestHost


class TestBridge(BindingContract):
    """No binding at all."""

    def connect(self, host: TestHost) -> BridgeClient:
        """The bridge, called as a binding calls it."""
        return BridgeClient(host.bridge)


class TestBridgeAsText(TestBridge):
    """The bridge as the binding of a text protocol calls it."""

    text = True

    def connect(self, host: TestHost) -> BridgeClient:
        """The bridge, converting arguments from text."""
        return BridgeClient(host.bridge, text=True)
