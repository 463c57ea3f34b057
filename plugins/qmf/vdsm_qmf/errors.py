"""What a binding can report before anything of a bus is loaded."""

from __future__ import annotations

from vdsm_bridge.errors import VdsmError


class BadBroker(VdsmError):
    """A broker's URL, or how one proves oneself to it, cannot be used. Facts: `url`, `reason`."""

    slug = "bad-broker"
    code = 101
    template = "Cannot use the broker {url}: {reason}"
