"""One function judges whether an address is loopback, for the access check and for every binding."""

from __future__ import annotations

import pytest

from vdsm_bridge import is_loopback


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "::FFFF:7f00:1", "::1%lo"]
)
def test_loopback(address: str) -> None:
    """Every spelling of a loopback address that a listener reports is recognised, mapped ones included."""
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "0.0.0.0",
        "::",
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
        "localhost",
        "127.0.0.1.example",
        "127.1",
    ],
)
def test_not_loopback(address: str) -> None:
    """Other addresses, wildcards and names are not loopback."""
    assert not is_loopback(address)
