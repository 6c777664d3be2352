"""Cleans texts of foreign origin for people, logs and tables; it knows nothing of storage.

A presigned address, a key pair in an address and settings printed by tools would all open a bucket
to anybody who reads a log. A file name may hold codes that move a terminal's cursor, change its
title or forge a line. `clean` is the one function that every printed text goes through: it hides
credentials, by their patterns and by their values where they are in use, and replaces characters
that are not printable. Names stay, so that a message still says which file it is about.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, urlsplit

HIDDEN = "***"
UNPRINTABLE = "?"
_CODES = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's categories of what is not shown, but acts

SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "RAY_AUTH_TOKEN",
    "RAY_REDIS_PASSWORD",
)
"""Environment variables whose values are hidden wherever they stand."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
"""Environment variables, in either case, whose addresses may hold a password."""

MIN_SECRET = 6  # characters; a shorter value would also strike out ordinary words

_in_use: dict[str, None] = {}  # values of credentials that this process was given, in order
MAX_IN_USE = 64  # of a run that renews its credentials for days, the latest are kept

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


def hide_value(value: str | None) -> None:
    """Hide a credential from now on, in every text of this process that is cleaned or redacted."""
    if value and len(value) >= MIN_SECRET:
        _in_use.pop(value, None)
        _in_use[value] = None
        while len(_in_use) > MAX_IN_USE:
            del _in_use[next(iter(_in_use))]


def redact(text: str) -> str:
    """Replace every credential, session token and signature in a text by `***`."""
    for value in sorted(set(_secret_values()), key=len, reverse=True):
        for written in (value, quote(value, safe=""), quote_plus(value)):
            if written in text:
                text = text.replace(written, HIDDEN)
    for pattern in _SECRETS:
        text = pattern.sub(_hide, text)
    return _KEY_IDS.sub(HIDDEN, text)


def _secret_values() -> Iterator[str]:
    """The values of credentials in use: those given to `hide_value`, and of the environment."""
    yield from _in_use
    given = [os.environ.get(name, "") for name in SECRET_VARIABLES]
    for name in PROXY_VARIABLES:
        for address in (os.environ.get(name, ""), os.environ.get(name.upper(), "")):
            if "@" in address:
                given.append(_password(address))
    yield from (value for value in given if len(value) >= MIN_SECRET)


def _password(address: str) -> str:
    try:
        return urlsplit(address).password or ""
    except ValueError:  # no address after all
        return ""


def clean(text: str) -> str:
    """A text on one line as it may be printed: without credentials or control characters.

    Characters that are not printable become `?`: line breaks, codes of terminals, marks that turn
    the direction of writing, and bytes of a file name that are no UTF-8.
    """
    hidden = redact(text)
    if hidden.isprintable():  # as most are
        return hidden
    return "".join(letter if letter.isprintable() else UNPRINTABLE for letter in hidden)


def page_text(text: str) -> str:
    """A text as it may stand on a page: as `clean`, but lines and all kinds of spaces are kept.

    Credentials are no matter of pages: what stores a text hides them.
    """
    if all(line.isprintable() for line in text.split("\n")):  # as most are
        return text
    return "".join(UNPRINTABLE if _is_code(letter) else letter for letter in text)


def _is_code(letter: str) -> bool:
    return unicodedata.category(letter) in _CODES and letter != "\n"


def clean_lines(text: str) -> str:
    """A text of several lines of our own, each cleaned; only a line feed ends one."""
    return "\n".join(map(clean, text.split("\n")))


def one_line(error: BaseException, limit: int | None = None) -> str:
    """An error's text on one line, cleaned.

    Args:
        error: Its text may have several lines.
        limit: Number of characters after which it is cut; None: it is not cut.
    """
    text = clean(" ".join(str(error).split())) or type(error).__name__
    return text if limit is None or len(text) <= limit else text[:limit] + "..."


def _hide(match: re.Match[str]) -> str:
    ending = "@" if match.group().endswith("@") and "://" in match["kept"] else ""
    return f"{match['kept']}{HIDDEN}{ending}"


class RedactingFormatter(logging.Formatter):
    """Formats log records, tracebacks included, cleaned line by line."""

    def format(self, record: logging.LogRecord) -> str:
        """The whole entry."""
        return clean_lines(super().format(record))
