"""The files of the catalogue as typed rows."""

from __future__ import annotations

from datetime import date
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

import yaml
from pydantic import Field

from easel_api.base import ApiModel
from easel_api.offers import Keeps, Offer, Price, Text, WireFamily


class Row(Offer):
    """An offer, and the wire family that speaks to it; None: it was retired before any was written."""

    family: WireFamily | None = None
    keeps: Keeps | None = None
    """Where it differs from the surface's, as `retention` does in words."""
    prices: Annotated[list[Price], Field(max_length=64)] = []


class Absent(ApiModel):
    """A system that people know by name and that the catalogue has no models of."""

    name: Text
    why: Text


class Surface(ApiModel):
    """A provider's API: its models die, and are priced, apart from those of any other."""

    title: Text
    keeps: Keeps = Keeps.UNKNOWN
    retention: Text | None = None
    """What it keeps of prompts and results, unless a row says otherwise."""
    checked_at: date
    own_models: Annotated[list[WireFamily], Field(max_length=4)] = []
    """Families that speak to models of one's own there, of which there are no rows."""
    offers: Annotated[list[Row], Field(max_length=256)]
    absent: Annotated[list[Absent], Field(max_length=64)] = []


@cache
def surfaces() -> dict[str, Surface]:
    """Every surface by name, which is its file's."""
    found = sorted(
        (each for each in files(__package__).iterdir() if each.name.endswith(".yaml")), key=lambda each: each.name
    )
    return {each.name.removesuffix(".yaml"): read(each.read_text(encoding="utf-8")) for each in found}


def read(text: str) -> Surface:
    """A surface as its file writes it: the day of the file is that of every figure in it that names none."""
    body = yaml.safe_load(text)
    day = body.get("checkedAt")
    for row in body.get("offers", []):
        _dated(row, day)
        for figure in (*row.get("prices", ()), *row.get("lifecycle", ())):
            _dated(figure, day)
    return Surface.model_validate(body)


def _dated(figure: dict[str, Any], day: date | None) -> None:
    figure.setdefault("checkedAt", day)
