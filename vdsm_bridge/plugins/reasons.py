"""The reason of a plugin's failure, in one line for people."""

from __future__ import annotations

from vdsm_core.errors import VdsmError


def is_sentence(error: Exception) -> bool:
    """Return whether an error's text is meant for people: a `VdsmError`, or an `OSError` with own text."""
    return isinstance(error, VdsmError) or (isinstance(error, OSError) and error.errno is None)


def reason_of(error: Exception) -> str:
    """Return the text of an error, after the name of its class where the text alone may not be clear."""
    return str(error) if is_sentence(error) else f"{type(error).__name__}: {error}"
