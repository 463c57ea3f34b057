"""One host as the commands see it: its verbs, its objects, and calls."""

from __future__ import annotations

import math
import os
import select
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from vdsm_bridge.transport import CallOptions, Transport, TransportError
from vdsmsh.catalogue import Catalogue, CatalogueCache
from vdsmsh.commands import Commands

#: Seconds between two looks whether somebody still reads what is printed.
_LOOK: Final = 1.0


@dataclass(frozen=True)
class Streams:
    """Where a command reads and writes."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def insist(self) -> float:
        """Make sure that somebody reads the output: who waits for news does not find out by writing.

        :returns: seconds after which to look again
        :raises BrokenPipeError: whoever read it has gone
        """
        try:
            number = self.stdout.fileno()
        except (OSError, ValueError):
            return math.inf  # a text in memory
        poll = select.poll()
        poll.register(number, 0)  # what is broken is told without being asked for
        if any(what & (select.POLLERR | select.POLLHUP) for _, what in poll.poll(0)):
            raise BrokenPipeError
        # A terminal that goes takes its programs with it, and files stay.
        return _LOOK if stat.S_ISFIFO(os.fstat(number).st_mode) else math.inf


class Session:
    """A transport, and what is known of the host behind it.

    :param cache: remembers the verbs from one start to the next
    """

    def __init__(self, transport: Transport, cache: CatalogueCache, streams: Streams) -> None:
        self.transport = transport
        self.streams = streams
        #: The words of the command line that mean this host; none for the one that is meant without any.
        self.named: Sequence[str] = ()
        self._cache = cache
        self._catalogue: Catalogue | None = None
        self._fresh = False

    def catalogue(self, options: CallOptions) -> Catalogue:
        """The verbs of the host: what is remembered, else what it says.

        :raises TransportError: nothing is remembered, and the host cannot be asked
        """
        if self._catalogue is None:
            self._catalogue = self._cache.load()
        return self._catalogue or self.refresh(options)

    def refresh(self, options: CallOptions) -> Catalogue:
        """Ask the host for its verbs.

        :raises TransportError: it cannot be asked
        """
        described = self.transport.verbs(options)
        revision = self.transport.revision
        self._cache.save(revision, described)
        self._catalogue = Catalogue(revision, described)
        self._fresh = True
        return self._catalogue

    def close(self) -> None:
        """Free what the transport holds."""
        self.transport.close()

    @property
    def fresh(self) -> bool:
        """Whether the host itself has been asked for its verbs in this process."""
        return self._fresh

    def commands(self, options: CallOptions) -> Commands:
        """The commands of the host; see `catalogue`."""
        return Commands(self.catalogue(options))

    def listing(self, lister: str, options: CallOptions) -> Any:
        """What a verb lists.

        :raises TransportError: the host refused, or did not answer
        """
        return self.call(lister, {}, options)

    def call(
        self, verb: str, arguments: Mapping[str, Any], options: CallOptions, *, verbose: bool = False
    ) -> Any:
        """Call a verb, and learn anew what the host can do if that has changed.

        :raises TransportError: the host refused, or did not answer
        """
        began = time.monotonic()
        try:
            return self.transport.call(verb, arguments, options)
        finally:
            if verbose:
                took = (time.monotonic() - began) * 1000
                print(
                    f"{verb} {dict(arguments)}: {took:.1f} ms, {self.transport.url}", file=self.streams.stderr
                )
            self._follow(options)

    def _follow(self, options: CallOptions) -> None:
        known, now = self._catalogue, self.transport.revision
        if known is None or not now or known.revision == now:
            return
        try:
            self.refresh(CallOptions(timeout=options.timeout))
        except TransportError:
            # Who cannot ask for the verbs now goes on with those that are remembered.
            self._catalogue = known
