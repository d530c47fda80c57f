"""Room `client`: reading Penstock from outside, with the generation protocol made invisible.

egress.py    a view over HTTP egress, atomically
kafka.py     a view in a Kafka append topic, atomically
"""

from __future__ import annotations

from penstock.client.egress import EgressReader
from penstock.client.kafka import KafkaViewReader

__all__ = ["EgressReader", "KafkaViewReader"]
