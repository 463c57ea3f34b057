"""How names are spelled on the command line."""

from __future__ import annotations

import pytest

from vdsmsh.api.naming import kebab, long, short, stem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("VM", "vm"),
        ("StoragePool", "storage-pool"),
        ("vmID", "vm-id"),
        ("memSize", "mem-size"),
        ("onlyUUID", "only-uuid"),
        ("imageUUIDs", "image-uuids"),
        ("dumpxmls", "dumpxmls"),
        ("ping2", "ping2"),
        ("getVMFullList", "get-vm-full-list"),
        ("getAllVmStats", "get-all-vm-stats"),
        ("ISCSIConnection", "iscsi-connection"),
        ("storagepool_id", "storagepool-id"),
    ],
)
def test_kebab(name: str, expected: str) -> None:
    """Capitals and underscores separate words; acronyms and their plurals stay whole."""
    assert kebab(name) == expected


@pytest.mark.parametrize(
    ("method", "expected"), [("getStats", "stats"), ("get", "get"), ("getter", "getter"), ("list", "list")]
)
def test_short(method: str, expected: str) -> None:
    """`get` falls only where it is a word of its own."""
    assert short(method) == expected


def test_long() -> None:
    """The long name keeps it."""
    assert long("getStats") == "get-stats"


@pytest.mark.parametrize("key", ["vmID", "vmId", "vmUUID", "vmName"])
def test_stem(key: str) -> None:
    """What a key is of, whatever its ending."""
    assert stem(key) == "vm"
