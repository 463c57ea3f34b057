"""Access to consoles: VDSM's structs."""

from __future__ import annotations

import msgspec

from vdsm_core.types import Record


class Screenshot(Record, frozen=True):
    """An image of a screen.

    :ivar data: the image, encoded
    :ivar encoding: `base64`
    :ivar mime_type: `image/png` or `image/x-portable-pixmap`
    """

    data: str
    encoding: str
    mime_type: str = msgspec.field(name="mime_type")
