"""Authentication and authorization: who a caller is, which role it has, and what it may call.

`credentials` is what a binding gathers, `tokens` the file of bearer tokens, `rules` the mapping of every
other identity to a role, `decision` the rules in force, `scopes` the judgement of restricted callers.
"""

from vdsm_bridge.call.access.credentials import Credentials
from vdsm_bridge.call.access.decision import Access
from vdsm_bridge.call.access.rules import Rules, read_rules
from vdsm_bridge.call.access.scopes import Scopes

__all__ = ["Access", "Credentials", "Rules", "Scopes", "read_rules"]
