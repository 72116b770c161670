"""The catalogue holds what a person needs to choose by, and its page says the same."""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from easel_api.offers import Event, Offer, State, WireFamily
from easel_api.tasks import OWN, Task
from easel_api.validation.rules import broken_rules
from easel_inference.catalog.loading import Row, read, surfaces
from easel_inference.catalog.table import lines, markdown, prices, state
from easel_inference.cli import main

TODAY = date(2026, 11, 29)
PAGE = Path(__file__).parents[3] / "docs/providers.md"
BEGIN, END = "<!-- generated from the catalogue: make golden -->\n\n", "<!-- end -->\n"
ROWS = [(name, row) for name, surface in surfaces().items() for row in surface.offers]
GONE = {
    "dall-e-2", "dall-e-3", "imagen-3.0-generate-002", "imagen-4.0-generate-001", "amazon.titan-image-generator-v2:0",
    "amazon.nova-canvas-v1:0", "amazon.nova-reel-v1:1", "sora-2", "gpt-image-1", "Stable-Image-Core",
}  # fmt: skip


def offer(**changes: object) -> Offer:
    body = {"model": "m", "tasks": ["text-to-image"], "source": "a page", "checkedAt": "2026-11-23"}
    return Offer.model_validate(body | changes)


def step(event: str, day: str) -> dict[str, str]:
    return {"event": event, "day": day, "source": "a page", "checkedAt": "2026-11-23"}


def price(**changes: object) -> dict[str, object]:
    return {"amount": "0.04", "per": "Image"} | changes


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{name}/{row.model}") for name, row in ROWS])
def test_a_row_is_served_by_a_family_or_is_gone(row: Row) -> None:
    if row.state(TODAY) is State.RETIRED:
        assert row.family is None
        assert row.prices == []
        return
    assert row.family in WireFamily
    assert row.tasks
    assert (row.keeps is None) == (row.retention is None), "what a class compares is said with what a person reads"
    assert all(figure.checked_at <= TODAY for figure in (row, *row.prices, *row.lifecycle))


def test_no_surface_has_a_model_twice_and_successors_are_there() -> None:
    for name, surface in surfaces().items():
        models = [row.model for row in surface.offers]
        assert len(models) == len(set(models)), name
        served = {row.model for row in surface.offers if row.state(TODAY) is not State.RETIRED}
        assert {row.successor for row in surface.offers if row.successor} <= served, name


def test_what_people_ask_for_and_is_gone_says_so() -> None:
    retired = {row.model for _, row in ROWS if row.state(TODAY) is State.RETIRED}
    assert retired >= GONE


def test_a_day_that_was_announced_warns_and_one_that_came_ends() -> None:
    assert offer().state(TODAY) is State.ACTIVE
    assert offer(lifecycle=[step("Legacy", "2026-03-30")]).state(TODAY) is State.ACTIVE
    passed = offer(lifecycle=[step("Retires", "2026-11-17"), step("StaysUntil", "2027-05-04")], successor="n")
    assert passed.state(TODAY) is State.RETIRING, "sources differ, and nobody has seen it gone"
    assert passed.ends() == date(2026, 11, 17)
    assert state(passed, TODAY) == "retires 2026-11-17, or not before 2027-05-04; then n"
    ended = offer(tasks=[], lifecycle=[step("Retired", "2026-11-02"), step("Retired", "2026-09-15")])
    assert ended.state(TODAY) is State.RETIRED
    assert state(ended, TODAY) == "retired 2026-09-15 or 2026-11-02; nothing follows it"
    assert ended.state(date(2026, 9, 1)) is not State.RETIRED


