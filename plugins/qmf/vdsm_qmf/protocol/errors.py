"""Errors of messages and queries."""

from __future__ import annotations

from vdsm_bridge.errors import InvalidRequest, NotFound, OperationFailed


class Malformed(InvalidRequest):
    """The message cannot be parsed. Facts: `reason`."""

    slug = "malformed-message"
    template = "Cannot read the request: {reason}"


class Oversized(InvalidRequest):
    """The message is larger than the daemon accepts. Facts: `limit` (bytes)."""

    slug = "message-too-large"
    template = "Cannot accept the message: it is larger than {limit} bytes ([plugin.qmf] max_message)"


class UnknownOpcode(InvalidRequest):
    """The request has an opcode that agents do not support. Facts: `opcode`."""

    slug = "unknown-opcode"
    template = "Cannot execute the request: there is no opcode '{opcode}'"


class InvalidQuery(InvalidRequest):
    """The query is malformed. Facts: `reason`."""

    slug = "invalid-query"
    template = "Cannot answer the query: {reason}"


class NoSuchObject(NotFound):
    """The agent has no object of this id. Facts: `name`."""

    slug = "no-such-object"
    template = "There is no object '{name}'"


class NotCarriable(OperationFailed):
    """The result has a value that the bus cannot carry. Facts: `reason`."""

    slug = "not-carriable"
    template = "Cannot send the result over the bus: {reason}"
