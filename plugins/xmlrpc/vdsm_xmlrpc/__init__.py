"""The XML-RPC binding of vdsm: what VDSM's clients speak."""

from vdsm_xmlrpc.binding import Config, XmlRpcBinding

__all__ = ["Config", "XmlRpcBinding"]
