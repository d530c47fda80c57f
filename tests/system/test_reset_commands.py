"""`penstock reset` and `penstock audit` against a running server."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from click.testing import CliRunner

from penstock.cli import main
from tests.system.conftest import System
from tests.system.test_reset import damage, expected, program, row, rows, sqlite_connector
from tests.system.test_reset_requests import file_connector


def test_a_copy_is_audited_planned_reset_and_called_off_by_commands(
    system: System, tmp_path: Path
) -> None:
    db, out = tmp_path / "sink.sqlite", tmp_path / "out.csv"
    p = system.pipeline(program(sqlite_connector(db), file_connector(out)))
    p.send("t", *(row(i) for i in range(12)))

    def run(command: str, *options: str, **environment: str) -> tuple[int, str]:
        arguments = [command, p.name, "m", "db", "--url", system.url, *options]
        result = CliRunner().invoke(main, arguments, env={"COLUMNS": "120", **environment})
        return result.exit_code, result.output

    code, text = run("audit")
    assert code == 0 and "12 rows" in text and text.endswith("equal\n")
    damage(db)
    code, text = run("audit", "--sample", "3")
    assert code == 1 and "6 missing, 1 extra, 2 different" in text
    for shown in (
        "'invented'", "'damaged'", "'v3'", "missing (3 of 6)", "target",
        f"to make them equal: penstock reset {p.name} m db --watch\n",
    ):  # fmt: skip
        assert shown in text, text

    result = CliRunner().invoke(main, ["audit", p.name, "m", "nobody", "--url", system.url])
    assert result.exit_code == 2 and "UnknownOutputEndpoint" in result.output

    broken = rows(db)
    code, text = run("reset", "--dry-run", "--mode", "diff")
    assert code == 0 and "12 rows" in text and "needs: write to" in text
    assert rows(db) == broken
    code, text = run("reset", "--watch", "--mode", "diff", "--reset-id", "by hand")
    assert code == 0 and "done, 12 rows" in text, text
    assert rows(db) == expected(p)
    assert run("audit")[0] == 0

    damage(db)
    out.write_text("garbage")
    code, text = run("reset", "--watch", "--also", "m.file", FORCE_COLOR="1")
    assert code == 0 and "m.db: done" in text and "m.file: done" in text, text
    # on a terminal a bar each: rows of all, how fast, how long, what is left
    bars = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    for name in ("m.db", "m.file"):
        assert re.search(
            rf"{name} done .* 12/12 +rows +[\d,]+/s +\d:\d\d:\d\d +left +0:00:00", bars
        ), bars
    assert rows(db) == expected(p)

    code, text = run("reset", "--cancel")
    assert code == 1 and "NoResetInProgress" in text
    code, text = run("reset", "--cancel", "--watch")
    assert code == 2
    writer = sqlite3.connect(db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")  # somebody holds the database, so that the reset waits
    code, text = run("reset")
    assert code == 0 and "token" in text
    code, text = run("reset", "--cancel")
    assert code == 0 and "the old contents stay" in text and "paused" not in text
    writer.close()
    assert run("audit")[0] == 0
    p.stop()
