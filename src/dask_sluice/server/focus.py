"""The ledger as FOCUS 1.0 (FinOps Open Cost and Usage Specification), for tools that read cloud bills. Pure.

One row for each cluster, kind of process and day (UTC). A process is charged as a whole, as a virtual machine is:
the quantity is hours of processes, the unit price that of one process of this size. Nothing is discounted and
nothing is bought in advance, so that list, contracted, effective and billed cost are the same. Columns that have
nothing to do with us (regions, commitments) are there and empty.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from .backends.protocol import JobKind
from .budgets import period_of
from .ledger import GIB, Interval
from .usage import Piece, Query, Total, by_days, cut, shown

COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags",
)  # fmt: skip
_TYPES = {JobKind.SCHEDULER: "Dask scheduler", JobKind.WORKER: "Dask workers"}


def as_focus(intervals: Iterable[Interval], asked: Query, now: float, site: str) -> str:
    """The ledger in this window as comma-separated values; `site` names the account that is billed."""
    found: dict[tuple[str, str, str], tuple[Piece, Total]] = {}
    for interval in intervals:
        piece = cut(interval, asked.since, asked.until, now)
        for day, part in by_days(piece) if piece else ():
            # A cluster's processes of a kind are all of one size and price.
            found.setdefault((day, interval.cluster, str(interval.kind)), (part, Total()))[1].add(part)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for key in sorted(found):
        writer.writerow(_row(*found[key], asked, min(asked.until, now), site))
    return text.getvalue()


def _row(first: Piece, total: Total, asked: Query, until: float, site: str) -> dict[str, Any]:
    of = first.interval
    cost, hours = round(total.cost, 6), round(total.process_hours, 6)
    day, month = period_of("day", first.begin), period_of("month", first.begin)
    memory_gib = of.memory_bytes / GIB
    size = f"{of.cores:g} cores, {memory_gib:g} GiB, {of.gpus} GPUs"
    sku = f"{of.kind}-{of.cores:g}c-{memory_gib:g}g-{of.gpus}gpu"
    tags = {"user": of.user, "group": of.group, "profile": of.profile, "kind": str(of.kind)}
    return {
        "BillingAccountId": site,
        "BillingAccountName": site,
        "BillingCurrency": of.currency,
        "BillingPeriodStart": shown(month[0]),
        "BillingPeriodEnd": shown(month[1]),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{_TYPES[of.kind]} of cluster {of.cluster}, each {size}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": shown(max(day[0], asked.since)),
        "ChargePeriodEnd": shown(min(day[1], until)),
        "ConsumedQuantity": hours,
        "ConsumedUnit": "Hours",
        "PricingCategory": "Standard",
        "PricingQuantity": hours,
        "PricingUnit": "Hours",
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("ContractedUnitPrice", "ListUnitPrice"), round(of.price_hour, 6)),
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName"), site),
        "PublisherName": "dask-sluice",
        "ResourceId": of.cluster,
        "ResourceName": of.cluster,
        "ResourceType": _TYPES[of.kind],
        "ServiceCategory": "Compute",
        "ServiceName": "Dask clusters",
        "SkuId": sku,
        "SkuPriceId": f"{sku}-{of.price_hour:g}{of.currency}",
        "SubAccountId": of.group,
        "SubAccountName": of.group,
        "Tags": json.dumps({key: value for key, value in tags.items() if value}),
    }
