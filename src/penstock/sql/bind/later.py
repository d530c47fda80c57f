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
    **dict.fromkeys(("current_timestamp", "localtimestamp", "sysdate"), "write NOW()"),
    **dict.fromkeys(("current_time", "localtime"), "write CAST(NOW() AS TIME)"),
    "current_date": "write CAST(NOW() AS DATE)",
}

_RANDOM = "a view must have one answer for the same input, so functions of chance are refused"
_NO_AGGREGATE = "the dialect has no such aggregate"
#: what the dialect itself refuses, and why
REFUSED = {
    **dict.fromkeys(
        ("RAND", "RAND_INTEGER", "RANDOM", "UUID_GENERATE", "UUID", "GENERATE_UUID",
         "GEN_RANDOM_UUID", "UUID_STRING", "NEWID"), _RANDOM
    ),
    **dict.fromkeys(("REGR_INTERCEPT", "REGR_R2", "REGR_AVGX", "REGR_AVGY"), _NO_AGGREGATE),
    **dict.fromkeys(
        ("PERCENTILE_CONT", "PERCENTILE_DISC", "MEDIAN", "QUANTILE", "APPROX_PERCENTILE",
         "APPROX_QUANTILES"),
        f"{_NO_AGGREGATE}; write an element of the values in order, such as the middle one: "
        "SORT_ARRAY(ARRAY_AGG(x IGNORE NULLS))[(COUNT(x) + 1) / 2]",
    ),
    "CORR": f"{_NO_AGGREGATE}; write COVAR_POP(y, x) / (STDDEV_POP(y) * STDDEV_POP(x)) over "
    "DOUBLEs of which none is NULL",
    "REGR_SLOPE": f"{_NO_AGGREGATE}; write COVAR_POP(y, x) / VAR_POP(x) over DOUBLEs of which none "
    "is NULL",
    "REGR_SXY": f"{_NO_AGGREGATE}; write REGR_COUNT(y, x) * COVAR_POP(y, x)",
    **dict.fromkeys(
        ("JSON_AGG", "JSON_ARRAYAGG"),
        f"{_NO_AGGREGATE}; write TO_JSON(CAST(ARRAY_AGG(…) AS VARIANT))",
    ),
    **dict.fromkeys(
        ("JSON_OBJECT_AGG", "JSON_OBJECTAGG"),
        f"{_NO_AGGREGATE}; write TO_JSON(CAST(MAP(SELECT key, value FROM …) AS VARIANT))",
    ),
    **dict.fromkeys(
        ("LISTAGG", "STRING_AGG", "GROUP_CONCAT"),
        f"{_NO_AGGREGATE}; write ARRAY_TO_STRING(ARRAY_AGG(…), separator)",
    ),
}  # fmt: skip

#: window functions that the dialect refuses → what says the same here
WINDOWS = {
    "NTILE": "(ROW_NUMBER() OVER (…) - 1) * n / COUNT(*) OVER () + 1 for n parts of about a size",
    "PERCENT_RANK": "(RANK() OVER (…) - 1) * 1e0 / (COUNT(*) OVER () - 1)",
    "CUME_DIST": "COUNT(*) OVER (ORDER BY …) * 1e0 / COUNT(*) OVER ()",
    "NTH_VALUE": "LAG, LEAD or FIRST_VALUE, or join an element of ARRAY_AGG(value ORDER BY …)",
}

_FIELD = "a field of PARSE_JSON(…), as in PARSE_JSON(…)['key']"

