"""The building code: rooms may look down, never up (ARCHITECTURE.md draws the map)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

SRC = Path(__file__).parent.parent / "src" / "penstock"

# room -> rooms it may import, bottom to top; there are no cycles.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "wire": {"errors"},
    "client": {"errors"},
    "data": {"errors"},
    "functions": {"errors", "data"},
    "plan": {"errors", "data", "functions"},
    "state": {"errors", "data"},
    "sql": {"errors", "data", "functions", "plan"},
    "circuit": {"errors", "data", "state"},
    "compile": {"errors", "data", "functions", "plan", "circuit"},
    "io": {"errors", "wire", "data"},
    "pipeline": {
        "errors", "wire", "data", "functions", "plan", "sql", "state", "circuit", "compile", "io",
    },
    "manager": {"errors", "wire", "data", "plan", "sql", "io"},
    "server": {"errors", "wire", "data", "pipeline", "manager"},
    "cli": {"errors", "wire", "data", "plan", "sql", "manager", "server"},
    "demo": {"errors", "wire"},
}  # fmt: skip


def room_of(path: Path) -> str:
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in SRC.rglob("*.py")}


def imported_rooms(tree: ast.AST) -> set[str]:
    rooms: set[str] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            names = [node.module or ""]
            if node.module == "penstock":
                names = [f"penstock.{a.name}" for a in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("penstock.")}
    return rooms - {"__version__"}


def test_rooms_import_only_downwards() -> None:
    for path, tree in trees().items():
        room = room_of(path)
        if room in ("__init__", "__main__"):
            continue
        assert room in MAY_IMPORT, f"{room} is not on the map: add it here and in ARCHITECTURE.md"
        illegal = imported_rooms(tree) - MAY_IMPORT[room] - {room}
        assert not illegal, f"{path.relative_to(SRC)} may not import {sorted(illegal)}"


def test_the_map_has_no_cycle() -> None:
    seen: set[str] = set()
    for room, below in MAY_IMPORT.items():
        assert below <= seen, f"{room} imports a room that is not below it"
        seen.add(room)


def test_every_module_says_what_it_is() -> None:
    for path, tree in trees().items():
        assert ast.get_docstring(tree), f"{path} has no docstring"


def test_no_module_builds_an_arrow_array_when_it_is_imported() -> None:
    """At the first one pyarrow imports pandas: a second of the start of a worker, which keeps it
    from doing so (`server/worker.py`) once everything is imported."""
    for path, tree in trees().items():
        for statement in tree.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                called = {
                    ast.unparse(n.func) for n in ast.walk(statement) if isinstance(n, ast.Call)
                }
                assert not called & {"pa.array", "pa.chunked_array", "pa.table", "pa.scalar"}, path
