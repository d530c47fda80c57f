"""Servers that tests of several folders share: started when first asked for, once a session."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.kafka_server import kafka

__all__ = ["kafka"]

# servers that tests start would otherwise compile all sources again: a second of CPU each
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# no test fails because the machine has other things to do
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")

#: seconds that a slow test may take, beside others
LONGEST = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONGEST))
