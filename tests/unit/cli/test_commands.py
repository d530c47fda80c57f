"""The commands that need no server."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.manager.store import Store
from penstock.server.serve import Settings, check, is_loopback

GOOD = "CREATE TABLE t (a INT);\nCREATE VIEW v AS SELECT a + 1 AS b FROM t;\n"
BAD = (
    "CREATE TABLE t (a INT);\nCREATE VIEW v AS SELECT c FROM t;\nCREATE VIEW w AS SELECT 1 FROM u;"
)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_help_shows_every_command() -> None:
    code, text = run("--help")
    assert code == 0
    for command in ("serve", "apikey", "check", "explain", "pipelines", "query", "reset", "audit"):
        assert f"  {command} " in text


def test_check_says_what_compiled(tmp_path: Path) -> None:
    file = tmp_path / "good.sql"
    file.write_text(GOOD)
    code, text = run("check", str(file))
    assert code == 0 and "1 table, 1 view, no errors" in text
    # the clock that NOW() reads is no table of the program
    file.write_text(
        "CREATE TABLE t(ts TIMESTAMP); CREATE VIEW v AS SELECT 1 FROM t WHERE ts > NOW();"
    )
    assert "1 table, 1 view, no errors" in run("check", str(file))[1]
    file.write_text("")
    assert "0 tables, 0 views, no errors" in run("check", str(file))[1]


def test_check_names_every_mistake_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.sql"
    file.write_text(BAD)
    code, text = run("check", str(file))
    assert code == 1
    assert "bad.sql:2:" in text and "bad.sql:3:" in text
    assert text.endswith("bad.sql: 2 errors\n") and "\x1b" not in text


def test_explain_prints_the_plan_and_knows_its_passes(tmp_path: Path) -> None:
    file = tmp_path / "good.sql"
    file.write_text(GOOD)
    code, plan = run("explain", str(file))
    assert code == 0 and "v" in plan and "a" in plan
    assert run("explain", str(file), "--after", "bind")[0] == 0
    code, text = run("explain", str(file), "--after", "nonsense")
    assert code == 1 and "nonsense" in text


def test_explain_takes_the_functions_that_a_program_comes_with(tmp_path: Path) -> None:
    file, udf = tmp_path / "f.sql", tmp_path / "udf.py"
    file.write_text(
        "CREATE FUNCTION f(x INT) RETURNS INT; CREATE TABLE t(x INT);"
        "CREATE VIEW v AS SELECT f(x) AS y FROM t;"
    )
    udf.write_text("def f(x):\n    return x\n")
    assert run("explain", str(file))[0] == 1
    code, plan = run("explain", str(file), "--udf", str(udf))
    assert code == 0 and "view v (y INTEGER)" in plan
    udf.write_text("def f(:")
    code, text = run("explain", str(file), "--udf", str(udf))
    assert code == 1 and text.startswith("Error: ")


def test_keys_are_made_listed_and_deleted_in_the_data_directory(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "state"))
    code, secret = run("apikey", "create", "ci", "--role", "write", *where)
    assert code == 0 and secret.startswith("apikey:")
    assert run("apikey", "list", *where) == (0, "ci\twrite\n")
    assert run("apikey", "create", "ci", *where)[0] == 1
    store = Store(tmp_path / "state")
    found = store.find_key(secret.strip())
    assert found is not None and found.role == "write"
    store.close()
    assert run("apikey", "delete", "ci", *where)[0] == 0
    assert run("apikey", "delete", "ci", *where)[0] == 1


@pytest.mark.parametrize(
    "arguments", [("serve", "--port", "0"), ("apikey", "create", "k"), ("apikey", "list")]
)
def test_a_data_directory_that_cannot_be_used_is_named(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "penstock.db").write_text("not a database" * 100)
    store = Store(tmp_path / "newer")
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    for name in ("file", "file/under", "other", "newer"):
        code, text = run(*arguments, "--data-dir", str(tmp_path / name))
        assert (code, str(tmp_path / name) in text) == (1, True), text
        assert text.startswith("Error: ")


def test_keys_of_a_directory_that_does_not_exist_are_not_listed_as_none(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "mistyped"))
    for command in (("list",), ("delete", "k")):
        code, text = run("apikey", *command, *where)
        assert (code, text) == (1, f"Error: there is no data directory {tmp_path / 'mistyped'}\n")
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--port", "65536"), ("serve", "--port", "-1"),
        ("query", "p", "SELECT 1", "--format", "parquet"),
        ("audit", "p", "v", "c", "--sample", "-1"),
        ("reset", "p", "v", "c", "--also", "v"),
    ],
)  # fmt: skip
def test_what_no_option_can_be_is_refused_before_anything_is_done(
    arguments: tuple[str, ...],
) -> None:
    code, text = run(*arguments)
    assert code == 2 and arguments[-2] in text


class _Echo(BaseHTTPRequestHandler):
    """Refuses every call with its path."""

    def do_GET(self) -> None:
        body = f'{{"message": "{self.path}", "error_code": "Echo"}}'.encode()
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_the_address_of_a_server_may_be_copied_and_names_may_have_any_character() -> None:
    with HTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for copied in (url, f"{url}/", f"{url}/v0", f"{url}/v0/"):
            assert "Error: /v0/pipelines?" in run("pipelines", "--url", copied)[1]
        assert "Error: /v0/pipelines/a%2Fb/query?" in run("query", "a/b", "S", "--url", url)[1]
        for command in ("reset", "audit"):
            text = run(command, "p", '"a?b#"', "c%", "--url", url)[1]
            assert f"/v0/pipelines/p/views/%22a%3Fb%23%22/connectors/c%25/{command} " in text
        server.shutdown()


def test_commands_for_a_server_say_when_none_answers() -> None:
    code, text = run("pipelines", "--url", "http://127.0.0.1:1")
    assert code == 1 and "no server answers at http://127.0.0.1:1" in text


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_only_loopback_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_open_address_without_authentication_needs_a_word() -> None:
    check(Settings("0.0.0.0", 1, Path("x"), insecure=True))
    check(Settings("0.0.0.0", 1, Path("x"), auth="apikey"))
    check(Settings("127.0.0.1", 1, Path("x")))


def test_neither_the_commands_nor_the_api_process_load_the_engine() -> None:
    code = (
        "import sys, penstock.cli, penstock.server.serve, penstock.server.app\n"
        "heavy = {'numba', 'duckdb', 'penstock.circuit', 'penstock.pipeline'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
