"""Connectors and formats by the names that programs use (contract sections 7.3 to 7.5)."""

from __future__ import annotations

from penstock.io.contracts import InputConnector
from penstock.io.formats import ENCODERS, PARSERS
from penstock.io.inputs.clock import Clock
from penstock.io.inputs.datagen import Datagen
from penstock.io.inputs.empty_input import EmptyInput
from penstock.io.inputs.file_input import FileInput
from penstock.io.inputs.kafka_input import KafkaInput
from penstock.io.inputs.url_input import UrlInput
from penstock.io.outputs import OUTPUTS

INPUTS: dict[str, type[InputConnector]] = {
    "clock": Clock,
    "datagen": Datagen,
    "empty_input": EmptyInput,
    "file_input": FileInput,
    "kafka_input": KafkaInput,
    "url_input": UrlInput,
}
#: inputs that make rows themselves and take no `format`
INTEGRATED_INPUTS = frozenset({"clock", "datagen", "empty_input"})

__all__ = ["ENCODERS", "INPUTS", "INTEGRATED_INPUTS", "OUTPUTS", "PARSERS"]
