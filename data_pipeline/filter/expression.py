"""Conditions on the columns of a corpus, such as `quality.score >= 0.7 and language in ["en", "de"]`.

The grammar is Python's, of which little is allowed: names of columns (a dot reaches into a struct), numbers, strings,
`None`, `and`, `or`, `not`, comparisons (`a < b <= c` too), `in` and `not in` a list, `is None` and `is not None`, and
`length(column)`, the characters of a string. Nothing is evaluated by Python: the parts become calls of pyarrow.compute.

A comparison with a value that is null is false, and so is its negation: what has no score cannot pass by a rule on it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.write.columns import column
from millbase.errors import ConfigError

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_HELP = "give conditions on columns such as 'quality.score >= 0.7 and language == \"en\"'"


@dataclass(frozen=True)
class Clause:
    """One of the conditions that `and` joins at the top: the first that fails is why a document goes."""

    text: str
    """The condition as it was written."""
    node: ast.expr
    measured: str | None
    """The column that a plain comparison with a number looks at, else None."""
    threshold: float | None
    """The number that it is compared with."""

    def passes(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        """bool [rows], without nulls: which rows pass. ConfigError when a column is unknown or of another type."""
        try:
            return pc.fill_null(_condition(self.node, table), False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"condition {self.text!r}: {reason}; compare numbers with numbers and text with text"
            ) from None

    def values(self, table: pa.Table) -> list[float | None]:
        """What was measured on each row; nulls where the clause is no plain comparison."""
        if self.measured is None:
            return [None] * table.num_rows
        values: list[float | None] = column(table, self.measured).cast(pa.float64()).to_pylist()
        return values


def parse(expression: str) -> list[Clause]:
    """The conditions of an expression that `and` joins. Raises ConfigError when it is anything else than conditions."""
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(f"condition {expression!r} cannot be read ({reason}); {_HELP}") from None
    return [_clause(node) for node in _conjuncts(body)]


def _conjuncts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [part for value in node.values for part in _conjuncts(value)]
    return [node]


def _clause(node: ast.expr) -> Clause:
    _check(node)
    measured = threshold = None
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], tuple(_COMPARE)):
        right = node.comparators[0]
        number = _literal(right) if _is_literal(right) else None
        if isinstance(node.left, ast.Name | ast.Attribute) and isinstance(number, int | float) and number is not True:
            measured, threshold = _name(node.left), float(number)
    return Clause(ast.unparse(node), node, measured, threshold)


def _check(node: ast.expr) -> None:
    """Raises ConfigError unless the node is a condition, before any row is read."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand)
    elif isinstance(node, ast.Compare):
        for left, op, right in _pairs(node):
            _check_pair(node, left, op, right)
    elif isinstance(node, ast.Name | ast.Attribute):
        _name(node)  # a column of booleans
    else:
        raise _refused(node)


def _check_pair(node: ast.Compare, left: ast.expr, op: ast.cmpop, right: ast.expr) -> None:
    if isinstance(op, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not all(map(_is_literal, right.elts)):
            raise _refused(node)
        _check_value(left)
    elif isinstance(op, ast.Is | ast.IsNot):
        if not (isinstance(right, ast.Constant) and right.value is None):
            raise _refused(node)
        _check_value(left)
    else:
        for side in (left, right):
            if isinstance(side, ast.Constant) and side.value is None:
                raise ConfigError(f"condition {ast.unparse(node)!r}: nothing equals None; write 'is None'")
            _check_value(side)


def _check_value(node: ast.expr) -> None:
    if _is_literal(node):
        return
    if isinstance(node, ast.Call):
        simple = isinstance(node.func, ast.Name) and node.func.id == "length" and len(node.args) == 1
        if not simple or node.keywords:
            raise _refused(node)
        _name(node.args[0])
        return
    _name(node)


def _refused(node: ast.AST) -> ConfigError:
    return ConfigError(f"condition {ast.unparse(node)!r} is not understood; {_HELP}")


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float, str, bool)


def _literal(node: ast.expr) -> Any:
    return ast.literal_eval(node)


def _name(node: ast.expr) -> str:
    """The dotted name of a column."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    raise _refused(node)


def _pairs(node: ast.Compare) -> list[tuple[ast.expr, ast.cmpop, ast.expr]]:
    sides = [node.left, *node.comparators]
    return list(zip(sides, node.ops, sides[1:], strict=False))


def _condition(node: ast.expr, table: pa.Table) -> Any:
    """bool [rows], null where a value is missing; the logic is Kleene's, so that null stays what it is."""
    if isinstance(node, ast.BoolOp):
        join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        result = _condition(node.values[0], table)
        for value in node.values[1:]:
            result = join(result, _condition(value, table))
        return result
    if isinstance(node, ast.UnaryOp):
        return pc.invert(_condition(node.operand, table))
    if isinstance(node, ast.Compare):
        parts = [_compare(left, op, right, table) for left, op, right in _pairs(node)]
        result = parts[0]
        for part in parts[1:]:
            result = pc.and_kleene(result, part)
        return result
    values = column(table, _name(node))
    if not pa.types.is_boolean(values.type):
        raise ConfigError(f"condition {ast.unparse(node)!r} holds {values.type}, no truth; compare it with something")
    return values


def _compare(left: ast.expr, op: ast.cmpop, right: ast.expr, table: pa.Table) -> Any:
    if isinstance(op, ast.Is | ast.IsNot):
        null = pc.is_null(_value(left, table))
        return null if isinstance(op, ast.Is) else pc.invert(null)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List | ast.Tuple | ast.Set), "checked when parsed"
        values = _value(left, table)
        inside = pc.is_in(values, value_set=pa.array([_literal(each) for each in right.elts]).cast(values.type))
        inside = pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), inside)
        return inside if isinstance(op, ast.In) else pc.invert(inside)
    sides = [_value(left, table), _value(right, table)]
    if not any(isinstance(side, pa.ChunkedArray | pa.Array) for side in sides):
        raise ConfigError(f"condition {ast.unparse(left)!r} ... {ast.unparse(right)!r} names no column")
    return _COMPARE[type(op)](*sides)


def _value(node: ast.expr, table: pa.Table) -> Any:
    if _is_literal(node):
        value = _literal(node)
        # scores are stored as float32; against a double, 0.7 would not equal 0.7
        return pa.scalar(value, pa.float32()) if isinstance(value, float) else pa.scalar(value)
    if isinstance(node, ast.Call):
        return pc.utf8_length(column(table, _name(node.args[0])))
    return column(table, _name(node))
