"""The files of the host, with those facts that only root may read: they are read by the privileged helper."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vdsm_core.errors import VdsmError
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_virt.host.tree import Tree
from vdsm_virt.privileged import read_firmware, read_libvirt_settings

log = logging.getLogger(__name__)

#: Seconds before a helper that could not be reached is asked again; until then facts are absent at once.
_PAUSE: Final = 10.0
_DMI: Final = "sys/class/dmi/id"
_LIBVIRT: Final = ("etc/libvirt/qemu.conf", "etc/libvirt/libvirtd.conf", "etc/libvirt/virtqemud.conf")


class GuardedTree(Tree):
    """A tree whose guarded files are read by the helper where this process may not read them.

    Without a helper they are absent, as on a host without them; the log reports it once.

    :param root: where the files are; the helper reads those of `/` only
    :param clock: in seconds
    """

    def __init__(
        self, root: Path, privileged: PrivilegedClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(root)
        self._privileged = privileged
        self._clock = clock
        #: Before that the helper is not asked again.
        self._ask_after = -math.inf
        self._known: dict[str, str] = {}
        self._reading = threading.Lock()
        self._warned = False
        self._readers: Mapping[str, Callable[[], Mapping[str, str]]] = {
            f"{_DMI}/product_serial": self._firmware,
            f"{_DMI}/product_uuid": self._firmware,
            **dict.fromkeys(_LIBVIRT, self._settings),
        }

    def text(self, path: str) -> str | None:
        """The file's text, or the guarded facts of it; None when neither can be read."""
        if path not in self._readers:
            return super().text(path)
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except PermissionError:
            return self._ask(path)
        except OSError:
            return None

    def _ask(self, path: str) -> str | None:
        if self.root != Path("/"):
            return None
        with self._reading:
            if path not in self._known:
                if self._clock() < self._ask_after:
                    return None
                try:
                    self._known |= self._readers[path]()
                except VdsmError as error:
                    if not self._warned:
                        log.warning("%s stays unknown: %s", path, error)
                    self._warned = True
                    self._ask_after = self._clock() + _PAUSE
                    return None
            return self._known[path] or None

    def _firmware(self) -> Mapping[str, str]:
        found = self._privileged.run(read_firmware)
        return {f"{_DMI}/product_serial": found.product_serial, f"{_DMI}/product_uuid": found.product_uuid}

    def _settings(self) -> Mapping[str, str]:
        lines = self._privileged.run(read_libvirt_settings).lines
        return {path: "\n".join(lines.get(path, [])) for path in _LIBVIRT}