def test_prices_are_exact_and_unknown_is_not_nothing() -> None:
    dear = offer(prices=[price(amount="0.1"), price(amount="0.60", per="Second", resolution="4k", audio=False)])
    assert sum(row.amount for row in dear.prices) == Decimal("0.70")
    assert prices(dear.prices) == "$0.10 per image; $0.60 per second (4k silent)"
    assert prices([]) == "unknown"
    tokens = price(amount="30", per="MillionTokens")
    known = offer(prices=[tokens, tokens | {"tokens": 7024, "size": "1K"}])
    assert prices(known.prices) == "$30.00 per million tokens; $0.2108 per result, by its tokens (1K)"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"prices": [price(amount="-0.04")]}, "prices"),
        ({"prices": [price(amount="NaN")]}, "prices"),
        ({"prices": [price(per="Picture")]}, "prices"),
        ({"tasks": ["draw"]}, "tasks"),
        ({"lifecycle": [step("Dies", "2026-11-02")]}, "lifecycle"),
        ({"sizes": {"aspectRatios": ["16x9"]}}, "sizes"),
        ({"retires": "2026-11-02"}, "retires"),
    ],
)
def test_a_row_that_is_wrong_is_refused_by_its_field(changes: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        offer(**changes)
    assert where in {error["loc"][0] for error in caught.value.errors()}


def test_the_rules_between_fields_hold() -> None:
    assert [list(broken_rules(surface, for_cluster=False)) for surface in surfaces().values()] == [[]] * len(surfaces())
    wrong = (offer(prices=[price(tokens=1000)]), offer(tasks=[]))
    assert [[rule.path for _, rule in broken_rules(each, for_cluster=True)] for each in wrong] == [
        ["tokens"],
        ["tasks"],
    ]


def test_the_day_of_a_file_is_that_of_every_figure_in_it() -> None:
    surface = read(
        "title: T\ncheckedAt: 2026-11-23\noffers:\n- {model: m, family: BFLPoll, tasks: [upscale], source: s, "
        'prices: [{amount: "1", per: Image, source: s, checkedAt: 2026-01-01}], lifecycle: [{event: Legacy, day: 2026-02-02, source: s}]}'
    )
    (row,) = surface.offers
    assert (row.checked_at, row.lifecycle[0].checked_at) == (date(2026, 11, 23), date(2026, 11, 23))
    assert row.prices[0].checked_at == date(2026, 1, 1)


def test_the_cheaper_goes_first_and_who_retires_behind_all_that_stay() -> None:
    found = lines(surfaces(), TODAY, Task.TEXT_TO_IMAGE)
    states = [line.state for line in found]
    assert states == sorted(states, key=lambda each: each != "served")
    served = [line for line in found if line.state == "served"]
    priced = [line.prices for line in served]
    assert priced[0].startswith("$0.0059 per result, by its tokens (1K Draft)")
    assert priced.index("$0.03 per image") < priced.index("$30.00 per million tokens"), "known before the call"
    assert priced[-1] == "unknown" or "unknown" not in priced


def test_every_task_is_somebodys() -> None:
    assert {task for _, row in ROWS for task in row.tasks} | OWN == set(Task)


def test_the_page_says_of_every_surface_what_a_class_compares() -> None:
    page = markdown(surfaces(), TODAY)
    for name, surface in surfaces().items():
        said = f"### {surface.title}\n\nKeeps (`{surface.keeps.value}`): {surface.retention}\n"
        assert (said in page) == (name != "others"), name
    assert "Of `gemini-omni-1.2-flash` and `gemini-omni-1.1-flash` (`Unknown`): What is made in the background" in page


def test_golden_page() -> None:
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    read_on = max(surface.checked_at for surface in surfaces().values())
    expected = head + BEGIN + markdown(surfaces(), read_on) + "\n" + END + tail
    if os.environ.get("EASEL_GOLDEN") == "write":
        PAGE.write_text(expected)
    assert text == expected, "make golden writes the page anew"


def test_compare_prints_a_table_and_refuses_what_is_no_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["compare", "--task", "outpaint"]) == 0
    assert "stable-outpaint" in capsys.readouterr().out
    assert main(["compare", "--task", "latent-to-image"]) == 0
    assert "No provider of the catalogue" in capsys.readouterr().out
    assert main(["compare", "--task", "paint"]) == 2
    error = capsys.readouterr().err
    assert "--task" in error
    assert "text-to-image" in error


def test_every_event_has_a_row() -> None:
    assert {each.event for _, row in ROWS for each in row.lifecycle} == set(Event)
