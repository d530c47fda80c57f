"""What a program's Python has to define, as a text to start from (`udf_stubs` of program_info).

CREATE FUNCTION slug(s VARCHAR) RETURNS VARCHAR     # CREATE FUNCTION slug(s VARCHAR) RETURNS …
                                              ──►   def slug(s):
                                                        raise NotImplementedError("slug")
"""

from __future__ import annotations

import keyword

from penstock.sql import ast
from penstock.sql.bind.functions import is_python
from penstock.sql.parser import Parsed


def python_stubs(parsed: Parsed, text: str) -> str:
    """What the statements of `text` want defined; names that Python cannot say are left out."""
    wanted = [s for s in parsed.statements if is_python(s) and s.name.name.isidentifier()]
    return "\n\n".join(_stub(s, text) for s in wanted)


def _stub(f: ast.CreateFunction | ast.CreateAggregate, text: str) -> str:
    """The Python function of a declaration that stands in `text`; of a LINEAR aggregate what a
    row adds to the sum."""
    declared = " ".join(text[f.span.start : f.span.end].split())
    names = [_parameter(p.name.name, i) for i, p in enumerate(f.params)]
    name = f.name.name
    if isinstance(f, ast.CreateAggregate) and f.linear:
        declared += f"; {name}_post(total), if there is one, is applied to the sum"
        name += "_map"
    listed = ", ".join(names)
    return f'# {declared}\ndef {name}({listed}):\n    raise NotImplementedError("{name}")\n'


def _parameter(name: str, place: int) -> str:
    """A name that Python takes."""
    if not name.isidentifier():
        return f"p{place + 1}"
    return f"{name}_" if keyword.iskeyword(name) else name
