"""What can be wrong with a message, and how errors of the host are told on the bus."""

from __future__ import annotations

from vdsm_bridge.errors import InvalidRequest, NotFound, OperationFailed


class Malformed(InvalidRequest):
    """The message cannot be read. Facts: `reason`."""

    slug = "malformed-message"
    template = "The request cannot be read: {reason}"


class Oversized(InvalidRequest):
    """The message is larger than the daemon takes. Facts: `limit` (bytes)."""

    slug = "message-too-large"
    template = "The message is larger than {limit} bytes"


class UnknownOpcode(InvalidRequest):
    """The message asks for something that no agent does. Facts: `opcode`."""

    slug = "unknown-opcode"
    template = "There is no request '{opcode}'"


class InvalidQuery(InvalidRequest):
    """A query that cannot be answered. Facts: `reason`."""

    slug = "invalid-query"
    template = "The query cannot be answered: {reason}"


class NoSuchObject(NotFound):
    """No object of the agent has this id. Facts: `name`."""

    slug = "no-such-object"
    template = "There is no object '{name}'"


class NotCarriable(OperationFailed):
    """The result has a value that the bus cannot carry. Facts: `reason`."""

    slug = "not-carriable"
    template = "The result cannot be sent over the bus: {reason}"
