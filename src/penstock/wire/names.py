"""Names in requests: which are allowed, and how SQL names in a path fold.

Not here: what a name refers to; that is looked up by whoever owns the thing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.errors import UserError

_PIPELINE_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_]*)?[A-Za-z0-9]")
_TAG = re.compile(r"[a-zA-Z0-9 ._/|\\:=-]+")
_KEY_NAME = re.compile(r"[a-zA-Z0-9_-]+")

MAX_NAME_CHARS = 63
MAX_DESCRIPTION_CHARS = 300
MAX_TAGS = 50
MAX_TAG_CHARS = 50


def fold_identifier(text: str) -> str:
    """The stored name a SQL identifier refers to: lower case unless it is quoted.

    >>> fold_identifier('Orders'), fold_identifier('"Orders"'), fold_identifier('"a""b"')
    ('orders', 'Orders', 'a"b')
    """
    if len(text) >= 2 and text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('""', '"')
    return text.lower()


def check_pipeline_name(name: str) -> None:
    """Raise the UserError that says why `name` cannot name a pipeline (contract 1.1)."""
    if not name:
        raise UserError("A pipeline name cannot be empty", code="EmptyName")
    if len(name) > MAX_NAME_CHARS:
        raise UserError(
            f"Pipeline name '{name}' is longer ({len(name)}) than the maximum ({MAX_NAME_CHARS})",
            code="TooLongName",
            details={"name": name, "length": len(name), "maximum": MAX_NAME_CHARS},
        )
    if not _PIPELINE_NAME.fullmatch(name):
        raise UserError(
            f"Pipeline name '{name}' may contain only letters, digits, '-' and '_',"
            " and must begin and end with a letter or digit",
            code="NameDoesNotMatchPattern",
            details={"name": name, "pattern": f"^{_PIPELINE_NAME.pattern}$"},
        )


def check_description(description: str) -> None:
    """Raise `TooLongDescription` when it is over 300 characters."""
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise UserError(
            f"The description has {len(description)} characters,"
            f" the maximum is {MAX_DESCRIPTION_CHARS}",
            code="TooLongDescription",
            details={"length": len(description), "maximum": MAX_DESCRIPTION_CHARS},
        )


def check_tags(tags: Sequence[str]) -> None:
    """Raise `TooManyTags` or `InvalidTag` unless there are at most 50 well-formed tags."""
    if len(tags) > MAX_TAGS:
        raise UserError(
            f"There are {len(tags)} tags, the maximum is {MAX_TAGS}",
            code="TooManyTags",
            details={"count": len(tags), "maximum": MAX_TAGS},
        )
    for tag in tags:
        if not 1 <= len(tag) <= MAX_TAG_CHARS or not _TAG.fullmatch(tag):
            raise UserError(
                f"Tag '{tag}' must have 1 to {MAX_TAG_CHARS} characters out of letters, digits,"
                r" spaces and . _ / | \ : = -",
                code="InvalidTag",
                details={"tag": tag},
            )


def check_key_name(name: str) -> None:
    """Raise unless `name` can name an API key."""
    if not name:
        raise UserError("An API key's name cannot be empty", code="EmptyName")
    if not _KEY_NAME.fullmatch(name):
        raise UserError(
            f"API key name '{name}' may contain only letters, digits, '-' and '_'",
            code="NameDoesNotMatchPattern",
            details={"name": name, "pattern": f"^{_KEY_NAME.pattern}$"},
        )
