"""How assets, plans and what became of them are shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from exasol_like_dss.cli.output import csv_text, human_bytes, json_text, markdown_text, table_text
from exasol_like_dss.lib.assets.cleanup import Removal
from exasol_like_dss.lib.assets.cost import Prices
from exasol_like_dss.lib.assets.duration import human_duration
from exasol_like_dss.lib.assets.listing import Listing
from exasol_like_dss.lib.assets.plan import Decision, Plan
from exasol_like_dss.lib.assets.record import Asset, AssetKind, Note

_COLUMNS = (
    "kind",
    "name",
    "id",
    "region",
    "state",
    "age",
    "size",
    "USD/month",
    "asset-id",
    "owner",
    "expires",
    "marks",
)
#: The fields of an asset in JSON and CSV.
RECORD = ("kind", "name", "id", "region", "state", "created", "size_bytes", "usd_per_month", "asset_id", "owner",
          "expires", "stack", "marks")  # fmt: skip


def listing_text(listing: Listing, *, prices: Prices, how: str, regions: Sequence[str]) -> str:
    """how: ``table``, ``markdown``, ``csv`` (plain values: UTC times, bytes), ``json``."""
    if how == "json":
        return json_text(
            {
                "assets": [asset_record(asset) for asset in listing.assets],
                "usd_per_month": round(listing.usd_per_month, 4),
                "without_price": listing.without_price,
                "prices": {"estimates": True, "as_of": prices.as_of.isoformat(), "source": prices.source},
                "regions": list(regions),
                "complete": listing.complete,
                "notes": [note.text for note in listing.notes],
            }
        )
    if how == "csv":
        rows = [[_cell(value) for value in asset_record(asset).values()] for asset in listing.assets]
        return csv_text(RECORD, rows)
    now = datetime.now(UTC)
    rows = [_row(asset, now=now) for asset in listing.assets]
    table = (markdown_text if how == "markdown" else table_text)(_COLUMNS, rows) if rows else "No assets."
    left_over = sum(bool(asset.marks) for asset in listing.assets)
    lines = [table, ""]
    if rows:
        without = f" and {listing.without_price} without a known price" if listing.without_price else ""
        lines.append(
            f"{len(rows)} assets, about {listing.usd_per_month:.2f} USD a month{without}. "
            + prices.statement(asset.region for asset in listing.assets)
        )
    if left_over:
        lines.append(
            f"{left_over} seem to be left over. To remove all of a build: dss cleanup-aws-assets --asset-id ID"
        )
    lines += [f"Note: {note.text}" for note in listing.notes]
    return ("\n\n" if how == "markdown" else "\n").join(lines).rstrip()


def asset_record(asset: Asset) -> dict[str, Any]:
    """For programs: sizes in bytes, times as ISO 8601 in UTC."""
    values = (
        asset.kind.value,
        asset.name,
        asset.id,
        asset.region,
        asset.state,
        asset.created.astimezone(UTC).isoformat() if asset.created else None,
        asset.size_bytes,
        None if asset.usd_per_month is None else round(asset.usd_per_month, 4),
        asset.asset_id,
        asset.owner,
        asset.expires.isoformat() if asset.expires else None,
        asset.stack,
        list(asset.marks),
    )
    return dict(zip(RECORD, values, strict=True))


def plan_text(plan: Plan, *, prices: Prices, now: datetime) -> str:
    """What goes, in its order, what goes along, what stays and why, and the saving."""
    lines: list[str] = []
    if plan.steps:
        rows = [
            [str(number), *_row(asset, now=now)[:8], "; ".join(asset.marks)]
            for number, asset in enumerate(plan.steps, start=1)
        ]
        lines += ["To be removed, in this order:", "", table_text(("", *_COLUMNS[:8], "marks"), rows)]
    else:
        lines.append("There is nothing to remove.")
    for heading, decisions in (("With them:", plan.along), ("Not touched:", plan.kept)):
        if decisions:
            lines += ["", heading, *(f"  {decision.asset}: {decision.reason}" for decision in decisions)]
    if plan.steps:
        going = [*plan.steps, *(decision.asset for decision in plan.along)]
        lines += [
            "",
            f"This saves about {plan.usd_per_month:.2f} USD a month. {prices.statement(one.region for one in going)}",
        ]
    return "\n".join(lines)


def removal_text(removal: Removal, *, left: Sequence[Decision]) -> str:
    lines = ["", f"{len(removal.removed)} of {len(removal.plan.steps)} assets were removed."]
    if left:
        lines += ["Left:", *(f"  {decision.asset}: {decision.reason}" for decision in left)]
        lines.append("Run the same command again when nothing uses them any more.")
    return "\n".join(lines)


def cleanup_record(
    removal: Removal, *, left: Sequence[Decision], unseen: Sequence[Note], dry_run: bool
) -> dict[str, Any]:
    """What ``cleanup-aws-assets --output json`` prints."""

    def decided(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
        return [{**asset_record(decision.asset), "reason": decision.reason} for decision in decisions]

    return {
        "dry_run": dry_run,
        "plan": [asset_record(asset) for asset in removal.plan.steps],
        "along": decided(removal.plan.along),
        "kept": decided(removal.plan.kept),
        "saving_usd_per_month": round(removal.plan.usd_per_month, 4),
        "removed": [asset_record(asset) for asset in removal.removed],
        "left": decided(left),
        "notes": [note.text for note in unseen],
    }


def _row(asset: Asset, *, now: datetime) -> list[str]:
    return [
        asset.kind.value,
        asset.name,
        # Of a stack's ARN the last part; the others are in the other columns.
        asset.id.rpartition("/")[2] if asset.kind == AssetKind.STACK else asset.id,
        asset.region,
        asset.state,
        human_duration(now - asset.created) if asset.created else "",
        human_bytes(asset.size_bytes) if asset.size_bytes is not None else "",
        "?" if asset.usd_per_month is None else f"{asset.usd_per_month:.2f}" if asset.usd_per_month else "",
        asset.asset_id,
        asset.owner,
        asset.expires.isoformat() if asset.expires else "",
        "; ".join(asset.marks),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value)
    return "" if value is None else str(value)
