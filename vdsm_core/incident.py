"""Unexpected errors: the log has the traceback under an id, and the caller gets only that id."""

from __future__ import annotations

import logging
import sys
import uuid

from vdsm_core.errors import UnexpectedError


def report_incident(log: logging.Logger, verb: str, subject: str = "") -> UnexpectedError:
    """Log the exception that is being handled, under a new id, and return the error to reply with.

    :param log: the logger of the calling module; the line names the place of the call
    :param verb: the full name of the requested verb, or "The request"
    :param subject: the name of the failure in the log, where it is more specific than `verb`
    """
    incident = uuid.uuid4().hex[:12]
    # Log at the caller's line: the filter of floods distinguishes lines by it.
    log.error(
        "%s failed unexpectedly, incident %s",
        subject or verb,
        incident,
        exc_info=sys.exception(),
        stacklevel=2,
    )
    return UnexpectedError(verb=verb, incident=incident)
