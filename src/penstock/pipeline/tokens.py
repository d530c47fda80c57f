"""Completion tokens: which endpoint, how many of its records, in which incarnation.

URL-safe base64 of a small JSON object, opaque to clients (contract section 3). A token of an
earlier incarnation of the pipeline cannot be judged and is Gone (410).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from penstock.errors import Gone, UserError


@dataclass(frozen=True, slots=True)
class CompletionToken:
    incarnation: str
    endpoint: str
    count: int

    def encode(self) -> str:
        raw = orjson.dumps({"u": self.incarnation, "e": self.endpoint, "c": self.count})
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str, incarnation: str) -> CompletionToken:
    """The token in `text`; UserError InvalidParam if it is none, Gone if it is of another life."""
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        token = CompletionToken(str(raw["u"]), str(raw["e"]), int(raw["c"]))
    except (binascii.Error, ValueError, KeyError, TypeError) as e:
        raise UserError(f"'{text}' is not a completion token", code="InvalidParam") from e
    if token.incarnation != incarnation:
        raise Gone(
            "the token was issued before the pipeline restarted and cannot be checked any more: "
            "send the data again if you are not sure that it arrived",
            code="PipelineRestarted",
        )
    return token
