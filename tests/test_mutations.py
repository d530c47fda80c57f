"""The mutations fit the code as it is; `make mutations` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation, apply, copy_project, run_tests


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_every_edit_still_finds_its_place(mutation: Mutation, tmp_path: Path) -> None:
    for edit in mutation.edits:
        path = tmp_path / edit.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((ROOT / edit.file).read_text())
    apply(mutation, tmp_path)
    for test in (t for t in mutation.tests if t.startswith("tests/")):
        assert (ROOT / test).exists()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_the_tests_notice(mutation: Mutation, tmp_path: Path) -> None:
    copy_project(tmp_path)
    apply(mutation, tmp_path)
    passed, _ = run_tests(tmp_path, mutation.tests)
    assert not passed, f"nobody noticed that {mutation.mistake}"
