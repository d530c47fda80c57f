"""References to secrets are resolved as wholes or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock import errors
from penstock.errors import UserError, without_hidden
from penstock.io.formats.options import Options
from penstock.io.secrets import resolve_secrets


def test_references_are_replaced_wherever_they_stand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PASSWORD_FOR_TEST", "hunter2")
    monkeypatch.setenv("PENSTOCK_SECRETS_DIR", str(tmp_path))
    (tmp_path / "kubernetes" / "db").mkdir(parents=True)
    (tmp_path / "kubernetes" / "db" / "uri").write_text("postgresql://u@h/d")
    config = {
        "a": "${env:PASSWORD_FOR_TEST}",
        "b": [{"c": "${secret:kubernetes:db/uri}"}],
        "d": "x${env:PASSWORD_FOR_TEST}",
        "e": 5,
    }
    assert resolve_secrets(config) == {
        "a": "hunter2",
        "b": [{"c": "postgresql://u@h/d"}],
        "d": "x${env:PASSWORD_FOR_TEST}",
        "e": 5,
    }


def test_a_secret_in_an_option_that_is_refused_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PASSWORD_FOR_TEST", "hunter2")
    resolved = resolve_secrets({"a": "${env:PASSWORD_FOR_TEST}"})
    assert resolved == {"a": "hunter2"}
    config = dict.fromkeys(("choice", "number", "list"), resolved["a"]) | {"list": [resolved]}
    options = Options("c", "Code", config, set())
    for refuse in (
        lambda: options.choice("choice", "x", ("x", "y")),
        lambda: options.integer("number", 1),
        lambda: options.text("list", ""),
        lambda: options.character("choice", None),
    ):
        with pytest.raises(UserError) as caught:
            refuse()
        assert "hunter2" not in f"{caught.value} {caught.value.details}"
        assert "hunter2" not in json.dumps(caught.value.details)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("hunter22", "no such protocol: hunter22"),
        ("http://me:p%40ss12@h/x", "GET http://me:p%40ss12@h/x: 404"),
        ("http://me:p%40ss12@h/x", "logged in as me, p@ss12"),
        ("host=h password='my pass' port=x", "wrong password: my pass"),
    ],
)
def test_what_libraries_say_of_a_secret_is_told_without_it(
    secret: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "_hidden", [])
    monkeypatch.setenv("SECRET_FOR_TEST", secret)
    resolve_secrets({"a": "${env:SECRET_FOR_TEST}"})
    error = UserError(told, details={"all": [told]})

    shown = f"{error} {error.details} {without_hidden(told)}"
    assert "…" in shown
    for part in (secret, "hunter22", "p%40ss12", "p@ss12", "my pass"):
        assert part not in shown


def test_passwords_that_stand_in_a_url_or_a_connection_string_are_not_shown() -> None:
    for config in (
        "redis://me:hunter2@h:port/0",
        "mysql://me:hunter2@[h/x",
        "host=h password=hunter2 what",
        "host=h password='hun\\'ter2' what",
    ):
        error = Options("c", "Code", {"a": config}, set()).fail("a", "is wrong")
        assert "ter2" not in f"{error} {error.details}"


@pytest.mark.parametrize(
    "reference",
    ["${PASSWORD}", "${env:}", "${secret:vault:a/b}", "${secret:kubernetes:../etc/passwd}",
     "${secret:kubernetes:Db/uri}", "${env:NOT_SET_ANYWHERE}", "${secret:kubernetes:no/such}"],
)  # fmt: skip
def test_anything_else_is_refused_and_named(
    reference: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PENSTOCK_SECRETS_DIR", str(tmp_path))
    with pytest.raises(UserError) as caught:
        resolve_secrets({"a": reference})
    assert reference in str(caught.value)
