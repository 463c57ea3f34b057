"""The contract of bindings, over TCP."""

from __future__ import annotations

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.contract import BindingContract
from vdsm_rest import RestBinding

from .rest_client import RestClient


class TestContract(BindingContract):
    """The same verbs, results and errors as the bridge's own."""

    name = "rest"
    binding = RestBinding
    options = {"port": 0}

    def connect(self, host: TestHost) -> RestClient:
        return RestClient(self.address_of(host))
