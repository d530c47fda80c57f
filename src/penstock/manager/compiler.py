"""Program text → what the record says about the program.

    Pending ─► CompilingSql ─┬─► SqlCompiled ─► CompilingRust ─► Success   (program_info set)
                             ├─► SqlError      (messages with positions)
                             ├─► RustError     (the program brings code that cannot run here)
                             └─► SystemError   (a bug of ours; its traceback is in the server log)

There is no Rust step; the statuses in between are passed through because clients know them
(contract 1.5). The field `udf_rust` holds Python (`penstock.functions.python_functions`), which
only a server started with --allow-python-udf takes. It is read here and runs in the worker.

Not here: the compiler itself (`sql/`), when to compile (`fleet.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from penstock.errors import CompilerMessage, SqlError
from penstock.manager.records import NO_PROGRAM_ERROR

Changes = dict[str, Any]

_log = logging.getLogger(__name__)
_NO_CODE = (
    "This server runs no user code: start it with --allow-python-udf to give Python functions in "
    "udf_rust, or express them in SQL (CREATE FUNCTION … AS expression)."
)
_NO_PACKAGES = "Penstock installs no packages for functions: remove udf_toml."


def compile_text(text: str, udf: str = "") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The program info and the warnings of a program. Raises SqlError, ValueError for `udf`."""
    # Imported when first used: the API process answers before the compiler is loaded.
    from penstock.sql.info import program_info
    from penstock.sql.program import compile_program

    plan = compile_program(text, udf)
    warnings: Sequence[CompilerMessage] = getattr(plan, "warnings", ())
    return program_info(plan), [message.to_json() for message in warnings]


def undefined(text: str) -> str:
    """A definition in Python of each function that the program does not define itself."""
    from penstock.sql.program import udf_stubs

    return udf_stubs(text)


def dataflow_of(text: str, udf: str = "") -> dict[str, Any]:
    """The dataflow graph of a program that compiles. It is made when it is asked for: compiling is
    quick, and the graph is larger than the rest of the program info."""
    from penstock.sql.dataflow import dataflow
    from penstock.sql.program import compile_program

    return dataflow(compile_program(text, udf))


def sql_compilation(messages: Sequence[dict[str, Any]], *, ok: bool) -> dict[str, Any]:
    return {"exit_code": 0 if ok else 1, "messages": list(messages)}


def compile_record(
    program_code: str, udf_rust: str, udf_toml: str, *, python_udf: bool = False
) -> Changes:
    """The changes a compilation makes to a record: program_status, _error and _info."""
    refused = _refusal(udf_rust, udf_toml, python_udf)
    try:
        info, warnings = compile_text(program_code, "" if refused else udf_rust)
    except SqlError as error:
        if refused:
            return _rust_error(refused)
        messages = [message.to_json() for message in error.messages]
        return _failed("SqlError", sql_compilation=sql_compilation(messages, ok=False))
    except Exception as error:
        _log.exception("the compiler failed on a program")
        return _failed("SystemError", system_error=f"{type(error).__name__}: {error}")
    compiled = sql_compilation(warnings, ok=True)
    if refused:
        return _rust_error(refused, program_info=info, sql_compilation=compiled)
    return {
        "program_status": "Success",
        "program_info": info,
        "program_error": {**NO_PROGRAM_ERROR, "sql_compilation": compiled},
    }


def _refusal(udf: str, packages: str, python_udf: bool) -> str | None:
    """Why the code that comes with a program cannot run here, None if it can."""
    if packages.strip():
        return _NO_PACKAGES
    if not udf.strip():
        return None
    if not python_udf:
        return _NO_CODE
    from penstock.sql.program import check_udf

    try:
        check_udf(udf)
    except ValueError as e:
        return str(e)
    return None


def _rust_error(why: str, **known: Any) -> Changes:
    outcome = {"exit_code": 1, "stdout": "", "stderr": why}
    return _failed("RustError", rust_compilation=outcome, **known)


def _failed(
    status: str, program_info: dict[str, Any] | None = None, **program_error: Any
) -> Changes:
    return {
        "program_status": status,
        "program_info": program_info,
        "program_error": {**NO_PROGRAM_ERROR, **program_error},
    }
