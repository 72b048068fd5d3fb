"""Secrets that people put into URIs: never in a log, a record, a tag or a report."""

from __future__ import annotations

import re

_URI = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#"'<>]*@)?([^\s?#"'<>]*)(?:[?#][^\s"'<>]*)?""")


def cut(text: str) -> str:
    """Text without the user information, queries and fragments of the URIs in it."""
    return _URI.sub(r"\1\2", text) if "://" in text else text
