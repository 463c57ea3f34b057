"""A call of a privileged operation in the helper's process, against the same function in this one."""

from __future__ import annotations

import os
import tempfile

from bench.measure import Row, pair
from vdsm_core.plugins import PRIVILEGED, discover
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.privileged.launch import OwnHelper

#: Microseconds that a call may cost over the operation itself.
LIMIT = 300.0


def run() -> list[Row]:
    """A reading operation of `virt`, with a helper as root's vdsmd starts it."""
    (virt,) = (plugin.loaded for plugin in discover(PRIVILEGED) if plugin.name == "virt")
    operation = virt.read_firmware
    helper = OwnHelper(os.geteuid(), None)
    with tempfile.TemporaryFile() as log:
        before = os.dup(2)
        # The helper writes its log to where standard error is; one line a call, as in real life.
        os.dup2(log.fileno(), 2)
        try:
            helper.start()
        finally:
            os.dup2(before, 2)
            os.close(before)
        client = PrivilegedClient(helper.address)
        client.register("virt", operations_of(virt))
        try:
            ours, theirs = pair(lambda: client.run(operation), operation.function, seconds=3.0, rounds=15)
        finally:
            client.close()
            helper.stop(10.0)
    over = (ours - theirs) * 1e6
    row = Row(
        bench="privileged helper",
        case="reading two small files",
        unit="us",
        value=ours * 1e6,
        yardstick=theirs * 1e6,
        yardstick_name="the function alone",
        note=f"{over:.0f} us more; {LIMIT:.0f} are allowed",
    )
    return [row]
