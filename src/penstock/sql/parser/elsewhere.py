"""What other dialects write, told by the tokens around the place where the parse failed.

    LIMIT 3 WITH TIES   →   write QUALIFY RANK() OVER (ORDER BY …) <= n
    v->>'a'             →   a field of a VARIANT: write v['a']

Only a statement that has failed comes here, so nothing is spent on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.sql.lexer import STRING

_PLAIN = {
    "->": "a field of a VARIANT: write v.name or v['name'], within CAST(… AS VARCHAR) for text",
    "=>": "a comparison is written >=; arguments have no names but in table functions",
    "UNNEST": "the elements of an array stand in FROM: write … CROSS JOIN UNNEST(…)",
    "REGEXP": "a regular expression: write … RLIKE …",
    "SEMI": "a SEMI JOIN: write WHERE EXISTS (SELECT … WHERE …)",
    "ANTI": "an ANTI JOIN: write WHERE NOT EXISTS (SELECT … WHERE …)",
    "COLLATE": "COLLATE: text is compared by code point; write LOWER(…) to compare without case",
    "ISNULL": "write … IS NULL",
    "NOTNULL": "write … IS NOT NULL",
    "GLOB": "a pattern: write … LIKE …, with % for any text",
    "INTO": "what a query makes has its name before it: write CREATE VIEW name AS SELECT …",
    "PERCENT": "LIMIT n PERCENT: write QUALIFY ROW_NUMBER() OVER (ORDER BY …) * 100 <= …",
    "NOLOCK": "a lock: queries lock nothing; leave it out",
    **dict.fromkeys(
        ("PARTITIONED", "STORED", "ENGINE", "TBLPROPERTIES", "ENCODE", "DISTKEY", "SORTKEY"),
        "how rows are stored is not said here: leave it out",
    ),
}
#: what stands where a statement begins, and after CREATE → what is to be done instead
STATEMENTS = {
    **dict.fromkeys(
        ("BEGIN", "COMMIT", "ROLLBACK", "START", "SAVEPOINT"),
        "transactions are those of a running pipeline: POST …/start_transaction",
    ),
    **dict.fromkeys(
        ("GRANT", "REVOKE", "DENY"), "who may do what is a matter of the server's API keys"
    ),
    **dict.fromkeys(
        ("SHOW", "DESCRIBE", "DESC"), "program_info of the pipeline lists its tables and views"
    ),
    **dict.fromkeys(
        ("ANALYZE", "VACUUM", "OPTIMIZE"), "there is nothing to maintain: leave it out"
    ),
    **dict.fromkeys(("CALL", "EXEC", "EXECUTE", "DO"), "there are no procedures: write views"),
    "USE": "names are plain, without a database or schema: leave it out",
    "EXPLAIN": "ask `penstock explain FILE.sql` for the plan of a program",
    "COMMENT": "a comment is written -- … or /* … */",
    "REFRESH": "a view is up to date after every step: leave it out",
}
CREATIONS = {
    **dict.fromkeys(
        ("SCHEMA", "DATABASE", "CATALOG"), "names are plain, without a schema: leave it out"
    ),
    **dict.fromkeys(
        ("SOURCE", "STREAM", "EXTERNAL", "FOREIGN", "CONNECTION"),
        "what comes in is a table: write CREATE TABLE … WITH ('connectors' = '[…]')",
    ),
    "SINK": "what goes out is a view: write CREATE VIEW … WITH ('connectors' = '[…]') AS …",
    **dict.fromkeys(
        ("TEMP", "TEMPORARY", "TRANSIENT"),
        "what only other views read is a LOCAL VIEW: write CREATE LOCAL VIEW … AS …",
    ),
    "UNIQUE": "a key of a table is its PRIMARY KEY, one of a view is declared by CREATE INDEX",
    **dict.fromkeys(
        ("SEQUENCE", "TRIGGER", "PROCEDURE", "ROLE", "USER", "EXTENSION", "RULE"),
        "a program has tables, views, types, functions, aggregates and indexes only",
    ),
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
    ("<", "<"): "bits are not shifted: write … * CAST(POWER(2, n) AS BIGINT)",
    (">", ">"): "bits are not shifted: write … / CAST(POWER(2, n) AS BIGINT)",
    ("IN", "UNNEST"): "an element of an array: write ARRAY_CONTAINS(array, element)",
    ("IN", "["): "a list: write IN (…, …)",
    ("LATERAL", "FLATTEN"): "the elements of an array: write … CROSS JOIN UNNEST(…)",
    ("*", "RENAME"): "columns of other names: write * EXCLUDE (a), a AS b",
    ("AT", "TIME"): ("AT TIME ZONE: a TIMESTAMP has no time zone; write … + INTERVAL 2 HOURS"),
}
_AFTER_WITH = {
    "( NOLOCK": _PLAIN["NOLOCK"],
    "NO DATA": "a view has all its rows: leave it out",
}
_EXISTS = "EXISTS takes a query: write EXISTS (SELECT … WHERE …)"
_PAST = "a table of another time (AS OF): a view reads what its tables hold now"
_VIEW = "the elements of an array: write … CROSS JOIN UNNEST(…) AS name (column)"
_OFFSET = "an element from 0 on: write array[n + 1], or SAFE_OFFSET(n)"
_TIES = "WITH TIES: write QUALIFY RANK() OVER (ORDER BY …) <= n"
_BY = "LIMIT n BY: write QUALIFY ROW_NUMBER() OVER (PARTITION BY … ORDER BY …) <= n"
_STORED = "how rows are stored is not said here: leave it out"
_FIRST = "a query begins with its list: write SELECT … FROM …"
_COPY = "a table is declared with its columns; what a query makes is a view: CREATE VIEW … AS …"
_RAW = "text is written '…', and \\ means itself in it"
_LOCK = "a lock: queries lock nothing; leave it out"
_TOP = "TOP n: write LIMIT n at the end of the query"
_STRUCT = "STRUCT(…): write ROW(…), whose fields have no names of their own"


def written_elsewhere(keys: Sequence[str], at: int) -> str:
    """What is meant and how it is written here, or nothing; `at`: the token that was refused."""
    key, before = keys[at], keys[at - 1] if at else ""
    if key == "WITH" and keys[at + 1 : at + 2] == ["TIES"]:
        return _TIES
    if key == "WITH" and (after := " ".join(keys[at + 1 : at + 3])) in _AFTER_WITH:
        return _AFTER_WITH[after]
    if key == "WITH" and keys[at + 1 : at + 2] in (["ROLLUP"], ["CUBE"]):
        return f"write GROUP BY {keys[at + 1]} (…)"
    if before == "CREATE":
        return CREATIONS.get(key, "")
    if before == "AS" and key == "FROM":
        return _FIRST
    if key in ("AS", "LIKE") and keys[at - 3 : at - 1] == ["CREATE", "TABLE"]:
        return _COPY
    if before == ")" and key in ("PARTITION", "CLUSTER", "COMMENT", "USING", "LOCATION"):
        return _STORED
    if before in ("R", "B") and key == STRING:
        return _RAW
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
