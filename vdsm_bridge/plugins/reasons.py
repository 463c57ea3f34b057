"""Why a plugin failed, in one line for people."""

from __future__ import annotations

from vdsm_core.errors import VdsmError


def is_sentence(error: Exception) -> bool:
    """Whether an error's text is written for people: ours, or the system's in words of the plugin."""
    return isinstance(error, VdsmError) or (isinstance(error, OSError) and error.errno is None)


def reason_of(error: Exception) -> str:
    """Return the text of an error, after the name of its class where the text alone may say nothing."""
    return str(error) if is_sentence(error) else f"{type(error).__name__}: {error}"
