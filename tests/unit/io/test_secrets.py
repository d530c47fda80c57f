"""References to secrets are resolved as wholes or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import UserError
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
