"""Exceptions and tokens as HTTP sees them."""

from __future__ import annotations

import logging

import orjson
import pytest
from starlette.requests import Request

from penstock.errors import (
    CompilerMessage,
    Conflict,
    CorruptState,
    Forbidden,
    Gone,
    NotFound,
    PenstockError,
    SqlError,
    TransientError,
    Unauthorized,
    UserError,
)
from penstock.manager.lifecycle import EnterpriseFeature
from penstock.server.errors import error_response, on_penstock_error
from penstock.server.oidc import Identity


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("m"), 400),
        (UserError("m", code="UnknownOutputEndpoint"), 404),
        (UserError("m", code="UnsupportedPipelineAction"), 405),
        (UserError("m", code="NotSupported"), 400),
        (Unauthorized("m"), 401),
        (Forbidden("m"), 403),
        (NotFound("m"), 404),
        (Conflict("m", code="TransactionInProgress"), 409),
        (Gone("m", code="PipelineRestarted"), 410),
        (UserError("m", code="ApiConnectionLimit"), 429),
        (CorruptState("m"), 500),
        (PenstockError("m"), 500),
        (EnterpriseFeature("m"), 501),
        (TransientError("m"), 503),
        (TransientError("m", code="OutputTransportError"), 503),
        (UserError("m", code="OutputTransportError"), 500),
        (ValueError("m"), 500),
    ],
)
def test_every_error_has_its_status_and_the_published_body(error: Exception, status: int) -> None:
    answer = error_response(error)
    body = orjson.loads(bytes(answer.body))
    assert answer.status_code == status
    assert set(body) == {"message", "error_code", "details"} and body["message"]


def test_a_bug_keeps_its_text_to_the_log() -> None:
    body = bytes(error_response(ValueError("the password is 1234")).body)
    assert b"1234" not in body and b"ValueError" in body


def test_a_refusal_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    request = Request({"type": "http", "method": "POST", "path": "/ingress", "headers": []})
    with caplog.at_level(logging.INFO, "penstock.server.errors"):
        on_penstock_error(request, UserError("Errors (2 errors):\nrecord 1: bad\n\nrecord 2: bad"))
    (line,) = caplog.messages
    assert line == "POST /ingress: 400 Errors (2 errors): | record 1: bad | record 2: bad"


def test_compiler_messages_travel_in_the_details() -> None:
    error = SqlError([CompilerMessage("no such column", start_line=2)])
    details = orjson.loads(bytes(error_response(error).body))["details"]
    assert details["messages"][0]["start_line_number"] == 2


def test_a_caller_of_several_tenants_chooses_one() -> None:
    several = Identity("ada", "read", ("a", "b"))
    assert several.choose_tenant("b") == "b"
    for wanted, code in ((None, "AmbiguousTenantMembership"), ("c", "NotATenantMember")):
        with pytest.raises(UserError) as refused:
            several.choose_tenant(wanted)
        assert refused.value.code == code
    assert Identity("ada", "read", ()).choose_tenant(None) is None
