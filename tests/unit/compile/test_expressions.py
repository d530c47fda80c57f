"""Compiled expressions agree with a row-at-a-time interpreter, also about what fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.compile.expressions import (
    compile_expression,
    compile_expressions,
    compile_predicate,
)
from penstock.data.batch import Column
from penstock.data.build import batch_from_rows, column_to_python, empty_batch
from penstock.data.types import BOOLEAN, DOUBLE, INTEGER, VARCHAR, schema
from penstock.errors import RuntimeSqlError
from penstock.functions.definition import Function
from penstock.functions.registry import resolve
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    InList,
    InputRef,
    IsNull,
    Literal,
    Not,
    Or,
)
from penstock.plan.rewrite import cheapest_first
from tests.examples import examples

S = schema(a=INTEGER, b=INTEGER, s=VARCHAR, x=DOUBLE)
A, B = InputRef(INTEGER, 0, "a"), InputRef(INTEGER, 1, "b")
TEXT, X = InputRef(VARCHAR, 2, "s"), InputRef(DOUBLE, 3, "x")


def number(value: int | None) -> Literal:
    return Literal(INTEGER.with_nullable(value is None), value)


def call(name: str, *args: Expr) -> Call:
    function = resolve(name, [a.type for a in args])
    return Call(function.result, function, args)


# the slow, obvious interpreter ---------------------------------------------------------------


class Fails(Exception):
    pass


def interpret(e: Expr, row: tuple[Any, ...]) -> Any:
    match e:
        case InputRef():
            return row[e.index]
        case Literal():
            return e.value
        case Not():
            v = interpret(e.operand, row)
            return None if v is None else not v
        case IsNull():
            return (interpret(e.operand, row) is None) != e.negated
        case And() | Or():
            decisive, unknown = isinstance(e, Or), False
            for a in e.args:
                v = interpret(a, row)
                if v is decisive:
                    return decisive
                unknown |= v is None
            return None if unknown else not decisive
        case Case():
            for condition, result in e.branches:
                if interpret(condition, row) is True:
                    return interpret(result, row)
            return interpret(e.otherwise, row)
        case Coalesce():
            return next((v for a in e.args if (v := interpret(a, row)) is not None), None)
        case Call():
            args = [interpret(a, row) for a in e.args]
            return None if None in args else operate(e.function.name, *args)
    raise AssertionError(e)


def operate(name: str, a: int, b: int) -> Any:
    if name == "/":
        if b == 0:
            raise Fails
        v = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    else:
        table = {"+": a + b, "*": a * b, "=": a == b, "<": a < b}
        v = table[name]
        if isinstance(v, bool):
            return v
    if not -(2**31) <= v < 2**31:
        raise Fails
    return v


def numbers(depth: int) -> st.SearchStrategy[Expr]:
    leaf: st.SearchStrategy[Expr] = st.sampled_from(
        [A, B, number(0), number(2), number(None), number(2**31 - 1)]
    )
    if depth == 0:
        return leaf
    below = numbers(depth - 1)
    return st.one_of(
        leaf,
        st.builds(call, st.sampled_from(["+", "*", "/"]), below, below),
        st.builds(lambda c, r, o: Case(INTEGER, ((c, r),), o), booleans(depth - 1), below, below),
        st.builds(lambda *args: Coalesce(INTEGER, args), below, below, below),
    )


def booleans(depth: int) -> st.SearchStrategy[Expr]:
    compared = st.builds(
        call, st.sampled_from(["=", "<"]), numbers(max(depth - 1, 0)), numbers(max(depth - 1, 0))
    )
    if depth == 0:
        return compared
    below = booleans(depth - 1)
    return st.one_of(
        compared,
        st.builds(lambda *args: And(BOOLEAN, args), below, below),
        st.builds(lambda *args: Or(BOOLEAN, args), below, below, below),
        st.builds(lambda e: Not(BOOLEAN, e), below),
        st.builds(lambda e, n: IsNull(BOOLEAN, e, n), numbers(depth - 1), st.booleans()),
    )


values = st.one_of(st.none(), st.integers(-3, 3), st.just(2**31 - 1))
rows = st.lists(st.tuples(values, values, st.just("t"), st.just(1.0)), min_size=1, max_size=6)


@settings(max_examples=examples(400), deadline=None)
@given(st.one_of(booleans(3), numbers(3)), rows)
def test_evaluation_agrees_with_an_interpreter(e: Expr, data: list[tuple[Any, ...]]) -> None:
    batch = batch_from_rows(S, data)
    evaluate = compile_expression(e, S, "v")
    try:
        expected = [interpret(e, row) for row in data]
    except Fails:
        with pytest.raises(RuntimeSqlError):
            evaluate(batch)
        return
    column = evaluate(batch)
    assert column_to_python(column) == expected
    check_invariants(column)


def check_invariants(column: Column) -> None:
    assert column.values.flags.c_contiguous
    assert column.values.dtype == column.type.dtype
    if column.valid is not None:
        assert not column.valid.all() and len(column.valid) == len(column.values)
        assert not column.values[column.valid == 0].any()


@settings(max_examples=examples(150), deadline=None)
@given(booleans(2), rows)
def test_a_predicate_is_true_or_not(e: Expr, data: list[tuple[Any, ...]]) -> None:
    try:
        expected = [int(interpret(e, row) is True) for row in data]
    except Fails:
        return
    mask = compile_predicate(e, S)(batch_from_rows(S, data))
    assert mask.dtype == np.uint8 and mask.tolist() == expected


def test_the_reported_row_is_the_one_that_fails_behind_a_guard() -> None:
    guarded = Case(INTEGER, ((call("<", A, number(10)), call("/", number(1), B)),), number(None))
    batch = batch_from_rows(S, [(99, 0, "t", 1.0), (1, 1, "t", 1.0), (2, 0, "here", 1.0)])
    with pytest.raises(RuntimeSqlError, match=r"view v: .* s = 'here'") as caught:
        compile_expression(guarded, S, "v")(batch)
    assert caught.value.row == 2


def test_a_failing_constant_waits_for_a_row_that_reaches_it() -> None:
    e = Case(INTEGER, ((call("=", A, number(1)), call("/", number(1), number(0))),), A)
    evaluate = compile_expression(e, S)
    assert column_to_python(evaluate(batch_from_rows(S, [(2, 0, "t", 1.0)]))) == [2]
    with pytest.raises(RuntimeSqlError, match="by zero"):
        evaluate(batch_from_rows(S, [(2, 0, "t", 1.0), (1, 0, "t", 1.0)]))


def test_a_repeated_expression_is_evaluated_once_a_batch() -> None:
    calls = []

    def kernel(args: Any, n: int) -> Column:
        calls.append(n)
        return Column(INTEGER, args[0].values + 1)

    f = Function("counted", (INTEGER,), INTEGER, kernel)
    once = Call(INTEGER, f, (A,))
    evaluate = compile_expressions(
        [once, call("+", once, once), Not(BOOLEAN, call("<", once, B))], S
    )
    columns = evaluate(batch_from_rows(S, [(1, 2, "t", 1.0), (None, 2, "t", 1.0)]))
    assert calls == [2]
    assert [column_to_python(c) for c in columns] == [[2, None], [4, None], [True, None]]


def test_floats_leave_an_expression_with_one_nan_and_no_negative_zero() -> None:
    zero, odd = call("unary-", X), call("/", X, X)
    batch = batch_from_rows(S, [(1, 1, "t", 0.0), (1, 1, "t", float("nan"))])
    bits = compile_expression(zero, S)(batch).values.view(np.uint64).tolist()
    assert bits == [0, 0x7FF8000000000000]
    bits = compile_expression(odd, S)(batch).values.view(np.uint64).tolist()
    assert bits == [0x7FF8000000000000] * 2


def test_in_list_is_three_valued() -> None:
    data = [(1, 1, "t", 1.0), (3, 1, "t", 1.0), (None, 1, "t", 1.0)]
    batch = batch_from_rows(S, data)
    plain = InList(BOOLEAN, A, (number(1), number(2)))
    with_null = InList(BOOLEAN, A, (number(1), number(None)))
    negated = InList(BOOLEAN, A, (number(1), number(None)), negated=True)
    assert column_to_python(compile_expression(plain, S)(batch)) == [True, False, None]
    assert column_to_python(compile_expression(with_null, S)(batch)) == [True, None, None]
    assert column_to_python(compile_expression(negated, S)(batch)) == [False, None, None]


def test_long_strings_survive_case_and_coalesce() -> None:
    long = Literal(VARCHAR.with_nullable(False), "a constant that is longer than twelve bytes")
    e = Coalesce(VARCHAR, (TEXT, long))
    chosen = Case(VARCHAR, ((call("<", A, B), e),), TEXT)
    batch = batch_from_rows(S, [(1, 2, None, 1.0), (2, 1, "a column's long string", 1.0)])
    out = compile_expression(chosen, S)(batch)
    assert column_to_python(out) == [long.value, "a column's long string"]


def test_a_safe_cast_is_null_where_it_fails_and_an_empty_batch_is_empty() -> None:
    e = Cast(INTEGER, TEXT, safe=True)
    batch = batch_from_rows(S, [(1, 2, "12", 1.0), (2, 1, "twelve", 1.0)])
    assert column_to_python(compile_expression(e, S)(batch)) == [12, None]
    empty = compile_expression(e, S)(empty_batch(S))
    assert len(empty) == 0 and empty.type == INTEGER


def test_costly_operands_are_left_for_the_rows_that_need_them_unless_one_before_may_fail() -> None:
    pattern = Literal(VARCHAR.with_nullable(False), "a+")
    function = resolve("rlike", [VARCHAR, pattern.type], [None, "a+"])
    search = Call(function.result, function, (TEXT, pattern))
    cheap, fails = call("=", A, number(1)), call("=", call("/", A, B), number(1))

    assert cheapest_first([search, cheap]) == [cheap, search]
    assert cheapest_first([fails, search, cheap]) == [fails, cheap, search]
    assert cheapest_first([search, fails, cheap]) == [search, fails, cheap]


_words = st.text(st.sampled_from("abc€ßa"), max_size=30)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.one_of(st.none(), _words), min_size=1, max_size=5),
    st.one_of(st.none(), st.text(st.sampled_from("ab€"), max_size=2)),
    st.one_of(st.none(), st.text(st.sampled_from("b€x"), max_size=3)),
)
def test_the_length_of_what_is_replaced_needs_no_string(
    texts: list[str | None], old: str | None, new: str | None
) -> None:
    literals = [Literal(VARCHAR.with_nullable(x is None), x) for x in (old, new)]
    made = call("CHAR_LENGTH", call("REPLACE", TEXT, *literals))
    batch = batch_from_rows(S, [(1, 1, t, 1.0) for t in texts])

    def length(t: str | None) -> int | None:
        if t is None or old is None or new is None:
            return None
        return len(t.replace(old, new) if old else t)

    assert column_to_python(compile_expression(made, S)(batch)) == [length(t) for t in texts]
