"""Runtime configurations in their normal form."""

from __future__ import annotations

from typing import Any

import pytest
from feldera.runtime_config import Resources, RuntimeConfig, Storage
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UserError
from penstock.wire.runtime_config import normalise_runtime_config
from tests.examples import examples

configs = st.fixed_dictionaries(
    {},
    optional={
        "workers": st.integers(1, 64),
        "storage": st.sampled_from([True, False, None, {}, {"compression": "snappy"}]),
        "fault_tolerance": st.sampled_from([None, {}, {"model": "at_least_once"}]),
        "max_rss": st.sampled_from(["16Gi", "512M"]),
        "max_buffering_delay": st.sampled_from(["1h30m", "20ms"]),
        "resources": st.sampled_from([None, {}, {"memory_max": "4G"}]),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), st.text(max_size=3)),
    },
)


@settings(max_examples=examples(100))
@given(configs)
def test_normalising_twice_is_normalising_once(config: dict[str, Any]) -> None:
    once = normalise_runtime_config(config)
    assert normalise_runtime_config(once) == once
    assert set(once) == set(normalise_runtime_config(None))


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"wrokers": 2}, "wrokers"),
        ({"workers": 0}, "workers"),
        ({"workers": "8"}, "workers"),
        ({"workers": True}, "workers"),
        ({"storage": {"compression": "zip"}}, "storage.compression"),
        ({"storage": {"backend": {"name": "object", "config": {}}}}, "storage.backend.config.url"),
        (
            {"storage": {"backend": {"name": "object", "config": {"url": "s3://b"}}}},
            "storage.backend.name",
        ),
        ({"hosts": 2}, "hosts"),
        ({"resources": {"cpus": 1}}, "resources.cpus"),
        ({"env": {"RUST_LOG": "debug"}}, "env.RUST_LOG"),
        ({"clock_timezone_offset": "05:30"}, "clock_timezone_offset"),
        ({"clock_timezone_offset": "+24:00"}, "clock_timezone_offset"),
        ({"max_rss": "lots"}, "max_rss"),
        ({"max_rss": "1G", "max_rss_mb": 1000}, "max_rss"),
        ({"fault_tolerance": {"model": "twice"}}, "fault_tolerance.model"),
        ([], "runtime_config"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(config: Any, key: str) -> None:
    with pytest.raises(UserError) as refused:
        normalise_runtime_config(config)
    assert refused.value.code == "InvalidRuntimeConfig"
    assert refused.value.details is not None and refused.value.details["key"] == key


def test_units_become_the_published_numbers() -> None:
    found = normalise_runtime_config(
        {"max_rss": "16Gi", "max_buffering_delay": "1h30m", "provisioning_timeout": "2m",
         "resources": {"memory_max": "4G"}, "fault_tolerance": {"checkpoint_interval": "90m"}}
    )  # fmt: skip
    assert found["max_rss_mb"] == 17179
    assert found["max_buffering_delay_usecs"] == 5400 * 10**6
    assert found["provisioning_timeout_secs"] == 120
    assert found["resources"]["memory_mb_max"] == 4000
    assert found["fault_tolerance"] == {"model": "exactly_once", "checkpoint_interval_secs": 3600}


def test_what_the_sdk_sends_is_understood() -> None:
    sent = RuntimeConfig(
        workers=4, storage=Storage(config={}), resources=Resources(memory_max="1Gi"),
        max_rss="2G", clock_resolution="1s", checkpoint_interval="10s",
    ).to_dict()  # fmt: skip
    found = normalise_runtime_config(sent)
    assert (found["workers"], found["max_rss_mb"]) == (4, 2000)
    assert found["clock_resolution_usecs"] == 1_000_000


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        ({"wrokers": 2}, "did you mean workers?"),
        ({"fault_tolerance": {"modle": "none"}}, "did you mean model?"),
        ({"storage": {"compresion": "none"}}, "did you mean compression?"),
    ],
)
def test_a_misspelt_setting_is_met_with_the_one_that_was_meant(config: Any, meant: str) -> None:
    with pytest.raises(UserError) as refused:
        normalise_runtime_config(config)
    assert refused.value.message.endswith(meant)
