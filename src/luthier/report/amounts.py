"""Amounts as text: short, with a unit, and a dash for what was not measured.

Every function turns None into `UNMEASURED`; none turns a missing number into a zero.
"""

from __future__ import annotations

import math

UNMEASURED = "–"
_SPACE = "\u00a0"  # keeps a number and its unit on one line
_MINUS = "\u2212"


def missing(value: float | None) -> bool:
    """None and NaN are both unmeasured."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: float | None, *, digits: int = 3) -> str:
    """`digits` significant figures, thousands grouped: 0.842, 12.3, 1,240,000; infinity as ∞."""
    if value is None or missing(value):
        return UNMEASURED
    if math.isinf(value):
        return "∞" if value > 0 else _MINUS + "∞"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    decimals = max(0, digits - 1 - size)
    rounded = round(value, decimals)
    if rounded and math.floor(math.log10(abs(rounded))) > size:  # 0.9996 -> 1.00, not 1.000
        decimals = max(0, decimals - 1)
    return _sign(f"{rounded:,.{decimals}f}")


def score(value: float | None, *, fraction: bool) -> str:
    """A metric: three decimals when it is a fraction, else three figures."""
    if value is None or missing(value):
        return UNMEASURED
    return _sign(f"{value:.3f}") if fraction else number(value)


def interval(low: float | None, high: float | None, *, fraction: bool) -> str:
    """`low–high`; the dash alone when either end is unmeasured."""
    if missing(low) or missing(high):
        return UNMEASURED
    return f"{score(low, fraction=fraction)}–{score(high, fraction=fraction)}"


def difference(value: float | None, *, fraction: bool) -> str:
    """A difference of scores, always signed: +0.024, −1.8."""
    if value is None or missing(value):
        return UNMEASURED
    text = score(abs(value), fraction=fraction)
    if float(text.replace(",", "")) == 0:
        return "±" + text
    return ("+" if value > 0 else _MINUS) + text


def rate(value: float | None) -> str:
    """A share of one as a percentage: 100 %, 99.3 %."""
    if value is None or missing(value):
        return UNMEASURED
    percent = 100 * value
    text = f"{percent:.1f}"
    if value < 1 and text == "100.0":  # one unreadable answer in ten thousand is not none
        text = ">99.9"
    elif value > 0 and text == "0.0":
        text = "<0.1"
    return text.removesuffix(".0") + f"{_SPACE}%"


def seconds(value: float | None) -> str:
    """A duration: 0.4 s, 12 s, 3 min 20 s, 2 h 05 min."""
    if value is None or missing(value):
        return UNMEASURED
    if value == 0:
        return f"0{_SPACE}s"
    if value < 0.00095:
        return f"<1{_SPACE}ms"
    if value < 0.0995:
        return f"{number(value * 1000, digits=2)}{_SPACE}ms"
    if value < 9.95:
        return f"{value:.1f}{_SPACE}s"
    if value < 59.5:
        return f"{value:.0f}{_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min" + (f" {rest:02d}{_SPACE}s" if rest else "")
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours:,}{_SPACE}h" + (f" {minutes:02d}{_SPACE}min" if minutes else "")


def milliseconds(value: float | None) -> str:
    """A latency: 8.2 ms, 143 ms, 2.1 s."""
    if value is None or missing(value):
        return UNMEASURED
    if value >= 9950:
        return f"{value / 1000:.0f}{_SPACE}s"
    if value >= 999.5:
        return f"{value / 1000:.1f}{_SPACE}s"
    return f"{value:.0f}{_SPACE}ms" if value >= 9.95 else f"{value:.1f}{_SPACE}ms"


def scaled(value: float | None) -> str:
    """A count in short: 640, 12.8 k, 3.1 M, 7 G."""
    if value is None or missing(value):
        return UNMEASURED
    for limit, divisor, unit in ((9.995e8, 1e9, "G"), (9.995e5, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            text = f"{value / divisor:.3g}" if abs(value) < 999.5e9 else f"{value / divisor:,.0f}"
            return f"{text}{_SPACE}{unit}"
    return count(value)


def count(value: float | None) -> str:
    """A count in full: 12,800. One decimal only for small averages: 37.5."""
    if value is None or missing(value):
        return UNMEASURED
    if float(value).is_integer() or abs(value) >= 100:
        return _sign(f"{value:,.0f}")
    return _sign(f"{value:.1f}")


def size(value: float | None) -> str:
    """Bytes, in powers of 1,000: 812 B, 45 kB, 3.2 MB."""
    if value is None or missing(value):
        return UNMEASURED
    amount, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1000, larger
    text = f"{amount:.0f}" if unit == "B" or amount >= 9.95 else f"{amount:.1f}"
    return f"{text}{_SPACE}{unit}"


def currency_sign(currency: str) -> str:
    """What stands before an amount: $, or the code and a space."""
    return {"USD": "$", "EUR": "€", "GBP": "£"}.get(currency, f"{currency}{_SPACE}")


def money(value: float | None, currency: str = "USD") -> str:
    """An amount of money; small ones keep two significant figures: $0.0042, $1.25, $1,240."""
    if value is None or missing(value):
        return UNMEASURED
    sign = currency_sign(currency)
    if math.isinf(value):
        return f"{sign}∞"
    if value == 0:
        return f"{sign}0"
    if 0 < value < 1e-6:
        return f"<{sign}0.000001"
    text = f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
    return sign + (text if value >= 0.095 else number(value, digits=2))


def total(value: float | None, unit: str, currency: str = "USD") -> str:
    """A technique's total cost in the unit of the verdict: $12.40, 840 k tok."""
    if value is None or missing(value):
        return UNMEASURED
    if unit == "money":
        return money(value, currency)
    if unit == "FLOPs":
        return f"{number(value / 1e12)}{_SPACE}TFLOP"
    return f"{scaled(value)}{_SPACE}tok"


def probability(value: float | None) -> str:
    """A p-value: 0.03, <0.001."""
    if value is None or missing(value):
        return UNMEASURED
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def plural(amount: int, noun: str, many: str | None = None) -> str:
    """`1 example`, `1,204 examples`."""
    return f"{amount:,} {noun if amount == 1 else many or noun + 's'}"


def _sign(text: str) -> str:
    return text.replace("-", _MINUS)


def passes(epochs: float | None) -> str:
    """The passes of a fit over the training examples: 2.4."""
    return UNMEASURED if epochs is None else f"{epochs:.1f}"
