"""Every known way to get a reset wrong, made once on purpose: the tests must notice.

    python -m tests.mutations            run all, print a table
    python -m tests.mutations --write    and put it into docs/reliability.md
    python -m tests.mutations NAME …     some of them

A mutation is a change of a copy of the package in a temporary folder; the tests named beside it
then run there and must fail. If they pass, the mistake could come back unseen.

The mistakes are those of spec/reset.md section 5, each once shipped somewhere, and the rules of
its section 3; they are in `mutations.toml`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- mutations -->", "<!-- end of mutations -->"


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `old`, which occurs once in `file`, by `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mistake, how it is made, and the pytest arguments that must fail then."""

    name: str
    mistake: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _read() -> tuple[Mutation, ...]:
    found = tomllib.loads((ROOT / "tests" / "mutations.toml").read_text())["mutation"]
    return tuple(
        Mutation(m["name"], m["mistake"], tuple(Edit(**e) for e in m["edit"]), tuple(m["tests"]))
        for m in found
    )


MUTATIONS = _read()


def apply(mutation: Mutation, root: Path) -> None:
    for edit in mutation.edits:
        path = root / edit.file
        text = path.read_text()
        found = text.count(edit.old)
        assert found == 1, f"{mutation.name}: {found} places in {edit.file} for {edit.old!r}"
        path.write_text(text.replace(edit.old, edit.new))


def copy_project(to: Path) -> None:
    """What a test run needs, compiled kernels included."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, to / name)
    shutil.copy(ROOT / "pyproject.toml", to)


def run_tests(where: Path, arguments: tuple[str, ...]) -> tuple[bool, str]:
    """(whether all passed, the first failing test)."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "--show-capture=no", "-p", "no:cacheprovider",
         *arguments],
        cwd=where, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "PYTHONPATH": f"{where / 'src'}:{where}"},
    )  # fmt: skip
    assert done.returncode in (0, 1), f"pytest {arguments} ended with {done.stdout}{done.stderr}"
    failed = re.search(r"^(?:FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE)
    return done.returncode == 0, "" if failed is None else failed[1]


def main(arguments: list[str]) -> int:
    names = {a for a in arguments if not a.startswith("-")}
    chosen = [m for m in MUTATIONS if not names or m.name in names]
    lines = ["| mistake, made on purpose | noticed by |", "|---|---|"]
    unseen = []
    with tempfile.TemporaryDirectory(prefix="penstock-mutations-") as folder:
        for m in chosen:
            where = Path(folder) / m.name
            copy_project(where)
            started = time.monotonic()
            apply(m, where)
            passed, test = run_tests(where, m.tests)
            seconds = time.monotonic() - started
            verdict = "NOT NOTICED" if passed else f"noticed by {test}"
            print(f"{m.name:24} {verdict} ({seconds:.0f} s)", flush=True)
            lines.append(f"| {m.mistake} | {'**nobody**' if passed else f'`{test}`'} |")
            if passed:
                unseen.append(m.name)
            shutil.rmtree(where)
    if "--write" in arguments:
        text = PAGE.read_text()
        before, rest = text.split(BEGIN)
        PAGE.write_text("\n".join([before + BEGIN, *lines, END + rest.split(END)[1]]))
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
