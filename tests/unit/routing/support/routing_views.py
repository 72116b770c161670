"""Offers and requests to choose among."""

from __future__ import annotations

from datetime import date
from typing import Any

from easel_api.offers import Offer
from easel_api.tasks import Task
from easel_inference.routing.plan import Backend
from easel_inference.routing.request import Request

TODAY = date(2026, 11, 28)


def price(amount: str, per: str = "Image", **conditions: Any) -> dict[str, Any]:
    return {"amount": amount, "per": per} | conditions


def offer(**changes: Any) -> Offer:
    body = {"model": "m", "tasks": ["text-to-image"], "source": "a page", "checkedAt": "2026-11-23"}
    return Offer.model_validate(body | changes)


def request(**changes: Any) -> Request:
    return Request(**({"task": Task.TEXT_TO_IMAGE} | changes))


def cloud(name: str, amount: str | None = "0.04", **changes: Any) -> Backend:
    prices = [price(amount)] if amount is not None else []
    more = {key: changes.pop(key) for key in ("region", "retention", "quality", "weight") if key in changes}
    return Backend(name=name, offer=offer(**({"prices": prices} | changes)), **more)


def own(name: str = "studio", **changes: Any) -> Backend:
    return Backend(name=name, own=True, **changes)
