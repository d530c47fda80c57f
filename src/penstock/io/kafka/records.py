"""The control records that make an append topic readable as a view (guarantee `marked`).

    partition 0   begin │ r r r │ r r │ end │ r step │ r r step │ …
    partition 1   begin │ r r   │ r   │ end │ r      │          │ …
                  attempt 8f2c…, generation 3          step 18    step 19

Every record that we write carries headers, all ASCII:

    penstock-generation   the generation it belongs to
    penstock-attempt      snapshot records only: which attempt at staging the generation it is of
    penstock-step         delta records, end: the step of the view
    penstock-control      control records only (null key, null value): begin, end, step
    penstock-counts       end, step: how many data records it has in partitions 0, 1, …: "3,2"
    penstock-rows         end: rows of the snapshot;  penstock-token: its reset token

`begin` and `end` stand in every partition, `step` in partition 0. Each stands in one transaction
with what it is about, except that a snapshot may take several transactions.

The reader's rule, which makes it atomic (read committed, from the beginning):
* partition 0's end and step records are taken in their order, each as soon as as many data records
  as its counts say have been read in the other partitions too;
* begin of generation g: forget what this partition has of other attempts at generations up to g,
  unless their end was read;
* end: what is shown becomes the records of that attempt, all at once;
* step: its records are applied to what is shown, if that is of its generation; else its snapshot
  has gone (retention), and it is nothing without (a topic of a connector in follow mode has no
  ends at all, and is the sum of its steps as long as none has gone);
* a complete end overtakes whatever is incomplete before it: that is how a reset mends a topic
  from which records were lost.
Records without these headers are not ours. A snapshot without an end is never shown.

`penstock.client.KafkaViewReader` follows it. Deleting a record's effect needs no key: the format
says whether a record inserts or deletes.
"""

from __future__ import annotations

from collections.abc import Sequence

Headers = list[tuple[str, str | bytes | None]]

BEGIN, END, STEP = "begin", "end", "step"


def of_snapshot(generation: int, attempt: str) -> Headers:
    return _headers(generation=generation, attempt=attempt)


def of_delta(generation: int, step: int) -> Headers:
    return _headers(generation=generation, step=step)


def begin(generation: int, attempt: str) -> Headers:
    return _headers(control=BEGIN, generation=generation, attempt=attempt)


def end(
    generation: int, attempt: str, step: int, token: str, rows: int, counts: Sequence[int]
) -> Headers:
    return _headers(
        control=END, generation=generation, attempt=attempt, step=step, token=token, rows=rows,
        counts=",".join(map(str, counts)),
    )  # fmt: skip


def step(generation: int, number: int, counts: Sequence[int]) -> Headers:
    return _headers(
        control=STEP, generation=generation, step=number, counts=",".join(map(str, counts))
    )


def _headers(**values: str | int) -> Headers:
    return [(f"penstock-{name}", str(value).encode()) for name, value in values.items()]
