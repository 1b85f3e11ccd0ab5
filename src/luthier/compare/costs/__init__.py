"""What does it cost? Costs are measured, computed by formula, and priced."""

from luthier.compare.costs.cost import Cost
from luthier.compare.costs.formulas import (
    Outlay,
    break_even,
    flops_of,
    measured_cost,
    outlay,
    priced,
    shared_tokens,
)
from luthier.compare.costs.prices import Price, PriceBook, read_prices
from luthier.compare.costs.request_time import RequestTime, request_time
from luthier.compare.costs.resource_monitor import ResourceMonitor

__all__ = [
    "Cost",
    "Outlay",
    "Price",
    "PriceBook",
    "RequestTime",
    "ResourceMonitor",
    "break_even",
    "flops_of",
    "measured_cost",
    "outlay",
    "priced",
    "read_prices",
    "request_time",
    "shared_tokens",
]
