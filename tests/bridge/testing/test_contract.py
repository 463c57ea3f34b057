"""The contract suite finds what it is there to find: bindings with one fault each fail it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
from vdsm_bridge.testing.client import BridgeClient, ContractError
from vdsm_bridge.testing.contract import BindingContract

class Faulty(BridgeClient):
    {fault}

class TestFaulty(BindingContract):
    def connect(self, host):
        return Faulty(host.bridge)
"""

FAULTS = {
    "test_offers_the_same_verbs": "def verbs(self): return super().verbs() - {'Host.ping'}",
    "test_no_result": "def call(self, *a, **k): return super().call(*a, **k) or ''",
    "test_roles[monitor]": "def call(self, *a, token='', **k): return super().call(*a, **k)",
    "test_request_id": "def call(self, *a, request_id='', **k): return super().call(*a, **k)",
    "test_deadline_in_the_queue": "def call(self, *a, timeout=None, **k): return super().call(*a, **k)",
    "test_errors_of_verbs": """def call(self, *a, **k):
        try:
            return super().call(*a, **k)
        except ContractError as error:
            raise ContractError(error.slug, 100, error.message) from None""",
    "test_every_kind_of_value_survives": """def call(self, *a, **k):
        result = super().call(*a, **k)
        return {n: v for n, v in result.items() if v is not True} if isinstance(result, dict) else result""",
}


@pytest.mark.parametrize(("test", "fault"), FAULTS.items(), ids=FAULTS)
def test_a_fault_is_found(pytester: pytest.Pytester, test: str, fault: str) -> None:
    """The test that is about it fails, in a project that has nothing but the kit."""
    Path(pytester.path, "test_suite.py").write_text(SUITE.format(fault=fault))
    result = pytester.runpytest_inprocess(
        "-q", "-p", "no:cacheprovider", f"test_suite.py::TestFaulty::{test}"
    )
    result.assert_outcomes(failed=1)
