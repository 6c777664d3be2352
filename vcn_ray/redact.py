"""Hides credentials in texts for people, logs and tables; it knows nothing of storage.

A presigned address, a key pair in an address and settings printed by tools would all open a bucket
to anybody who reads a log. Names stay, so that a message still says which file it is about.
"""

from __future__ import annotations

import logging
import re

HIDDEN = "***"

_VALUE = r"[^\s\"'&,;<>{}]+"
_ASSIGN = r"[\"']?\s*[:=>]\s*[\"']?"
_OUTSIDE_PATH = r"(?<![\w/.-])"  # a folder may be called token=1, and its name must stay
_SECRETS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # userinfo of an address; a secret key may contain slashes, and a port is no password
        r"(?P<kept>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*(?::(?!\d+(?:/|\s|$))[^\s@]*)?@",
        # parameters of presigned addresses, old and new
        r"(?P<kept>[?&](?:x-amz-[\w-]+|signature|awsaccesskeyid|policy)=)[^\s\"'&<>]*",
        # headers and settings, as logs and tools print them
        rf"(?P<kept>\bx-amz-(?:security-token|signature|credential){_ASSIGN}){_VALUE}",
        rf"(?P<kept>{_OUTSIDE_PATH}(?:aws_?)?(?:secret_?access_?key|session_?token|access_?key_?id)"
        rf"{_ASSIGN}){_VALUE}",
        rf"(?P<kept>{_OUTSIDE_PATH}aws_?secret\w*{_ASSIGN}){_VALUE}",
        rf"(?P<kept>{_OUTSIDE_PATH}(?:signature|credential)=){_VALUE}",
        rf"(?P<kept>{_OUTSIDE_PATH}(?:\w+[.-])*\w*(?:secret|password|token)\w*\s*=\s*[\"']?){_VALUE}",
    )
)
_KEY_IDS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")


def redact(text: str) -> str:
    """Replace every credential, session token and signature in a text by `***`."""
    for pattern in _SECRETS:
        text = pattern.sub(_hide, text)
    return _KEY_IDS.sub(HIDDEN, text)


def one_line(error: BaseException, limit: int | None = None) -> str:
    """An error's text on one line, without credentials.

    Args:
        error: Its text may have several lines.
        limit: Number of characters after which it is cut; None: it is not cut.
    """
    text = redact(" ".join(str(error).split())) or type(error).__name__
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def _hide(match: re.Match[str]) -> str:
    ending = "@" if match.group().endswith("@") and "://" in match["kept"] else ""
    return f"{match['kept']}{HIDDEN}{ending}"


class RedactingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without credentials."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole entry, redacted."""
        return redact(super().format(record))
