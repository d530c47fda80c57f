"""Program text → what the record says about the program.

    Pending ─► CompilingSql ─┬─► SqlCompiled ─► CompilingRust ─► Success   (program_info set)
                             ├─► SqlError      (messages with positions)
                             ├─► RustError     (the program brings Rust functions, which we lack)
                             └─► SystemError   (a bug of ours; its traceback is in the server log)

There is no Rust step; the statuses in between are passed through because clients know them
(contract 1.5).

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
_NO_RUST = "Penstock runs no Rust: remove udf_rust and udf_toml, or express the function in SQL."


def compile_text(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The program info and the warnings of a program. Raises SqlError."""
    # Imported when first used: the API process answers before the compiler is loaded.
    from penstock.sql.info import program_info
    from penstock.sql.program import compile_program

    plan = compile_program(text)
    warnings: Sequence[CompilerMessage] = getattr(plan, "warnings", ())
    return program_info(plan), [message.to_json() for message in warnings]


def sql_compilation(messages: Sequence[dict[str, Any]], *, ok: bool) -> dict[str, Any]:
    return {"exit_code": 0 if ok else 1, "messages": list(messages)}


def compile_record(program_code: str, udf_rust: str, udf_toml: str) -> Changes:
    """The changes a compilation makes to a record: program_status, _error and _info."""
    try:
        info, warnings = compile_text(program_code)
    except SqlError as error:
        messages = [message.to_json() for message in error.messages]
        return _failed("SqlError", sql_compilation=sql_compilation(messages, ok=False))
    except Exception as error:
        _log.exception("the compiler failed on a program")
        return _failed("SystemError", system_error=f"{type(error).__name__}: {error}")
    compiled = sql_compilation(warnings, ok=True)
    if udf_rust.strip() or udf_toml.strip():
        return _failed(
            "RustError",
            program_info=info,
            sql_compilation=compiled,
            rust_compilation={"exit_code": 1, "stdout": "", "stderr": _NO_RUST},
        )
    return {
        "program_status": "Success",
        "program_info": info,
        "program_error": {**NO_PROGRAM_ERROR, "sql_compilation": compiled},
    }


def _failed(
    status: str, program_info: dict[str, Any] | None = None, **program_error: Any
) -> Changes:
    return {
        "program_status": status,
        "program_info": program_info,
        "program_error": {**NO_PROGRAM_ERROR, **program_error},
    }
