"""How the program that is started differs from that of the checkpoint, and who decides.

    manifest["program"] ─┐
                         ├─► program_diff ─► nothing: go on
    plan, circuit ───────┘        │
                                  ├─ allow            what stayed keeps its state, the rest is
                                  │                   computed from the tables
                                  ├─ await_approval   the pipeline waits for `approve`, or a stop
                                  └─ reject           the start fails and the checkpoint stays

A table or view is what it computes: its fingerprint, not its text. So a comment changes nothing,
and a changed table changes every view over it. What follows from a change:

    table           it starts empty, and its connectors from their beginning
    view            its contents are computed anew; its snapshot_and_follow sinks are written anew
                    (spec/reset.md rule 11), others get the contents in full, unless silently
    connector       it starts as if it were new; its relation stays as it is

Source: contract sections 1.6 ("Bootstrapping") and 6.6 (`diff`).

Not here: computing what is new (`penstock.circuit.bootstrap`), the sinks (`output_position`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.errors import Conflict, PenstockError, SqlError, UserError
from penstock.pipeline.digest import config_digest
from penstock.pipeline.manifests import ManifestStore
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program

Diff = Mapping[str, Any]


def program_facts(plan: ProgramPlan, circuit: Circuit) -> dict[str, dict[str, str]]:
    """Per table, view and connector what it is, in a few bytes; kept in every manifest."""
    prints = circuit.fingerprints
    views = (v for v in plan.views if v.kind != "local")
    return {
        "tables": {t.name: prints[f"source {t.name}"] for t in plan.tables},
        "views": {v.name: prints[f"sink {v.name}"] for v in views},
        "inputs": {c.endpoint: config_digest(dict(c.config)) for c in plan.inputs},
        "outputs": {c.endpoint: config_digest(dict(c.config)) for c in plan.outputs},
    }


def program_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> Diff:
    """The PipelineDiff from the facts `old` to the facts `new`."""

    def names(kind: str, what: str) -> list[str]:
        before, after = old[kind], new[kind]
        found = {
            "added": after.keys() - before.keys(),
            "removed": before.keys() - after.keys(),
            "modified": {k for k in before.keys() & after.keys() if before[k] != after[k]},
        }[what]
        return sorted(found)

    changes = ("added", "removed", "modified")
    program = {f"{c}_{kind}": names(kind, c) for c in changes for kind in ("tables", "views")}
    return {
        **{f"{c}_input_connectors": names("inputs", c) for c in changes},
        **{f"{c}_output_connectors": names("outputs", c) for c in changes},
        "program_diff": program,
        "program_diff_error": None,
    }


def is_empty(diff: Diff) -> bool:
    return not any(diff["program_diff"].values()) and not any(
        v for k, v in diff.items() if k.endswith("_connectors")
    )


def rejected(diff: Diff) -> PenstockError:
    """The error of a start under the policy `reject`."""
    changes = {**diff["program_diff"], **{k: v for k, v in diff.items() if "connectors" in k}}
    text = "; ".join(
        f"{k.replace('_', ' ')}: {', '.join(v)}" for k, v in sorted(changes.items()) if v
    )
    return Conflict(
        f"the program is not that of the checkpoint ({text}) and bootstrap_policy is 'reject': "
        "start with 'allow' to compute what is new from the tables, restore the program, or clear "
        "the storage",
        code="BootstrapRejected",
        details={"diff": dict(diff)},
    )


def diff_from_storage(storage_dir: Path, program_code: str, udf: str = "") -> Diff:
    """What a start with `program_code` and the Python functions `udf` would change (contract 6.6);
    touches nothing.

    Raises UserError InvalidNewProgramSql, or BootstrapNotAllowed where there is no checkpoint."""
    folder = storage_dir / "checkpoints"
    manifests = ManifestStore(folder).all() if folder.is_dir() else []
    if not manifests:
        raise UserError(
            "there is no checkpoint to compare with: the pipeline has none yet, or its storage "
            "was cleared; a start would begin anew",
            code="BootstrapNotAllowed",
        )
    try:
        plan = compile_program(program_code, udf)
    except SqlError as e:
        raise UserError(
            f"the program does not compile: {e}", code="InvalidNewProgramSql", details=e.details
        ) from e
    facts = program_facts(plan, compile_circuit(plan))
    return program_diff(manifests[-1].body["program"], facts)
