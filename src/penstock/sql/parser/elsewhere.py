"""What other dialects write, told by the tokens around the place where the parse failed.

    LIMIT 3 WITH TIES   →   write QUALIFY RANK() OVER (ORDER BY …) <= n
    v->>'a'             →   a field of a VARIANT: write v['a']

Only a statement that has failed comes here, so nothing is spent on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

_PLAIN = {
    "->": "a field of a VARIANT: write v.name or v['name'], within CAST(… AS VARCHAR) for text",
    "=>": "a comparison is written >=; arguments have no names but in table functions",
    "UNNEST": "the elements of an array stand in FROM: write … CROSS JOIN UNNEST(…)",
    "REGEXP": "a regular expression: write … RLIKE …",
    "SEMI": "a SEMI JOIN: write WHERE EXISTS (SELECT … WHERE …)",
    "ANTI": "an ANTI JOIN: write WHERE NOT EXISTS (SELECT … WHERE …)",
    "COLLATE": "COLLATE: text is compared by code point; write LOWER(…) to compare without case",
}
#: operators of other dialects that read as an alias with something behind it
_WORDS = {
    "REGEXP": _PLAIN["REGEXP"],
    "DIV": "a division of integers: write … / …",
    "MOD": "a remainder: write … % …",
    "COLLATE": _PLAIN["COLLATE"],
    **dict.fromkeys(("CLUSTER", "SORT", "DISTRIBUTE"), "an order of storage: leave it out"),
    "START": "START WITH … CONNECT BY: write DECLARE RECURSIVE VIEW",
    "STRAIGHT_JOIN": "a join in this order: write JOIN … ON …",
    "SAMPLE": "a sample: a view reads all rows; write WHERE XXHASH(key, 0) % 100 = 0",
}
#: (the token before, the token at hand)
_PAIRS = {
    ("=", "="): "equality: write =",
    ("*", "*"): "a power: write POWER(…, …)",
    ("IN", "UNNEST"): "an element of an array: write ARRAY_CONTAINS(array, element)",
    ("IN", "["): "a list: write IN (…, …)",
    ("LATERAL", "FLATTEN"): "the elements of an array: write … CROSS JOIN UNNEST(…)",
    ("AT", "TIME"): ("AT TIME ZONE: a TIMESTAMP has no time zone; write … + INTERVAL 2 HOURS"),
}
_EXISTS = "EXISTS takes a query: write EXISTS (SELECT … WHERE …)"
_PAST = "a table of another time (AS OF): a view reads what its tables hold now"
_VIEW = "the elements of an array: write … CROSS JOIN UNNEST(…) AS name (column)"
_OFFSET = "an element from 0 on: write array[n + 1], or SAFE_OFFSET(n)"
_TIES = "WITH TIES: write QUALIFY RANK() OVER (ORDER BY …) <= n"
_BY = "LIMIT n BY: write QUALIFY ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= n"
_LOCK = "a lock: queries lock nothing; leave it out"
_TOP = "TOP n: write LIMIT n at the end of the query"
_STRUCT = "STRUCT(…): write ROW(…), whose fields have no names of their own"


def written_elsewhere(keys: Sequence[str], at: int) -> str:
    """What is meant and how it is written here, or nothing; `at`: the token that was refused."""
    key, before = keys[at], keys[at - 1] if at else ""
    if key == "WITH" and keys[at + 1 : at + 2] == ["TIES"]:
        return _TIES
    if key == "BY" and keys[at - 2 : at - 1] == ["LIMIT"]:
        return _BY
    if key == "FOR" and keys[at + 1 : at + 2] in (["UPDATE"], ["SHARE"]):
        return _LOCK
    if before == "TOP" and keys[at - 2 : at - 1] == ["SELECT"]:
        return _TOP
    if key == "EXISTS" and keys[at + 1 : at + 2] != ["("]:
        return _EXISTS
    if (before == "OF" and keys[at - 2 : at - 1] == ["AS"]) or (
        key == "AS" and keys[at + 1 : at + 2] == ["OF"]
    ):
        return _PAST
    if key == "LATERAL" and keys[at + 1 : at + 2] == ["VIEW"]:
        return _VIEW
    if key == "OFFSET" and before == "[":
        return _OFFSET
    if key == "AS" and _called(keys, at) == "STRUCT":
        return _STRUCT
    if (before, key) in _PAIRS:
        return _PAIRS[before, key]
    if key == "[" and before not in ("FROM", "JOIN"):
        return "an array: write ARRAY[…, …]"
    if key in ("SEMI", "ANTI") and keys[at + 1 : at + 2] != ["JOIN"]:
        return ""
    return _PLAIN.get(key, "") or _WORDS.get(before, "")


def _called(keys: Sequence[str], at: int) -> str:
    """The word before the bracket that is open at token `at`."""
    depth = 0
    for i in range(at - 1, 0, -1):
        if keys[i] in (")", "("):
            depth += 1 if keys[i] == ")" else -1
        if depth < 0:
            return keys[i - 1]
        if keys[i] == ";":
            break
    return ""
