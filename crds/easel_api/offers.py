"""What a cloud provider offers: a model behind a wire family, what it takes, what it costs, and how long it lives.

A wire family is the shape of requests and answers, and code; a model is data. Model ids retire every month, on different days on
different surfaces, and prices change, so that every figure has its source and the day on which it was read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, WithJsonSchema

from .base import PATTERN_WORDS, ApiModel, ListSet, Rule
from .tasks import TAKES, Task


class WireFamily(StrEnum):
    """How a provider is spoken to."""

    BEDROCK_INVOKE = "BedrockInvoke"
    BEDROCK_ASYNC = "BedrockAsync"
    SAGEMAKER = "SageMaker"
    VERTEX_GENERATE_CONTENT = "VertexGenerateContent"
    VERTEX_PREDICT = "VertexPredict"
    VERTEX_LONG_RUNNING = "VertexLongRunning"
    VERTEX_INTERACTIONS = "VertexInteractions"
    OPENAI_IMAGES = "OpenAIImages"
    AZURE_OPENAI_IMAGES = "AzureOpenAIImages"
    AZURE_ML_SCORE = "AzureMLScore"
    STABILITY_V2BETA = "StabilityV2Beta"
    RUNWAY_TASKS = "RunwayTasks"
    BFL_POLL = "BFLPoll"
    FAL_QUEUE = "FalQueue"
    REPLICATE_PREDICTIONS = "ReplicatePredictions"


CODED = frozenset(
    {
        WireFamily.BEDROCK_INVOKE,
        WireFamily.BEDROCK_ASYNC,
        WireFamily.STABILITY_V2BETA,
        WireFamily.BFL_POLL,
        WireFamily.RUNWAY_TASKS,
    }
)
"""Families of which each model is asked in words of its own: one that is not in the catalogue has no client."""


def why_unknown(family: WireFamily) -> str:
    """What is to be said behind the model's id of an offer that neither the catalogue nor the Provider makes one of."""
    if family in CODED:
        return "is not in the catalogue, and this family asks for no other model, whatever the offer says"
    return "is not in the catalogue, and the offer names no tasks"


class Honours(StrEnum):
    """A parameter of a job that a model heeds; a job that sets another one is not given to it."""

    NEGATIVE = "negative"
    SEED = "seed"
    STRENGTH = "strength"
    STEPS = "steps"
    GUIDANCE_SCALE = "guidanceScale"
    FPS = "fps"
    FRAMES = "frames"
    QUALITY = "quality"
    REPRODUCIBLE = "reproducible"
    ADAPTERS = "adapters"
    EXPAND = "expand"
    SCALE = "scale"
    MASK_COLOURS = "maskColours"
    END_SEED = "endSeed"
    TRUNCATION = "truncation"


class Unit(StrEnum):
    """What an amount is asked for."""

    IMAGE = "Image"
    SECOND = "Second"
    """Of the clip."""
    MILLION_TOKENS = "MillionTokens"
    """Of what comes back; how many a picture takes is known behind the call alone, unless `tokens` says so."""
    COMPUTE_SECOND = "ComputeSecond"
    """Of the provider's machine; unknown before the call."""


class Event(StrEnum):
    """A step of a model's life."""

    LEGACY = "Legacy"
    RETIRES = "Retires"
    RETIRED = "Retired"
    STAYS_UNTIL = "StaysUntil"
    """It is said to go no earlier."""


class State(StrEnum):
    """Where a model is in its life, on a given day."""

    ACTIVE = "Active"
    RETIRING = "Retiring"
    RETIRED = "Retired"


CURRENCY_PATTERN = r"^[A-Z]{3}$"
MONEY_PATTERN = r"^[0-9]{1,6}([.][0-9]{1,6})?$"
RATIO_PATTERN = r"^[0-9]{1,4}:[0-9]{1,4}$"
TIER_PATTERN = r"^([1-9][0-9]{2,3}p|4k|(0[.]5|[1-8])K)$"
PATTERN_WORDS.update(
    {
        CURRENCY_PATTERN: "Three letters of ISO 4217, such as USD.",
        MONEY_PATTERN: 'An amount in quotes, such as "0.04".',
        RATIO_PATTERN: "Width and height, such as 16:9.",
        TIER_PATTERN: "A length of a side such as 2K, or a clip's lines such as 720p, or 4k.",
    }
)


MILLIONTH = Decimal("0.000001")
"""The smallest amount of a `Money`; what is billed is rounded up to it."""


def in_words(amount: Decimal) -> str:
    """`0.04` and `10`: exact, and without zeros that say nothing."""
    return f"{amount.normalize():f}"


def _quoted(value: object) -> object:
    """As the API server takes it: a number without quotes has gone through a float somewhere."""
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not re.fullmatch(MONEY_PATTERN, value):
        raise ValueError("must be an amount in quotes")
    return Decimal(value)


Money = Annotated[
    Decimal,
    BeforeValidator(_quoted),
    Field(ge=0, max_digits=12, decimal_places=6, allow_inf_nan=False),
    PlainSerializer(in_words, return_type=str),
    WithJsonSchema({"type": "string", "pattern": MONEY_PATTERN, "maxLength": 13}),
]
"""An exact amount; money is never a float, so that a manifest writes it in quotes."""


class Keeps(StrEnum):
    """What a provider keeps of prompts and results once it has answered."""

    NOTHING = "Nothing"
    LIMITED = "Limited"
    """For a stated time, to detect abuse."""
    TRAINING = "Training"
    """And may train on them."""
    UNKNOWN = "Unknown"


Text = Annotated[str, Field(min_length=1, max_length=512)]


