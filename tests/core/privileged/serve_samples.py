"""A helper's process for the tests: like `vdsm-helper`, with the sample operations. Arguments: FD, ROOT."""

from __future__ import annotations

import logging
import os
import socket
import sys

from tests.core.privileged import sample
from vdsm_core.privileged import capabilities, operations_of
from vdsm_core.privileged.server.dispatch import Dispatcher
from vdsm_core.privileged.server.registry import Registry
from vdsm_core.privileged.server.service import Service

logging.basicConfig(level=logging.INFO, format="%(process)d %(message)s")
registry = Registry()
registry.add("sample", operations_of(sample))
held = capabilities.limit(registry.capabilities)
dispatcher = Dispatcher(registry, held, {sample.ROOT: sys.argv[2]})
with socket.socket(fileno=int(sys.argv[1])) as listener:
    Service(listener, dispatcher, {os.geteuid()}).serve()
