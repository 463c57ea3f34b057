"""TLS under the sites of the front: certificates, handshakes, and connections that are encrypted."""

from __future__ import annotations
