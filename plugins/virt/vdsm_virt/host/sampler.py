"""Looks at the host at an interval, in a thread of its own, so that statistics are at hand when asked for."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from vdsm_virt.host import load
from vdsm_virt.host.hardware import memory, numa
from vdsm_virt.host.hardware.cpu import node_of, online
from vdsm_virt.host.network.links import Kind, Links, hardware_address, speed, state
from vdsm_virt.host.stats import Daemon, HostStats, Machines, Nic, Sample, host_stats
from vdsm_virt.host.system import kernel
from vdsm_virt.host.tree import Tree

log = logging.getLogger(__name__)

#: Pause before the second sample, so that rates soon replace the averages since boot. Long enough for
#: shares of processor time in steps of 2 % on one processor (100 ticks a second).
_FIRST_PAUSE: Final = 0.5


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HostSampler:
    """Keeps the last two samples.

    `interval` is in seconds; VDSM took 2 s for the host by default (`host_sample_stats_interval`, later 15
    s). `paths` are those whose free space is reported. `reserve` is the memory kept for the host, in MiB.
    `clock` counts the seconds since boot.
    """

    def __init__(
        self,
        tree: Tree,
        *,
        interval: float = 15.0,
        paths: Sequence[str] = ("/tmp", "/var/log"),  # noqa: S108  # watched, not written
        fake_nics: Sequence[str] = (),
        reserve: int = 321,
        clock: Callable[[], float] = _since_boot,
    ) -> None:
        self._tree = tree
        self._links = Links(tree, fake_nics)
        self._interval = interval
        self._paths = tuple(paths)
        self._clock = clock
        self._daemon = Daemon(generation=str(uuid.uuid4()), started=clock(), reserve=reserve)
        self._samples: tuple[Sample | None, Sample] | None = None
        #: Whether MOM runs: "active" or "inactive".
        self.mom_status: Callable[[], str] = lambda: "inactive"
        self._ksmd: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take the first sample and go on in the background.

        Until the second sample, a moment later, rates are averages since boot.
        """
        self._ksmd = load.kernel_thread(self._tree, "ksmd")
        self.sample()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="host-sampler", daemon=True)
        self._thread.start()

    def stop(self, grace: float = 2.0) -> None:
        """End the thread, waiting `grace` seconds at most. The last values stay, and age.

        A hanging file system of `paths` can hold the thread longer; it does not keep the process from ending.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(grace)
            self._thread = None

    def sample(self) -> None:
        """Look at the host now."""
        sample = self._look()
        # One assignment: a reader sees the old pair or the new one.
        self._samples = (self._samples[1] if self._samples else None, sample)

    def stats(self, machines: Machines) -> HostStats:
        """Return the load by the last two samples; takes one if there is none yet."""
        if self._samples is None:
            self.sample()
        assert self._samples is not None
        before, now = self._samples
        stats = host_stats(before, now, machines, self._daemon, self._clock())
        return msgspec.structs.replace(stats, mom_status=self.mom_status())

    def _run(self) -> None:
        pause = min(_FIRST_PAUSE, self._interval)
        while not self._stopping.wait(pause):
            pause = self._interval
            try:
                self.sample()
            except (OSError, ValueError):
                # The statistics have their age; a file in a new format must not end them.
                log.exception("Cannot sample the host")

    def _look(self) -> Sample:
        tree = self._tree
        whole, cores = load.cpu_times(tree)
        return Sample(
            at=self._clock(),
            wall=time.time(),
            cpu=whole,
            cores=cores,
            nodes={core: node_of(tree, core) for core in online(tree)},
            load=kernel.load_average(tree),
            own=load.process_time(tree, "self"),
            ksmd=load.process_time(tree, self._ksmd) if self._ksmd else None,
            memory=memory.memory(tree),
            ksm=memory.ksm(tree),
            thp=memory.transparent_hugepages(tree),
            numa=numa.memory_stats(tree),
            nics=self._nics(),
            free=self._free(),
            boot_time=kernel.boot_time(tree),
        )

    def _nics(self) -> dict[str, Nic]:
        traffic = load.traffic(self._tree)
        return {
            link.name: Nic(
                traffic=traffic.get(link.name, load.Traffic()),
                mac=hardware_address(self._tree, link.name),
                state=state(self._tree, link.name),
                speed=speed(self._tree, link.name),
                is_trunk=link.kind is Kind.NIC,
            )
            for link in self._links.all()
            if link.kind is not Kind.BRIDGE
        }

    def _free(self) -> dict[str, int]:
        """Return MiB that an ordinary process can still write; paths that are not there are left out."""
        found = {}
        for path in self._paths:
            try:
                status = os.statvfs(self._tree.root / path.lstrip("/"))
            except OSError:
                continue
            found[path] = status.f_bavail * status.f_frsize // (1 << 20)
        return found