#: functions of other dialects → what says the same here
ELSEWHERE = {
    # choices
    "NVL": "COALESCE(…)", "NVL2": "IF(… IS NOT NULL, …, …)", "IFF": "IF(…)", "IIF": "IF(…)",
    "ZEROIFNULL": "COALESCE(…, 0)", "NULLIFZERO": "NULLIF(…, 0)", "ISNULL": "… IS NULL",
    "DECODE": "CASE … WHEN … THEN … END", "EQUAL_NULL": "… <=> …",
    # casts
    "TRY_CAST": "SAFE_CAST(… AS type)", "TO_VARIANT": "CAST(… AS VARIANT)",
    "BOOL": "CAST(… AS BOOLEAN)", "TO_NUMBER": "CAST(… AS DECIMAL(p, s))",
    # numbers
    **dict.fromkeys(("BITAND", "BITOR", "BITXOR"), "BIT_AND, BIT_OR or BIT_XOR, aggregates only"),
    **dict.fromkeys(
        ("SHIFTLEFT", "BITSHIFTLEFT", "BIT_SHIFT_LEFT"), "… * CAST(POWER(2, n) AS BIGINT)"
    ),
    "DIV": "… / …", "TRY_TO_NUMBER": "SAFE_CAST(… AS DECIMAL(p, s))",
    "TRY_TO_DATE": "SAFE_CAST(… AS DATE)", "TRY_TO_TIMESTAMP": "SAFE_CAST(… AS TIMESTAMP)",
    "CONVERT": "CAST(… AS type)", "TRY_CONVERT": "SAFE_CAST(… AS type)",
    "DIV0": "DIV_NULL(…)", "SAFE_DIVIDE": "DIV_NULL(…)", "LOG2": "LOG(…, 2)",
    "GENERATE_SERIES": "SEQUENCE(first, last)", "GENERATE_ARRAY": "SEQUENCE(first, last)",
    # text
    "LTRIM": "TRIM(LEADING FROM …)", "RTRIM": "TRIM(TRAILING FROM …)", "BTRIM": "TRIM(…)",
    "LCASE": "LOWER(…)", "UCASE": "UPPER(…)", "LPAD": "RIGHT(REPEAT(' ', n) || …, n)",
    "STRPOS": "POSITION(… IN …)", "INSTR": "POSITION(… IN …)", "CHARINDEX": "POSITION(… IN …)",
    "STARTSWITH": "… LIKE 'start%'", "ENDSWITH": "… LIKE '%end'",
    "STRING_SPLIT": "SPLIT(…)", "STRTOK": "SPLIT_PART(text, separator, n)",
    "STARTS_WITH": "… LIKE 'start%'", "ENDS_WITH": "… LIKE '%end'", "CONTAINS": "… LIKE '%part%'",
    "REGEXP_LIKE": "… RLIKE …", "REGEXP_MATCHES": "… RLIKE …", "REGEXP_CONTAINS": "… RLIKE …",
    **dict.fromkeys(
        ("REGEXP_EXTRACT", "REGEXP_SUBSTR"), "REGEXP_REPLACE(…, '^.*(wanted).*$', '$1')"
    ),
    "SUBSTRING_INDEX": "SPLIT_PART(text, separator, n)", "STR_SPLIT": "SPLIT(…)",
    **dict.fromkeys(("HASH", "FARM_FINGERPRINT", "SHA1", "SHA2", "SHA256"), "MD5(…) or XXHASH(…)"),
    # dates and times
    **dict.fromkeys(
        ("TO_CHAR", "TO_VARCHAR", "DATE_FORMAT", "STRFTIME", "FORMAT_DATETIME"),
        "FORMAT_DATE, FORMAT_TIME or FORMAT_TIMESTAMP",
    ),
    "TO_DATE": "PARSE_DATE(format, text)", "STR_TO_DATE": "PARSE_DATE(format, text)",
    "TO_TIMESTAMP": "PARSE_TIMESTAMP(format, text)", "DATE": "CAST(… AS DATE)",
    **dict.fromkeys(
        ("DATE_DIFF", "TIMESTAMP_DIFF", "DATETIME_DIFF", "MONTHS_BETWEEN"),
        "TIMESTAMPDIFF(unit, from, to)",
    ),
    **dict.fromkeys(
        ("DATEADD", "TIMESTAMP_ADD", "TIMESTAMP_SUB", "DATETIME_ADD", "DATETIME_SUB",
         "ADD_MONTHS"), "TIMESTAMPADD(unit, n, value)",
    ),
    "TO_TIMESTAMP_NTZ": "PARSE_TIMESTAMP(format, text)", "DATEPART": "EXTRACT(unit FROM …)",
    "EOMONTH": "FLOOR(… TO MONTH) + INTERVAL 1 MONTH - INTERVAL 1 DAY",
    **dict.fromkeys(
        ("TIME_SLICE", "TIME_BUCKET", "DATE_BIN"),
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(column), size)), or FLOOR(… TO unit)",
    ),
    **dict.fromkeys(
        ("TUMBLE_START", "HOP_START", "SESSION_START", "TUMBLE_END", "HOP_END", "SESSION_END"),
        "window_start and window_end, columns of TABLE(TUMBLE(…)), HOP and SESSION",
    ),
    **dict.fromkeys(
        ("CURRENT_TIMESTAMP", "CURRENT_DATETIME", "LOCALTIMESTAMP", "PROCTIME", "UTC_TIMESTAMP"),
        "NOW()",
    ),
    "CURRENT_DATE": "CAST(NOW() AS DATE)", "CURRENT_TIME": "CAST(NOW() AS TIME)",
    "LAST_DAY": "FLOOR(… TO MONTH) + INTERVAL 1 MONTH - INTERVAL 1 DAY",
    "DAY": "DAYOFMONTH(…)", "WEEKOFYEAR": "WEEK(…)",
    "DAYNAME": "FORMAT_DATE('%A', …)", "MONTHNAME": "FORMAT_DATE('%B', …)",
    "UNIX_TIMESTAMP": "EXTRACT(EPOCH FROM …)", "GETDATE": "NOW()", "SYSDATE": "NOW()",
    "FROM_UNIXTIME": "TIMESTAMPADD(SECOND, n, DATE '1970-01-01')",
    # aggregates
    "COUNT_IF": "COUNTIF(…)", "MAX_BY": "ARG_MAX(value, by)", "MIN_BY": "ARG_MIN(value, by)",
    **dict.fromkeys(
        ("FIRST", "LAST"),
        "ARG_MIN(value, by) or ARG_MAX(value, by), or FIRST_VALUE(…) OVER (…)",
    ),
    "ANY_VALUE": "MIN(…)", "ARGMAX": "ARG_MAX(value, by)", "ARGMIN": "ARG_MIN(value, by)",
    "SUMIF": "SUM(…) FILTER (WHERE …)", "UNIQ": "COUNT(DISTINCT …)",
    "BOOLAND_AGG": "BOOL_AND(…)", "BOOLOR_AGG": "BOOL_OR(…)",
    "APPROX_COUNT_DISTINCT": "COUNT(DISTINCT …)", "APPROX_DISTINCT": "COUNT(DISTINCT …)",
    "LIST_AGG": "ARRAY_AGG(…)", "COLLECT_LIST": "ARRAY_AGG(…)",
    "COLLECT_SET": "ARRAY_AGG(DISTINCT …)",
    # collections and JSON
    "ARRAY_SORT": "SORT_ARRAY(…)", "ARRAY_CONSTRUCT": "ARRAY[…]", "OBJECT_CONSTRUCT": "MAP[…]",
    "STRUCT": "ROW(…)", "NAMED_STRUCT": "ROW(…)", "SIZE": "CARDINALITY(…)",
    "ELEMENT_AT": "array[n] or map[key]", "GET": "array[n] or map[key]", "ORDINAL": "array[n]",
    "LIST_TRANSFORM": "TRANSFORM(array, x -> …)", "GET_PATH": "v.name or v['name']",
    "TOP": "LIMIT n at the end of the query",
    "EXPLODE": "… CROSS JOIN UNNEST(…)", "FLATTEN": "… CROSS JOIN UNNEST(…)",
    **dict.fromkeys(
        ("JSON_VALUE", "JSON_QUERY", "JSON_EXTRACT", "JSON_EXTRACT_SCALAR", "GET_JSON_OBJECT"),
        _FIELD,
    ),
    "TO_JSON_STRING": "TO_JSON(CAST(… AS VARIANT))", "TRY_PARSE_JSON": "PARSE_JSON(…)",
}  # fmt: skip
