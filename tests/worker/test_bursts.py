"""A provider that fails some times in a row and then works: what was asked for is delivered, and paid once.

A fault alone is in test_faults, of a job that tries once. Here items are tried again, as they are by default.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx  # noqa: F401 - first of all: openai looks at it, half imported by another family's thread
import pytest
from bought import PROMPT, Cell, Shop
from easel_emulators.base import Subject
from every_family import AT_A_TIME, MARKS, SUBJECTS
from worker_pods import NAMESPACE

from easel_inference.routing import breaker

pytestmark = MARKS
TRIES = 3
BURST = ("internal", "throttled", "unavailable")
"""500, 429 and 503: as many as an item outlives, since it is no try to be asked to wait."""
FAULTS = breaker.THRESHOLD + 1


@dataclass(frozen=True)
class Storm:
    """What came of a family's two jobs."""

    burst: Cell
    """One item, behind `BURST`."""
    tries: int
    """Of that item, by the manifest."""
    rest: Cell
    """As many items as there are `FAULTS`, each met by one."""
    states: tuple[str, ...]
    """Of those items."""
    rests: dict[str, str]
    """Why a model was left alone, as all workers were told."""


@pytest.fixture(scope="module")
def storms(opened: Callable[..., Any]) -> dict[str, Storm | Exception]:
    """All families, some at a time."""

    def through(subject: Subject) -> Storm | Exception:
        try:
            with opened(subject) as shop:
                return storm(shop)
        except Exception as error:  # noqa: BLE001 - shown by the test of the family
            return error

    with ThreadPoolExecutor(AT_A_TIME) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(breaker, "THROTTLED_SECONDS", 1.0)
        # Longer than what an item waits for its second try, and than what is too short to be told.
        patch.setattr(breaker, "FIRST_REST_SECONDS", 3.0)
        return dict(zip(SUBJECTS, pool.map(through, SUBJECTS.values()), strict=True))


def storm(shop: Shop) -> Storm:
    """Both jobs, one after the other."""
    model = str(shop.subject.offers[0]["model"])
    row, names = shop.subject.rows[model], (f"{shop.name}-burst", f"{shop.name}-rest")
    burst = shop.jobs({names[0]: row}, maxAttempts=TRIES)[names[0]]
    prompts = [{"text": f"{PROMPT}, number {number}"} for number in range(FAULTS)]
    rest = shop.jobs({names[1]: row}, maxAttempts=TRIES, prompts=prompts)[names[1]]
    cells = shop.cell(burst, model, *BURST), shop.cell(rest, model, *["internal"] * FAULTS)
    told = json.loads(shop.kubectl("get", "provider", shop.name, "-n", NAMESPACE, "-o", "json"))["status"]
    items = json.loads((shop.claim / names[1] / "manifest.json").read_bytes())["items"]
    return Storm(
        cells[0],
        shop.delivered(names[0])["attempts"],
        cells[1],
        tuple(item["state"] for item in items),
        {each["model"]: each["reason"] for each in told.get("rests", [])},
    )


def found(storms: dict[str, Storm | Exception], family: str) -> Storm:
    """What came of a family."""
    one = storms[family]
    if isinstance(one, Exception):
        raise one
    return one


@pytest.mark.parametrize("family", SUBJECTS)
def test_behind_a_burst_of_faults_an_item_is_delivered_and_paid_once(
    family: str, storms: dict[str, Storm | Exception]
) -> None:
    assert set(BURST) <= set(SUBJECTS[family].ends), "every provider has its way of saying these"
    seen = found(storms, family)
    assert (seen.burst.reason, seen.burst.paid, seen.tries) == ("", 1, TRIES)
    assert (seen.burst.ledger, seen.burst.reserved) == (seen.burst.billed, Decimal(0))


@pytest.mark.parametrize("family", SUBJECTS)
def test_a_provider_that_goes_on_failing_is_left_alone_and_then_delivers_each_item_once(
    family: str, storms: dict[str, Storm | Exception]
) -> None:
    seen = found(storms, family)
    assert (seen.rest.reason, seen.rest.paid, seen.states) == ("", FAULTS, ("Succeeded",) * FAULTS)
    assert (seen.rest.ledger, seen.rest.reserved) == (seen.rest.billed, Decimal(0))
    assert seen.rests == {str(SUBJECTS[family].offers[0]["model"]): "Transient"}
