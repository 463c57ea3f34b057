"""One host as the commands use it: its verbs, its objects, and calls."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vdsm_bridge.transport import CallOptions, Transport, TransportError
from vdsmsh.api.catalogue import Catalogue, CatalogueCache
from vdsmsh.api.command_names import Commands
from vdsmsh.quick import complete
from vdsmsh.streams import Streams


class Session:
    """A transport, and the catalogue of the host behind it.

    :param cache: keeps the verbs of the host from one start to the next
    """

    def __init__(self, transport: Transport, cache: CatalogueCache, streams: Streams) -> None:
        self.transport = transport
        self.streams = streams
        #: The words of the command line that name this host; empty for the default host.
        self.named: Sequence[str] = ()
        self._cache = cache
        self._catalogue: Catalogue | None = None
        self._fresh = False

    def catalogue(self, options: CallOptions) -> Catalogue:
        """Return the verbs of the host: those of the cache, else those that the host lists.

        :raises TransportError: the cache is empty, and the call to the host failed
        """
        if self._catalogue is None:
            self._catalogue = self._cache.load()
        return self._catalogue or self.refresh(options)

    def refresh(self, options: CallOptions) -> Catalogue:
        """Read the verbs from the host.

        :raises TransportError: the call failed
        """
        described = self.transport.verbs(options)
        revision = self.transport.revision
        self._cache.save(revision, described)
        self._catalogue = Catalogue(revision, described)
        self._fresh = True
        complete.keep(self.transport.url, revision, Commands(self._catalogue).words())
        return self._catalogue

    def close(self) -> None:
        """Free what the transport holds."""
        self.transport.close()

    @property
    def fresh(self) -> bool:
        """Whether the verbs were read from the host, not from the cache, in this process."""
        return self._fresh

    def commands(self, options: CallOptions) -> Commands:
        """Return the commands of the host; see `catalogue`."""
        return Commands(self.catalogue(options))

    def listing(self, lister: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Return what a verb lists.

        :raises TransportError: the host refused, or did not answer
        """
        return self.call(lister, arguments, options)

    def call(
        self, verb: str, arguments: Mapping[str, Any], options: CallOptions, *, verbose: bool = False
    ) -> Any:
        """Call a verb. Refresh the catalogue if the answer has another revision of the API.

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
            self._update_catalogue(options)

    def _update_catalogue(self, options: CallOptions) -> None:
        known, now = self._catalogue, self.transport.revision
        if known is None or not now or known.revision == now:
            return
        try:
            self.refresh(CallOptions(timeout=options.timeout))
        except TransportError:
            # The old catalogue is better than none; the next answer triggers another attempt.
            self._catalogue = known
