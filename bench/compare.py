"""`python -m bench.compare A B`: what changed from result file A to result file B."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Figures by name; lines that are not JSON objects are passed over."""
    figures: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        if line.startswith("{"):
            figure = json.loads(line)
            figures[figure["bench"]] = figure
    return figures


def table(a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]]) -> list[str]:
    """One line per figure: both values, and how the ratio to the peer moved."""
    lines = [f"{'bench':<32}{'A':>12}{'B':>12}  {'unit':<10}{'ratio A':>9}{'ratio B':>9}  change"]
    for name in sorted(a.keys() | b.keys()):
        if name not in a or name not in b:
            lines.append(f"{name:<32}{'only in ' + ('A' if name in a else 'B'):>24}")
            continue
        x, y = a[name], b[name]
        if x["ratio"] is None or y["ratio"] is None:
            lines.append(f"{name:<32}{x['value']:>12.4g}{y['value']:>12.4g}  {y['unit']}")
            continue
        change = (y["ratio"] / x["ratio"] - 1) * 100
        lines.append(
            f"{name:<32}{x['value']:>12.4g}{y['value']:>12.4g}  {y['unit']:<10}"
            f"{x['ratio']:>9.3g}{y['ratio']:>9.3g}  {change:+.0f} %"
        )
    return lines


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(
            "usage: python -m bench.compare A B (files that `make bench` printed)", file=sys.stderr
        )
        return 2
    try:
        figures = [read(Path(name)) for name in arguments]
    except OSError as e:
        print(f"{e.filename}: {e.strerror}", file=sys.stderr)
        return 2
    print("\n".join(table(*figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
