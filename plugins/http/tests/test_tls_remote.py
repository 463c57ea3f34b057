"""Callers on another machine, as far as addresses go: in a network namespace, on an address of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("remote_callers.py")
SETUP = "ip link set lo up && ip address add 192.0.2.1/32 dev lo"


def test_remote_callers_need_a_certificate() -> None:
    """Without one they are refused by an alert; callers on loopback of the same port are served."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare or ip is not installed")
    inside = ["unshare", "--map-root-user", "--net", "sh", "-c"]
    tried = subprocess.run([*inside, SETUP], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")
    done = subprocess.run(
        [*inside, f'{SETUP} && exec "$0" "$1"', sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    refused = "This address requires TLS: use https://"
    assert found["plain 127.0.0.1"] == found["plain 192.0.2.1"] == refused
    assert found["anonymous 127.0.0.1"] == "None"
    assert found["anonymous 192.0.2.1"] == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    for address in ("127.0.0.1", "192.0.2.1"):
        assert "common_name='bob'" in found[f"bob {address}"]
