"""Apache Kafka: what its output and its input connector share.

client.py      options of librdkafka, clients, and what their errors mean
writer.py      transactions on one topic under a fence, with the marker in the same transaction
messages.py    rows → messages: keys, values, headers, bounded in size
records.py     the control records that make an append topic readable as a view
spool.py       a snapshot on local disk until it is published

The connectors are `penstock.io.outputs.kafka_output` and `penstock.io.inputs.kafka_input`.
"""
