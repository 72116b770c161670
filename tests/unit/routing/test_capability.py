"""What an offer makes of a request, and what it costs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_views import offer, price, request

from easel_api.offers import Honours, Offer
from easel_api.tasks import Task
from easel_inference.routing.capability import Unfit, fit
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Loss, Resolved

FREE = {"free": {"multipleOf": 16, "minPixels": 65536, "maxPixels": 8294400, "maxSide": 3840, "maxRatio": 3}}
RATIOS = {"aspectRatios": ["1:1", "16:9", "9:16", "3:2"]}
FOURFOLD: dict[str, Any] = {"tasks": ["upscale"], "sizes": {"scales": [4]}, "honours": ["scale"]}
CLIPS: dict[str, Any] = {"tasks": ["text-to-video"], "seconds": [4, 6, 8]}


@pytest.mark.parametrize(
    ("has", "asks", "field"),
    [
        ({}, {"task": Task.INPAINT}, "task"),
        (CLIPS, {"task": Task.TEXT_TO_VIDEO, "encoding": "gif"}, "output.format"),
        ({"maxPromptCharacters": 10}, {"prompt_characters": 11}, "prompts"),
        ({"maxPromptCharacters": 0}, {"prompt_characters": 1}, "prompts"),
        ({"needsPrompt": True}, {}, "prompts"),
        (FOURFOLD, {"task": Task.UPSCALE, "scale": 2, "set_parameters": frozenset({Honours.SCALE})}, "scale"),
        ({"honours": ["seed"]}, {"set_parameters": frozenset({Honours.NEGATIVE})}, "negative"),
        ({"sizes": FREE}, {"width": 1000, "height": 1000}, "width"),
        ({"sizes": FREE}, {"width": 3840, "height": 1024}, "width"),
        ({"sizes": RATIOS}, {"width": 1024, "height": 1024}, "width"),
        ({}, {"width": 1024, "height": 1024}, "width"),
        ({"sizes": FREE}, {"width": 1024}, "width"),
        ({"sizes": FREE}, {"height": 1024}, "height"),
        (CLIPS, {"task": Task.TEXT_TO_VIDEO, "seconds": 5}, "seconds"),
    ],
)
def test_what_cannot_be_had_exactly_is_refused_by_its_field(
    has: dict[str, Any], asks: dict[str, Any], field: str
) -> None:
    found = fit(offer(**has), request(**asks))
    assert isinstance(found, Unfit)
    assert found.field == field
    assert found.message


@pytest.mark.parametrize(
    ("has", "asks", "expected"),
    [
        ({"sizes": FREE}, {"width": 1024, "height": 768}, Resolved(size=(1024, 768))),
        ({"sizes": FREE}, {}, Resolved()),
        ({"sizes": RATIOS}, {}, Resolved()),
        ({"sizes": RATIOS | {"tiers": ["1K", "4K"]}}, {}, Resolved(tier="1K")),
        (
            {"sizes": RATIOS | {"tiers": ["720p", "1080p", "4k"]}},
            {"width": 1920, "height": 1080, "adapts": True},
            Resolved(
                aspect_ratio="16:9", tier="1080p", losses=(Loss("width", "1920x1080", "a picture of 16:9 at 1080p"),)
            ),
        ),
        ({"honours": ["seed"]}, {"set_parameters": frozenset({Honours.SEED})}, Resolved()),
        ({"maxPromptCharacters": 0}, {}, Resolved()),
        (
            {"maxPromptCharacters": 0},
            {"prompt_characters": 9, "adapts": True},
            Resolved(losses=(Loss("prompts", "as the job says", ""),)),
        ),
        ({"needsPrompt": True}, {"prompt_characters": 1}, Resolved()),
        (FOURFOLD, {"task": Task.UPSCALE, "scale": 4, "set_parameters": frozenset({Honours.SCALE})}, Resolved(scale=4)),
        (FOURFOLD, {"task": Task.UPSCALE}, Resolved()),
        (
            FOURFOLD,
            {"task": Task.UPSCALE, "scale": 2, "set_parameters": frozenset({Honours.SCALE}), "adapts": True},
            Resolved(scale=4, losses=(Loss("scale", "2 times the sides", "4 times"),)),
        ),
        (CLIPS, {"task": Task.TEXT_TO_VIDEO, "seconds": 6}, Resolved(seconds=6)),
        (
            {"sizes": RATIOS},
            {"width": 1920, "height": 1080, "adapts": True},
            Resolved(aspect_ratio="16:9", losses=(Loss("width", "1920x1080", "a picture of 16:9"),)),
        ),
        (
            {"sizes": FREE},
            {"width": 1000, "height": 1000, "adapts": True},
            Resolved(size=(1008, 1008), losses=(Loss("width", "1000x1000", "1008x1008"),)),
        ),
        (
            CLIPS,
            {"task": Task.TEXT_TO_VIDEO, "seconds": 5, "adapts": True},
            Resolved(seconds=6, losses=(Loss("seconds", "5 s", "6 s"),)),
        ),
        (
            {},
            {"set_parameters": frozenset({Honours.STEPS}), "adapts": True},
            Resolved(losses=(Loss("steps", "as the job says", ""),)),
        ),
    ],
)
def test_what_is_asked_of_an_offer(has: dict[str, Any], asks: dict[str, Any], expected: Resolved) -> None:
    assert fit(offer(**has), request(**asks)) == expected


@given(width=st.integers(8, 512).map(lambda each: each * 8), height=st.integers(8, 512).map(lambda each: each * 8))
def test_a_size_that_is_resolved_is_one_that_the_offer_makes(width: int, height: int) -> None:
    made = offer(sizes=FREE)
    found = fit(made, request(width=width, height=height, adapts=True))
    if isinstance(found, Unfit):
        return
    assert found.size is not None
    wide, high = found.size
    assert wide % 16 == high % 16 == 0
    assert 65536 <= wide * high <= 8294400
    assert max(wide, high) <= 3840
    assert 1 / 3 <= wide / high <= 3
    assert (found.losses == ()) == (found.size == (width, height))
    exact = fit(made, request(width=width, height=height))
    assert isinstance(exact, Unfit) == bool(found.losses), "without leave to adapt, exactly what loses nothing fits"


VEO = [price("0.40", "Second"), price("0.60", "Second", resolution="4k")]
SOUND = [price("0.20", "Second", audio=False), price("0.40", "Second", audio=True)]
GPT = [price("0.009", size="1024x1024", quality="low"), price("0.133", size="1024x1024", quality="high")]
SQUARE = {"width": 1024, "height": 1024}
TOKENS = [
    price("30", "MillionTokens", tokens=tokens, **conditions)
    for tokens, conditions in (
        (100, {"size": "1K", "quality": "low"}),
        (300, {"size": "1K", "quality": "high"}),
        (100, {"size": "1024x1024", "quality": "low"}),
        (300, {"size": "1024x1024", "quality": "high"}),
        (900, {"quality": "low"}),
        (2700, {"quality": "high"}),
    )
]


@pytest.mark.parametrize(
    ("has", "asks", "expected"),
    [
        ({"prices": [price("0.04")]}, {}, "0.0400"),
        ({"prices": []}, {}, None),
        ({"prices": [price("30", "MillionTokens")]}, {}, None),
        ({"prices": [price("30", "MillionTokens", tokens=4160)]}, {}, "0.1248"),
        ({"prices": [price("0.001", "ComputeSecond")]}, {}, None),
        ({"prices": [price("0.00001")]}, {}, "0.0001"),
        ({"prices": GPT, "sizes": FREE}, SQUARE | {"quality": "low"}, "0.0090"),
        ({"prices": GPT, "sizes": FREE}, SQUARE, "0.1330"),
        ({"prices": GPT, "sizes": FREE}, {"width": 1536, "height": 1024}, None),
        (CLIPS | {"prices": VEO}, {"task": Task.TEXT_TO_VIDEO, "seconds": 8}, "4.8000"),
        (
            CLIPS | {"prices": VEO, "sizes": {"tiers": ["720p", "4k"]}},
            {"task": Task.TEXT_TO_VIDEO, "seconds": 8},
            "3.2000",
        ),
        (CLIPS | {"prices": SOUND}, {"task": Task.TEXT_TO_VIDEO, "seconds": 8}, "3.2000"),
        (CLIPS | {"prices": SOUND}, {"task": Task.TEXT_TO_VIDEO, "seconds": 8, "audio": False}, "1.6000"),
        ({"prices": [price("0.04"), price("0.12", size="4K")], "sizes": FREE}, SQUARE, "0.1200"),
        ({"prices": TOKENS, "sizes": FREE | {"tiers": ["1K"]}}, {}, "0.0090"),
        ({"prices": TOKENS, "sizes": FREE | {"tiers": ["1K"]}}, {"quality": "low"}, "0.0030"),
        ({"prices": TOKENS, "sizes": FREE}, SQUARE | {"quality": "low"}, "0.0030"),
        ({"prices": TOKENS, "sizes": FREE}, {"width": 2048, "height": 2048, "quality": "low"}, "0.0270"),
        ({"prices": TOKENS[2:], "sizes": FREE}, SQUARE | {"quality": "low"}, "0.0030"),
        ({"prices": TOKENS[2:], "sizes": FREE}, SQUARE, "0.0090"),
        ({"prices": TOKENS[2:], "sizes": FREE}, {}, "0.0810"),
        ({"prices": [*TOKENS, price("30", "MillionTokens", quality="max")]}, {}, None),
        ({"prices": [price("0.04", currency="EUR")]}, {}, None),
        (
            {"tasks": ["image-to-image"], "prices": [price("30", "MillionTokens", tokens=9)]},
            {"task": Task.IMAGE_TO_IMAGE},
            None,
        ),
        (CLIPS | {"prices": VEO[:1]}, {"task": Task.TEXT_TO_VIDEO, "seconds": 8}, "3.2000"),
        (CLIPS | {"prices": VEO[:1]}, {"task": Task.TEXT_TO_VIDEO}, None),
    ],
)
def test_what_a_result_costs(has: dict[str, Any], asks: dict[str, Any], expected: str | None) -> None:
    """The dearest that may be asked where the provider decides; what nobody can know is unknown."""
    made, asked = offer(**has), request(**asks)
    resolved = fit(made, asked)
    assert isinstance(resolved, Resolved)
    found = estimate(made, asked, resolved)
    assert found == (None if expected is None else Decimal(expected))
    assert found is None or str(found) == expected


@given(
    rows=st.lists(
        st.builds(
            lambda cents, size, quality: price(
                f"0.{cents:02}", **{k: v for k, v in (("size", size), ("quality", quality)) if v}
            ),
            st.integers(1, 99),
            st.sampled_from([None, "1024x1024", "512x512"]),
            st.sampled_from([None, "low", "high"]),
        ),
        max_size=6,
    ),
    quality=st.sampled_from([None, "low", "high"]),
)
def test_an_estimate_is_never_below_what_may_be_asked(rows: list[dict[str, Any]], quality: str | None) -> None:
    made: Offer = offer(prices=rows, sizes=FREE)
    asked = request(width=1024, height=1024, quality=quality)
    found = estimate(made, asked, Resolved(size=(1024, 1024)))
    if quality is None:
        any_quality = [
            estimate(made, request(width=1024, height=1024, quality=each), Resolved(size=(1024, 1024)))
            for each in ("low", "high")
        ]
        known = [each for each in any_quality if each is not None]
        assert (found is None) == (not known)
        assert found is None or found >= max(known)
    else:
        assert found is None or any(found == Decimal(row["amount"]) for row in rows)
