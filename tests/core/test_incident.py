"""Incidents: an id for the caller, and everything else in the log."""

from __future__ import annotations

import logging

import pytest

from vdsm_core.incident import report_incident

log = logging.getLogger("tests.incident")


def divide(text: str) -> None:
    """Be a bug."""
    raise ZeroDivisionError(text)


def fail(text: str, subject: str = "") -> str:
    """Meet a bug; the message for the caller."""
    try:
        divide(text)
    except ZeroDivisionError:
        error = report_incident(log, "Lamp.dim", subject)
    assert (error.slug, error.facts["verb"]) == ("unexpected-error", "Lamp.dim")
    assert error.facts["incident"] in str(error)
    assert text not in str(error)
    return str(error.facts["incident"])


def test_the_log_has_what_the_caller_has_not(caplog: pytest.LogCaptureFixture) -> None:
    """One line under the caller's id, with the traceback, from the place where the bug was met."""
    incident = fail("divided by no lamp")
    (record,) = caplog.records
    assert record.getMessage() == f"Lamp.dim failed unexpectedly, incident {incident}"
    assert (record.levelno, record.name, record.filename) == (logging.ERROR, log.name, "test_incident.py")
    assert "divided by no lamp" in caplog.text


def test_each_has_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """Ids are unique; the log may have more details than the reply."""
    assert fail("once") != fail("twice", "The task 7")
    assert "The task 7 failed unexpectedly" in caplog.text
