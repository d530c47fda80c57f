"""References to secrets are resolved as wholes or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.errors import UserError
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
