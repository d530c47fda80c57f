"""Definitions: what is refused, and which versions an edit moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UserError
from penstock.manager import edits
from penstock.manager.records import PipelineRecord
from tests.examples import examples


def new(**fields: Any) -> PipelineRecord:
    body = {"name": "p", "program_code": "CREATE TABLE t (a INT)", **fields}
    return edits.create(edits.parse_whole_definition(body), "tenant", "0")


def edit(record: PipelineRecord, **fields: Any) -> PipelineRecord:
    return edits.apply(record, edits.parse_definition(fields), "0")


def versions(record: PipelineRecord) -> tuple[int, int, int]:
    return record.version, record.refresh_version, record.program_version


def test_an_edit_that_changes_nothing_is_no_edit() -> None:
    record = new()
    assert edit(record, program_code=record.program_code, runtime_config={}) is record


def test_new_code_moves_every_version_and_goes_back_to_the_compiler() -> None:
    record = new().changed(program_status="Success", program_info={"schema": {}})
    edited = edit(record, program_code="CREATE TABLE u (a INT)")
    assert versions(edited) == (2, 2, 2)
    assert (edited.program_status, edited.program_info) == ("Pending", None)


def test_a_new_configuration_keeps_the_program() -> None:
    record = new().changed(program_status="Success")
    edited = edit(record, runtime_config={"workers": 3})
    assert versions(edited) == (2, 2, 1) and edited.program_status == "Success"


def test_descriptions_and_tags_move_no_version_even_while_running() -> None:
    record = new().changed(resources_status="Provisioned", resources_desired="Provisioned")
    edited = edit(record, description="about", tags=["a"])
    assert versions(edited) == (1, 1, 1) and edited.tags == ["a"]


@pytest.mark.parametrize("field", ["name", "program_code", "udf_rust"])
def test_a_started_pipeline_keeps_its_definition(field: str) -> None:
    early = new().changed(resources_desired="Provisioned")
    with pytest.raises(UserError) as refused:
        edit(early, **{field: "other"})
    assert refused.value.code == "UpdateRestrictedToStopped"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"workers": 3}, "runtime_config.workers"),
        ({"fault_tolerance": {"model": "exactly_once"}}, "runtime_config.fault_tolerance"),
        ({"resources": {"storage_mb_max": 7}}, "runtime_config.resources.storage_mb_max"),
    ],
)
def test_stored_state_ties_some_settings(config: dict[str, Any], named: str) -> None:
    record = new().changed(storage_status="InUse")
    with pytest.raises(UserError) as refused:
        edit(record, runtime_config=config)
    assert refused.value.code == "EditRestrictedToClearedStorage"
    assert refused.value.details == {"not_allowed": [named]}
    assert versions(edit(record, runtime_config={"min_batch_size_records": 9})) == (2, 2, 1)


names = st.text(st.sampled_from("aZ0-_.é "), min_size=0, max_size=70)


@settings(max_examples=examples(200))
@given(names)
def test_a_name_is_accepted_exactly_when_the_published_pattern_says_so(name: str) -> None:
    import re

    may = 1 <= len(name) <= 63 and re.fullmatch(
        r"([A-Za-z0-9][-A-Za-z0-9_]*)?[A-Za-z0-9]", name, re.ASCII
    )
    try:
        record = new(name=name)
    except UserError as refused:
        assert not may
        assert refused.code in ("EmptyName", "TooLongName", "NameDoesNotMatchPattern")
    else:
        assert may and record.name == name


def test_a_record_survives_being_stored() -> None:
    record = new(description="é", tags=["x"], runtime_config={"workers": 2})
    assert PipelineRecord.load(record.dump()) == record
