"""The rows of the catalogue in words: for the terminal, and for the page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal

from easel_api.offers import Event, Offer, PriceRow, State, Unit
from easel_api.tasks import TAKES, Task, in_words

from .loading import Surface

_UNITS = {
    Unit.IMAGE: "image",
    Unit.SECOND: "second",
    Unit.MILLION_TOKENS: "million tokens",
    Unit.COMPUTE_SECOND: "second of its machine",
}
_MILLION = Decimal(1_000_000)
_CENT_OF_A_CENT = Decimal("0.0001")
_ORDER = (State.ACTIVE, State.RETIRING, State.RETIRED)


@dataclass(frozen=True, slots=True)
class Line:
    """One model on one surface."""

    surface: str
    model: str
    state: str
    """With the day and the successor, where there are any."""
    tasks: str
    sizes: str
    honours: str
    prices: str


def lines(surfaces: Mapping[str, Surface], today: date, task: Task | None = None) -> list[Line]:
    """All models, or those that do a task: what is served first, the cheaper before the dearer, what is gone last."""
    return lines_of(((name, row) for name, surface in surfaces.items() for row in surface.offers), today, task)


def lines_of(offers: Iterable[tuple[str, Offer]], today: date, task: Task | None = None) -> list[Line]:
    """The same of offers, each with the name of who makes it: a surface of the catalogue, or a Provider."""
    rows = [(name, row) for name, row in offers if task is None or task in row.tasks]
    if task is not None:
        rows.sort(key=lambda each: (_ORDER.index(each[1].state(today)), _least(each[1].prices), each[0], each[1].model))
    return [_line(name, row, today) for name, row in rows]


def _line(surface: str, row: Offer, today: date) -> Line:
    return Line(
        surface=surface,
        model=row.model,
        state=state(row, today),
        tasks=", ".join(row.tasks),
        sizes=_sizes(row),
        honours=", ".join((*row.honours, *_worded(row))),
        prices=prices(row.prices) if row.state(today) is not State.RETIRED else "",
    )


def _worded(row: Offer) -> Iterator[str]:
    """What of prompts is not as the tasks have it."""
    if row.needs_prompt:
        yield "needs a prompt"
    if row.max_prompt_characters == 0 and not all(TAKES[task].mute for task in row.tasks):
        yield "reads no prompt"


def state(offer: Offer, today: date) -> str:
    """`retires 2026-12-01, then gpt-image-2`; days on which sources differ are all named."""
    found = offer.state(today)
    if found is State.ACTIVE:
        return "served"
    event, word = (Event.RETIRED, "retired") if found is State.RETIRED else (Event.RETIRES, "retires")
    days = sorted({step.day.isoformat() for step in offer.lifecycle if step.event is event})
    later = sorted({step.day.isoformat() for step in offer.lifecycle if step.event is Event.STAYS_UNTIL})
    differs = f", or not before {later[0]}" if later and found is State.RETIRING else ""
    then = f"; then {offer.successor}" if offer.successor else "; nothing follows it"
    return f"{word} {' or '.join(days)}{differs}{then}"


def prices(rows: Iterable[PriceRow]) -> str:
    """Each amount with what it is for; `unknown` without any, which is never nothing."""
    return "; ".join(_price(row) for row in rows) or "unknown"


def _price(row: PriceRow) -> str:
    conditions = " ".join(
        value if isinstance(value, str) else ("with sound" if value else "silent") for value in row.conditions.values()
    )
    currency = "$" if row.currency == "USD" else f"{row.currency} "
    cost, unit = _cost(row), "result, by its tokens" if row.tokens else _UNITS[row.per]
    # Cents where there are no fewer: $0.40 and not $0.4.
    amount = max(cost, cost.quantize(Decimal("0.01")), key=lambda each: -int(each.as_tuple().exponent))
    return f"{currency}{amount} per {unit}" + (f" ({conditions})" if conditions else "")


def _cost(row: PriceRow) -> Decimal:
    """Of one unit; of one result where its tokens are known."""
    if row.tokens is None:
        return row.amount
    return (row.amount * row.tokens / _MILLION).quantize(_CENT_OF_A_CENT, rounding=ROUND_UP)


def _least(rows: Sequence[PriceRow]) -> Decimal:
    """What orders rows; one by tokens of which nobody knows how many goes behind all that are known, and before those without any price."""
    known = [_cost(row) for row in rows if row.tokens or row.per in (Unit.IMAGE, Unit.SECOND)]
    return min(known, default=_MILLION if rows else Decimal("Infinity"))


def _sizes(row: Offer) -> str:
    parts = []
    if row.sizes.free:
        free = row.sizes.free
        parts.append(f"any by {free.multiple_of}, up to {free.max_pixels / 1e6:.1f} megapixels")
    if row.sizes.aspect_ratios:
        parts.append(" ".join(row.sizes.aspect_ratios))
    if row.sizes.tiers:
        parts.append(" ".join(row.sizes.tiers))
    if row.sizes.scales:
        parts.append(f"{_range(row.sizes.scales)} times the sides")
    if row.seconds:
        parts.append(f"{_range(row.seconds)} s")
    return "; ".join(parts)


def _range(numbers: list[int]) -> str:
    ordered = sorted(numbers)
    whole = len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1))
    return f"{ordered[0]} to {ordered[-1]}" if whole else " or ".join(map(str, ordered))


def _exceptions(surface: Surface) -> list[str]:
    """Rows of which something else is kept; those of which the same is, together."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in surface.offers:
        if row.retention is not None:
            found.setdefault((row.keeps or surface.keeps, row.retention), []).append(f"`{row.model}`")
    told = [f"Of {in_words(models)} (`{keeps}`): {text}" for (keeps, text), models in found.items()]
    return [part for each in told for part in (each, "")]


def markdown(surfaces: Mapping[str, Surface], today: date) -> str:
    """The page's generated half: what each surface keeps, a table of its models, and what is absent."""
    parts = []
    for name, surface in surfaces.items():
        if not (surface.offers or surface.own_models or surface.retention):
            continue
        parts += [f"### {surface.title}", "", f"Keeps (`{surface.keeps}`): {surface.retention or 'Not found out.'}", ""]
        parts += _exceptions(surface)
        if not surface.offers:
            continue
        parts += ["| model | state | does | sizes and lengths | heeds | price |", "|---|---|---|---|---|---|"]
        parts += [
            f"| `{line.model}` | {line.state} | {line.tasks} | {line.sizes} | {line.honours} | {line.prices} |"
            for line in lines({name: surface}, today)
        ]
        parts.append("")
    parts += ["### Not in the catalogue", "", "| system | why |", "|---|---|"]
    parts += [f"| {each.name} | {each.why} |" for surface in surfaces.values() for each in surface.absent]
    return "\n".join(parts) + "\n"
