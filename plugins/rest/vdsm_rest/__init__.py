"""The REST binding: the API of the host as resources over HTTP, in JSON."""

from vdsm_rest.binding import RestBinding
from vdsm_rest.options import RestOptions

__all__ = ["RestBinding", "RestOptions"]
