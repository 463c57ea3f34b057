"""Errors of the configuration. Importing this loads nothing of a bus."""

from __future__ import annotations

from vdsm_bridge.errors import VdsmError


class BadBroker(VdsmError):
    """A broker's URL, or the credentials for it, cannot be used. Facts: `url`, `reason`."""

    slug = "bad-broker"
    code = 101
    template = "Cannot use the broker {url}: {reason}"
