"""What every node of the tree has, and the names in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.errors import Span


@dataclass(frozen=True, slots=True)
class Node:
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A name as it is looked up: folded to lower case unless `quoted`."""

    name: str
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string that is not an expression: a key or value of a WITH property."""

    value: str