class PriceRow(ApiModel):
    """What one unit costs, under conditions; a row with more conditions goes before one with fewer."""

    amount: Annotated[Money, Field(description="What one unit costs.")]
    per: Annotated[Unit, Field(description="The unit. MillionTokens are those of what comes back.")]
    currency: Annotated[
        str, Field(pattern=CURRENCY_PATTERN, max_length=3, description="ISO 4217. A budget counts USD alone.")
    ] = "USD"
    size: Annotated[
        str | None, Field(max_length=32, description="Holds for this size tier, or WIDTHxHEIGHT. Default: for any.")
    ] = None
    quality: Annotated[str | None, Field(max_length=32, description="Holds for this quality. Default: for any.")] = None
    resolution: Annotated[
        str | None, Field(max_length=32, description="Holds for clips of this resolution, as 720p. Default: for any.")
    ] = None
    audio: Annotated[bool | None, Field(description="Holds for clips with sound, or without. Default: for both.")] = (
        None
    )
    tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000,
            description="Tokens of one result under these conditions; of MillionTokens alone. Default: unknown before the call.",
        ),
    ] = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.tokens) || self.per == 'MillionTokens'",
            message="tokens are of a price per MillionTokens",
            holds=lambda price: price.tokens is None or price.per is Unit.MILLION_TOKENS,
            path="tokens",
        ),
    )

    @property
    def conditions(self) -> dict[str, str | bool]:
        """What must be so for the row to hold."""
        named = {"size": self.size, "quality": self.quality, "resolution": self.resolution, "audio": self.audio}
        return {name: value for name, value in named.items() if value is not None}


class Price(PriceRow):
    """A row of the catalogue, with where and when it was read."""

    source: Text
    checked_at: date


class Milestone(ApiModel):
    """A day in a model's life, as one source tells it. Sources differ: the earliest day counts, and all are kept."""

    event: Event
    day: date
    source: Text
    checked_at: date


class FreeSize(ApiModel):
    """Any size within bounds, in pixels."""

    multiple_of: Annotated[int, Field(ge=1, le=256, description="Both sides are multiples of it, in pixels.")]
    min_pixels: Annotated[int, Field(ge=1, le=2**30, description="Fewest pixels, width times height.")]
    max_pixels: Annotated[int, Field(ge=1, le=2**30, description="Most pixels, width times height.")]
    max_side: Annotated[int | None, Field(ge=1, le=65536, description="Longest side in pixels. Default: no limit.")] = (
        None
    )
    max_ratio: Annotated[
        float | None, Field(ge=1, le=100, description="Longer side by shorter, at most. Default: no limit.")
    ] = None


class Sizes(ApiModel):
    """The sizes that a model makes."""

    aspect_ratios: Annotated[
        list[Annotated[str, StringConstraints(pattern=RATIO_PATTERN, max_length=9)]],
        ListSet(),
        Field(max_length=32, description="Shapes that it takes by name."),
    ] = []
    tiers: Annotated[
        list[Annotated[str, StringConstraints(pattern=TIER_PATTERN, max_length=8)]],
        ListSet(),
        Field(
            max_length=8,
            description="Lengths of a side (2K), or lines of a clip (720p); the first is asked for where a job names no size.",
        ),
    ] = []
    free: Annotated[FreeSize | None, Field(description="Any size within these bounds.")] = None
    scales: Annotated[
        list[Annotated[int, Field(ge=2, le=4)]],
        ListSet(),
        Field(
            max_length=3,
            description="How many times as wide and high it makes what it upscales; none: what a job says.",
        ),
    ] = []


class Offer(ApiModel):
    """A model as one surface serves it: a provider, its region and its API."""

    model: Text
    tasks: Annotated[list[Task], ListSet(), Field(max_length=32)] = []
    honours: Annotated[list[Honours], ListSet(), Field(max_length=16)] = []
    sizes: Sizes = Sizes()
    seconds: Annotated[list[Annotated[int, Field(ge=1, le=600)]], ListSet(), Field(max_length=64)] = []
    """Lengths of a clip that it makes."""
    max_prompt_characters: Annotated[int, Field(ge=0)] | None = None
    """0: it reads no prompt."""
    needs_prompt: bool = False
    """It does nothing without a prompt, of a task that other models do without."""
    regions: Annotated[list[Annotated[str, Field(max_length=64)]], ListSet(), Field(max_length=64)] = []
    """Where it is served; none: the surface has no regions, or it was not found out."""
    prices: Annotated[Sequence[PriceRow], Field(max_length=64)] = []
    """None: unknown, which is never zero."""
    lifecycle: Annotated[list[Milestone], Field(max_length=32)] = []
    successor: Text | None = None
    retention: Text | None = None
    """What the provider keeps of prompts and results, in words, where it differs from what the surface says."""
    licence: Text | None = None
    source: Text
    checked_at: date

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(has(self.tasks) && self.tasks.size() > 0) || "
            "(has(self.lifecycle) && self.lifecycle.exists(step, step.event == 'Retired'))",
            message="a model that is not retired does at least one task",
            holds=lambda offer: bool(offer.tasks) or any(step.event is Event.RETIRED for step in offer.lifecycle),
            path="tasks",
        ),
    )

    @property
    def makes_clips(self) -> bool:
        """Whether any of its tasks gives a clip."""
        return any(TAKES[task].video for task in self.tasks)

    def ends(self) -> date | None:
        """The earliest day on which a source says that it is gone, or goes."""
        return min((step.day for step in self.lifecycle if step.event in (Event.RETIRES, Event.RETIRED)), default=None)

    def state(self, today: date) -> State:
        """A date that was announced warns and no more: sources differ, and only what has happened is a fact."""
        if any(step.event is Event.RETIRED and step.day <= today for step in self.lifecycle):
            return State.RETIRED
        return State.ACTIVE if self.ends() is None else State.RETIRING
