"""The price book: what a token or a machine-hour costs. A YAML file that its reader can change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, did_you_mean
from luthier.safety.plain_files import read_plain
from luthier.safety.plain_yaml import load_yaml

MOST_BYTES = 1_000_000  # of a price book
SHIPPED = Path(__file__).with_name("prices.yaml")
TOKEN_PRICES = ("input", "cached_input", "output")


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs: money per token, or per hour of the machine it runs on."""

    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    machine_hour: float | None = None

    @property
    def by_token(self) -> bool:
        """Whether tokens are billed; otherwise machine time is."""
        return self.input is not None


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The prices of models by name or pattern, and of an hour of the machine. `requests` is the
    number of requests that the verdict counts beside one fit."""

    currency: str = "USD"
    machine_hour: float | None = None
    requests: int = 10_000
    models: Mapping[str, Price] = field(default_factory=dict)

    def of(self, model: str, *, remote: bool) -> Price:
        """The price of a model by its name; the longest pattern that matches counts.

        Without an entry a `remote` model has no price, because it is unknown, and a local one costs
        the machine-hours it takes.
        """
        patterns = sorted(self.models, key=len, reverse=True)
        for pattern in patterns:
            if pattern == model or fnmatchcase(model, pattern):
                price = self.models[pattern]
                is_set = price.by_token or price.machine_hour is not None
                return price if is_set else Price(machine_hour=self.machine_hour)
        return Price() if remote else Price(machine_hour=self.machine_hour)


def read_prices(path: str | Path | None = None) -> PriceBook:
    """The price book in a YAML file, or the one that ships with Luthier.

    Raises TaskError, with the key, for anything that is unknown, negative or not a number.
    """
    import yaml

    source = SHIPPED if path is None else Path(path)
    try:
        content = load_yaml(read_plain(source, most=MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise TaskError(
            f"The price book {source} cannot be read: {error.strerror or error}",
            next_step=f"Copy {SHIPPED} and change it.",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(
            f"The price book {source} is not valid YAML: {str(error).splitlines()[0]}",
            next_step=f"Compare it with {SHIPPED}.",
        ) from error
    return _price_book(source, content or {})


def _price_book(source: Path, content: Any) -> PriceBook:
    keys = ("currency", "machine_hour", "requests", "models")
    values = _checked(source, content, keys, "the price book")
    models = _checked(source, values.get("models") or {}, None, "models")
    requests = _number(source, values, "requests")
    return PriceBook(
        currency=str(values.get("currency", "USD")),
        machine_hour=_number(source, values, "machine_hour"),
        requests=10_000 if requests is None else int(requests),
        models={str(name): _price(source, str(name), entry) for name, entry in models.items()},
    )


def _price(source: Path, name: str, entry: Any) -> Price:
    keys = [f"per_{unit}_{kind}" for kind in TOKEN_PRICES for unit in ("1m", "1k")]
    values = _checked(source, entry, (*keys, "machine_hour"), f"models: {name}")
    read: dict[str, float | None] = {}
    for kind in TOKEN_PRICES:
        million = _number(source, values, f"per_1m_{kind}")
        thousand = _number(source, values, f"per_1k_{kind}")
        if million is not None and thousand is not None:
            raise TaskError(
                f"The price book {source} prices {kind} of {name!r} twice",
                next_step=f"Keep per_1m_{kind} or per_1k_{kind}.",
            )
        read[kind] = (
            million / 1e6 if million is not None else thousand / 1e3 if thousand is not None
            else None
        )  # fmt: skip
    if read["input"] is None and (read["output"] is not None or read["cached_input"] is not None):
        raise TaskError(
            f"The price book {source} prices {name!r} by token, but not its input",
            next_step=f"Add per_1m_input under {name!r}.",
        )
    return Price(**read, machine_hour=_number(source, values, "machine_hour"))


def _checked(
    source: Path, content: Any, keys: tuple[str, ...] | None, where: str
) -> Mapping[str, Any]:
    """The mapping that stands at `where`, with none but the known `keys` (None: any)."""
    if not isinstance(content, Mapping):
        raise TaskError(
            f"The price book {source}: {where} holds {content!r}, not names with values",
            next_step=f"Compare it with {SHIPPED}.",
        )
    for key in content:
        if keys is not None and key not in keys:
            raise TaskError(
                f"The price book {source} has an unknown key {key!r} in {where}",
                choices=keys,
                next_step=did_you_mean(str(key), keys),
            )
    return content


def _number(source: Path, values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_price(value):
        raise TaskError(
            f"The price book {source} has {key}: {value!r}",
            next_step="A price is a number that is not negative.",
        )
    return float(value)


def _is_price(value: float) -> bool:
    return math.isfinite(value) and value >= 0
