"""Errors of the access to consoles and desktops.

::

    OperationFailed
    ├── ScreenshotFailed
    ├── SendKeysFailed
    └── MonitorCommandFailed

Codes are VDSM's, where it had the error.
"""

from __future__ import annotations

from vdsm_core.errors import OperationFailed


class ScreenshotFailed(OperationFailed):
    """There is no image of the screen. Facts: `vm_id`, `reason`."""

    slug = "screenshot-failed"
    template = "Cannot take a screenshot of machine '{vm_id}': {reason}"


class SendKeysFailed(OperationFailed):
    """Keys could not be pressed. Facts: `vm_id`, `reason`."""

    slug = "send-keys-failed"
    template = "Cannot press keys of machine '{vm_id}': {reason}"


class MonitorCommandFailed(OperationFailed):
    """QEMU's monitor refused a command. Facts: `vm_id`, `reason`."""

    slug = "monitor-command-failed"
    template = "The monitor of machine '{vm_id}' refuses the command: {reason}"
