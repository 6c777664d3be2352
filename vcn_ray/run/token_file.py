"""Where the token of a Ray lies, and whether one is used; it starts no Ray and imports none."""

from __future__ import annotations

import os
from pathlib import Path

TOKEN = "RAY_AUTH_TOKEN"
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
TOKEN_MODE = "RAY_AUTH_MODE"


def token_path() -> Path:
    """The file in which Ray looks for its token."""
    named = os.environ.get(TOKEN_PATH)
    return Path(named) if named else Path.home() / ".ray" / "auth_token"


def uses_token() -> bool:
    """False where the environment turns tokens off."""
    return os.environ.get(TOKEN_MODE, "token").lower() == "token"
