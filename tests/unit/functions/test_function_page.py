"""docs/sql/functions.md is the table of functions, and every function has a golden line.

`python -m tests.unit.sql.test_docs` from the root of the repository writes it anew.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from penstock.functions.definition import DEFINITIONS, Definition
from penstock.functions.registry import FAMILIES
from penstock.sql.bind import later
from tests.unit.functions import golden

PAGE = Path(__file__).parents[3] / "docs/sql/functions.md"
HEAD = """# Functions

Written from the table of functions by `tests/unit/functions/test_function_page.py`; the examples
are lines of `tests/unit/functions/golden/*.txt`, which the tests evaluate. A function is NULL where
an argument is, unless its example says otherwise; a result without a type follows the arguments.
"""
#: operators whose name in the table is not what a program writes
_WRITTEN = {
    "UNARY-": r"^-\s?\D", "UNARY+": r"^\+", "IS_DISTINCT": "IS DISTINCT FROM",
    "IS_NOT_DISTINCT": "IS NOT DISTINCT FROM", "TRIM_BOTH": r"TRIM\(BOTH",
    "TRIM_LEADING": r"TRIM\(LEADING", "TRIM_TRAILING": r"TRIM\(TRAILING",
    "PI": "PI",
    "MAP": r"MAP\[", "[]": r"[\])]\[\w", "[SAFE_OFFSET]": r"\[SAFE_OFFSET\(",
}  # fmt: skip
#: what is looked into, by family
_LOOKED_UP = {
    ("[]", "maps"): re.compile(r"^MAP\[.*\]\["),
    ("[]", "variants"): re.compile(r"^PARSE_JSON\([^)]*\)\["),
}
#: families whose values golden files cannot write, tested in files of their own
_ELSEWHERE = ("clock",)


def families() -> dict[str, dict[str, list[Definition]]]:
    """family → name → its entries, families in the order of the table."""
    found: dict[str, dict[str, list[Definition]]] = {
        m.__name__.rpartition(".")[2]: {} for m in FAMILIES
    }
    for name, entries in sorted(DEFINITIONS.items()):
        for entry in entries:
            found.setdefault(entry.family, {}).setdefault(name, []).append(entry)
    return found


def pattern(name: str) -> re.Pattern[str]:
    """How an expression that uses the function `name` looks."""
    if name in _WRITTEN:
        return re.compile(_WRITTEN[name])
    if re.fullmatch(r"R?I?LIKE", name):
        return re.compile(rf" {name} ")
    if re.fullmatch(r"\w+", name):
        return re.compile(rf"(?<!\w){name}\(")
    return re.compile(rf"(?<=[\w')]) {re.escape(name)} ")


LINES = [line for file in golden.FILES for line in golden.lines(file)]


def example(name: str, family: str) -> str:
    """A golden line with the function that gives a value of the family's kind, '' without one."""
    used, timely = _LOOKED_UP.get((name, family), pattern(name)), family in ("dates", "intervals")
    found = [
        line
        for line in LINES
        if used.search(line.text)
        and not re.match("fails:|refused:|NULL", line.expected)
        and "\n" not in line.text
    ]
    found.sort(key=lambda x: timely != bool(re.search("DATE|TIME|INTERVAL", x.text)))
    if not found:
        return ""
    return f"{found[0].text} → {found[0].expected.partition(' : ')[0].lstrip('~')}"


def cell(text: str) -> str:
    text = text.replace("|", "\\|")
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def page() -> str:
    out = [HEAD]
    for family, functions in families().items():
        if all(name.startswith("$") for name in functions):
            continue
        module = importlib.import_module(f"penstock.functions.{family}")
        title = (module.__doc__ or family).strip().splitlines()[0].rstrip(".:")
        out.append(f"## {title}\n\n| takes | gives | example |\n|---|---|---|")
        for name, entries in functions.items():
            if name.startswith("$"):
                continue  # what the compiler calls by itself
            signatures = ["PI"] if name == "PI" else [s for e in entries for s in e.signatures]
            takes = ", ".join(dict.fromkeys(map(cell, signatures)))
            gives = ", ".join(dict.fromkeys(f"`{e.result}`" for e in entries if e.result))
            shown = example(name, family)
            out.append(f"| {takes} | {gives} | {cell(shown) if shown else ''} |")
        out.append("")
    out.append("## Known by name and refused\n\n| function | why |\n|---|---|")
    out += [f"| `{name}` | {why} |" for name, why in sorted(later.REFUSED.items())]
    return "\n".join(out) + "\n"


def test_the_page_is_the_table_of_functions() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.unit.sql.test_docs"


def test_every_function_has_a_line_of_its_own() -> None:
    found = families()
    names = {
        n for family in found if family not in _ELSEWHERE for n in found[family] if n[0] != "$"
    }
    missing = [n for n in sorted(names) if not any(pattern(n).search(x.text) for x in LINES)]
    assert not missing
