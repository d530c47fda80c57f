"""Names of the dialect that this version does not have, so that they are refused as such.

    CURRENT_DATE         →   "CURRENT_DATE is not supported yet"
    RAND()               →   "RAND: a view must have one answer …"
    ARRAY_AG(x)          →   "no function named ARRAY_AG"       (not known here either)

    NVL(a, b)            →   "no function named nvl; write COALESCE(…)"

A name that gets an implementation leaves these lists; a test holds them and the registry apart.
"""

from __future__ import annotations

#: functions that read the clock without parentheses → what to write instead
CLOCKS = {
    **dict.fromkeys(("current_timestamp", "localtimestamp"), "write NOW()"),
    **dict.fromkeys(("current_time", "localtime"), "write CAST(NOW() AS TIME)"),
    "current_date": "write CAST(NOW() AS DATE)",
}

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

#: functions of other dialects → what says the same here
ELSEWHERE = {
    "TRY_CAST": "SAFE_CAST(… AS type)", "NVL": "COALESCE(…)", "ISNULL": "… IS NULL",
    "LTRIM": "TRIM(LEADING FROM …)", "RTRIM": "TRIM(TRAILING FROM …)", "BTRIM": "TRIM(…)",
    "STRPOS": "POSITION(… IN …)", "INSTR": "POSITION(… IN …)", "DAY": "DAYOFMONTH(…)",
    "REGEXP_LIKE": "… RLIKE …", "REGEXP_MATCHES": "… RLIKE …", "STARTS_WITH": "… LIKE 'start%'",
    "TO_CHAR": "FORMAT_DATE, FORMAT_TIME or FORMAT_TIMESTAMP", "LCASE": "LOWER(…)",
    "TO_DATE": "PARSE_DATE(format, text)", "TO_TIMESTAMP": "PARSE_TIMESTAMP(format, text)",
    "DATE_DIFF": "TIMESTAMPDIFF(unit, from, to)", "UCASE": "UPPER(…)", "ANY_VALUE": "MIN(…)",
    "GENERATE_SERIES": "SEQUENCE(first, last)", "IIF": "IF(…)", "TO_VARIANT": "CAST(… AS VARIANT)",
    "LIST_AGG": "ARRAY_AGG(…)", "ARRAY_SORT": "SORT_ARRAY(…)", "BOOL": "CAST(… AS BOOLEAN)",
}  # fmt: skip
