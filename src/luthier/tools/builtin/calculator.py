"""The calculator: arithmetic with percentages and a few functions, exact to 28 digits."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException, localcontext
from typing import ClassVar

from luthier.errors import UserError
from luthier.tools.tool import Tool, ToolCard, ToolSource

LONGEST = 300  # characters of an expression
MOST_DIGITS = 60  # of a number that is shown
_CONTEXT = Context(prec=34, Emax=6_000, Emin=-6_000)
_PERCENT_OF = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)\s*of\b")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|percent)(?!\s*[\d(])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SIGNS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "\N{NO-BREAK SPACE}": " "}

_BINARY: Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}  # fmt: skip
_UNARY: Mapping[type[ast.unaryop], Callable[[Decimal], Decimal]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg,
}  # fmt: skip


def _through_float(function: Callable[[float], float]) -> Callable[[Decimal], Decimal]:
    return lambda x: Decimal(repr(function(float(x))))


def _rounded(x: Decimal, digits: Decimal = Decimal(0)) -> Decimal:
    return x.quantize(Decimal(1).scaleb(-int(digits)))


_FUNCTIONS: Mapping[str, Callable[..., Decimal]] = {
    "abs": abs, "min": min, "max": max, "round": _rounded, "sqrt": Decimal.sqrt,
    "floor": lambda x: Decimal(math.floor(x)), "ceil": lambda x: Decimal(math.ceil(x)),
    "exp": Decimal.exp, "ln": Decimal.ln, "log": Decimal.ln, "log10": Decimal.log10,
    "sin": _through_float(math.sin), "cos": _through_float(math.cos),
    "tan": _through_float(math.tan), "sum": lambda *xs: sum(xs, Decimal(0)),
    "mean": lambda *xs: sum(xs, Decimal(0)) / len(xs),
}  # fmt: skip
# How an expression is written. A model that is held to it goes on with numbers, not with words.
_NAMES = "|".join(rf"{name}\(" for name in _FUNCTIONS)
WRITTEN = rf"^(?:[-(0-9]|pi|{_NAMES})(?:[-+*/^%(),.0-9 ×÷−]|pi|of |{_NAMES}){{0,200}}$"
_CONSTANTS = {"pi": Decimal("3.141592653589793238462643383"), "e": Decimal(1).exp()}


class Calculator:
    """Kind of tools: the calculator."""

    card: ClassVar[ToolCard] = ToolCard(
        does="calculates: + - * / // % **, percentages, sqrt, round, min, max, mean, log, sin …",
        may="nothing but calculate",
        needs="nothing",
        example="calculator",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The calculator, which has no address of its own."""
        if address:
            raise UserError(f"calculator:{address} is no address", next_step="Write: calculator")
        expression = {
            "type": "string",
            "pattern": WRITTEN,
            "description": "such as 17 % of 2,350 or (3 + 4) * 2",
        }
        tool = Tool(
            "calculator",
            "Calculates an arithmetic expression.",
            {
                "type": "object",
                "properties": {"expression": expression},
                "required": ["expression"],
                "additionalProperties": False,
            },
            lambda arguments: calculate(str(arguments["expression"])),
            origin="calculator",
        )
        return ToolSource((tool,))


def calculate(expression: str) -> str:
    """The value of an expression, as text. ValueError, in words, for what is none."""
    if len(expression) > LONGEST:
        raise ValueError(f"the expression has more than {LONGEST} characters")
    try:
        tree = ast.parse(_as_python(expression), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"{expression!r} is no arithmetic expression") from error
    with localcontext(_CONTEXT):
        try:
            return written(_value(tree.body))
        except DecimalException as error:
            raise ValueError(f"{expression!r} has no value: {_reason(error)}") from error
        except (OverflowError, TypeError, RecursionError) as error:
            raise ValueError(f"{expression!r} has no value: {error}") from error


def written(value: Decimal) -> str:
    """A number as a person writes it: 399.5, 1e+40 where it is very long."""
    if not value.is_finite():
        raise ValueError("the value is not finite")
    value = value.normalize(Context(prec=28))
    if value == value.to_integral_value() and abs(value.adjusted()) < MOST_DIGITS:
        return f"{value:f}"
    return f"{value:f}" if -12 < value.adjusted() < MOST_DIGITS else str(value)


def _as_python(expression: str) -> str:
    text = expression.strip().rstrip("=?").strip()
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    text = _THOUSANDS.sub("", text)
    text = _PERCENT_OF.sub(r"(\1/100)*", text)
    text = _PERCENT.sub(r"(\1/100)", text)
    return re.sub(r"(?<=[\d)])\s*[x](?=\s*[\d(])", "*", text)


def _value(node: ast.expr) -> Decimal:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Decimal(repr(node.value))
    if isinstance(node, ast.Name) and node.id.lower() in _CONSTANTS:
        return _CONSTANTS[node.id.lower()]
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        function = _FUNCTIONS.get(node.func.id.lower())
        if function is not None:
            return Decimal(function(*[_value(a) for a in node.args]))
    shown = ast.unparse(node)[:40]
    raise ValueError(f"{shown!r} is no part of arithmetic; functions: {', '.join(_FUNCTIONS)}")


def _reason(error: DecimalException) -> str:
    names = [cls.__name__ for cls in type(error).__mro__]
    if "DivisionByZero" in names or "DivisionUndefined" in names:
        return "it divides by zero"
    return "the numbers are too large" if "Overflow" in names else "it is not defined"
