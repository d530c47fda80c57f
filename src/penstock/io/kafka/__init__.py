"""Apache Kafka: what its output and its input connector share.

client.py      options of librdkafka, clients, and what their errors mean
topic.py       what a topic is and must be, and how it is made
writer.py      transactions on one topic under a fence, with the marker in the same transaction
state.py       what a topic's writers leave for each other
reading.py     a topic read back: committed records, and what an append topic shows
messages.py    rows → messages: keys, values, headers, bounded in size
encoders.py    which encoder a format and an index ask for
records.py     the control records that make an append topic readable as a view
values.py      values of records → rows;  filters.py: which records by their headers
keyed_store.py a snapshot by key on local disk, held against what the topic has

The connectors are `penstock.io.outputs.kafka_output` and `penstock.io.inputs.kafka_input`.
"""
