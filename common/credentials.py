"""Recognises credentials where none may stand: in what is stored, shown, or put on a command line.

By name (`api_key`, `HF_TOKEN`, `--password`) and by shape (`sk-…`, `hf_…`, `ghp_…`, `Bearer …`).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(
    r"(?:^|[_-])(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|secret[_-]?key|password"
    r"|passwd|authorization|credential)s?$"
    r"|(?:^|[_-])(?:access|api|auth|bearer|hf|hub|github|session)[_-]token$|^token$",
    re.IGNORECASE,
)
_UPPER = re.compile(r"^[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD)$")
_SHAPE = re.compile(
    r"^(?:sk-[\w-]{16,}|hf_\w{16,}|gh[pousr]_\w{16,}|xox[abp]-[\w-]{10,}|AKIA[A-Z0-9]{12,}"
    r"|Bearer\s+\S{8,})$"
)
_KEYWORDS = re.compile(r"(?:^|\s)(?:host|hostaddr|dbname|service)\s*=")
_PASSWORD_KEYWORD = re.compile(r"(?:^|\s)(?:password|sslpassword)\s*=\s*\S")


def names_credential(name: str) -> bool:
    """Whether a setting, variable or argument of this name holds a credential."""
    bare = name.lstrip("-").partition("=")[0]
    return bool(_UPPER.match(bare) or _NAME.search(bare))


def looks_like_credential(text: str) -> bool:
    """Whether a value has the shape of a well-known kind of key."""
    return bool(_SHAPE.match(text.strip()))


def holds_password(text: str) -> bool:
    """Whether a value says where a server is, and its password or key with it: as a URL, before the
    host or as a parameter (`?password=…`), or as PostgreSQL's keywords (`host=… password=…`)."""
    if _KEYWORDS.search(text) and _PASSWORD_KEYWORD.search(text):
        return True
    try:
        url = urlsplit(text)
        told = parse_qsl(url.query) if url.scheme and "://" in text else []
        return bool(url.password) or any(names_credential(name) for name, _ in told)
    except ValueError:
        return False
