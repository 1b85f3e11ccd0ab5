"""What does it cost? Costs are measured, computed by formula, and priced."""

from luthier.compare.costs.cost import Cost
from luthier.compare.costs.formulas import (
    Outlay,
    OutlayUnit,
    break_even,
    flops_of,
    measured_cost,
    outlay,
    outlay_unit,
    priced,
    shared_tokens,
    with_helpers,
)
from luthier.compare.costs.prices import Price, PriceBook, read_prices
from luthier.compare.costs.request_time import RequestTime, request_time
from luthier.compare.costs.resource_monitor import ResourceMonitor, release_memory

__all__ = [
    "Cost",
    "Outlay",
    "OutlayUnit",
    "Price",
    "PriceBook",
    "RequestTime",
    "ResourceMonitor",
    "break_even",
    "flops_of",
    "measured_cost",
    "outlay",
    "outlay_unit",
    "priced",
    "read_prices",
    "release_memory",
    "request_time",
    "shared_tokens",
    "with_helpers",
]
