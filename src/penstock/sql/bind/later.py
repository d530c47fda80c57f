"""Names of the dialect that this version does not have, so that they are refused as such.

    CURRENT_DATE         →   "CURRENT_DATE is not supported yet"
    RAND()               →   "RAND: a view must have one answer …"
    ARRAY_AG(x)          →   "no function named ARRAY_AG"       (not known here either)

A name that gets an implementation leaves these lists; a test holds them and the registry apart.
"""

from __future__ import annotations

#: functions that read the clock without parentheses
CLOCKS = frozenset((
    "current_timestamp", "current_date", "current_time", "localtime", "localtimestamp",
))  # fmt: skip

_RANDOM = "a view must have one answer for the same input, so functions of chance are refused"
_NO_AGGREGATE = "the dialect has no such aggregate"
#: what the dialect itself refuses, and why
REFUSED = {
    **dict.fromkeys(("RAND", "RAND_INTEGER", "RANDOM", "UUID_GENERATE"), _RANDOM),
    **dict.fromkeys(
        ("PERCENTILE_CONT", "PERCENTILE_DISC", "CORR", "REGR_SLOPE", "REGR_INTERCEPT", "REGR_R2",
         "REGR_AVGX", "REGR_AVGY", "REGR_SXY", "LISTAGG", "STRING_AGG",
         "JSON_AGG", "JSON_ARRAYAGG", "JSON_OBJECTAGG", "MEDIAN"), _NO_AGGREGATE
    ),
}  # fmt: skip
