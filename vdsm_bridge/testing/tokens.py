"""Bearer tokens for tests: one for each role, and one that is limited to some objects."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from vdsm_bridge.call.access import tokens
from vdsm_bridge.call.access.tokens import Token
from vdsm_bridge.call.context import ROLES
from vdsm_bridge.call.scope import ObjectScope, Scope

#: Role -> a token that has it. They are valid on hosts of tests only.
TOKENS: Final[dict[str, str]] = {role: f"test-token-of-{role}" for role in ROLES}
#: A token of an operator that is limited to lamps of the sample with the tag `limited`.
LIMITED: Final = "test-token-of-limited"
#: A token that expired long ago.
EXPIRED: Final = "test-token-of-expired"


def write_tokens(folder: Path) -> Path:
    """Write the token file of `TOKENS`, `LIMITED` and `EXPIRED`; return its path, for `access.tokens`."""
    made = [Token(name=role, role=role, sha256=tokens.digest(TOKENS[role])) for role in ROLES]
    scope = Scope(objects=(ObjectScope(of="Lamp", tags=("limited",)),))
    made.append(Token(name="limited", role="operator", sha256=tokens.digest(LIMITED), scope=scope))
    past = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    made.append(Token(name="expired", role="admin", sha256=tokens.digest(EXPIRED), expires=past))
    file = folder / "tokens"
    file.write_text("".join(msgspec.json.encode(token).decode() + "\n" for token in made))
    file.chmod(0o600)
    return file
