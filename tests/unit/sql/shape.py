"""A syntax tree as one line of text with all parentheses, for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from penstock.sql import ast


def shape(node: Any) -> str:
    """Operators with parentheses; every other node as `Name(field, …)`, defaults left out."""
    match node:
        case ast.Binary(op=op, left=left, right=right):
            return f"({shape(left)} {op} {shape(right)})"
        case ast.Unary(op=op, operand=operand):
            return f"({op} {shape(operand)})"
        case ast.ColumnRef(parts=parts):
            return ".".join(p.name for p in parts)
        case ast.Literal(text=text):
            return text
        case ast.Identifier(name=name) | ast.Text(value=name):
            return name
        case tuple():
            return "[" + ", ".join(map(shape, node)) + "]"
        case ast.Node():
            return f"{type(node).__name__}({', '.join(_fields(node))})"
        case _:
            return str(node)


def _fields(node: ast.Node) -> list[str]:
    shown = []
    for f in sorted(dataclasses.fields(node), key=lambda f: bool(f.kw_only)):
        value = getattr(node, f.name)
        if not f.compare or (f.default is not dataclasses.MISSING and value == f.default):
            continue
        required = f.default is dataclasses.MISSING
        shown.append(shape(value) if required else f"{f.name}={shape(value)}")
    return shown
