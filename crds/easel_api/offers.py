"""What a cloud provider offers: a model behind a wire family, what it takes, what it costs, and how long it lives.

A wire family is the shape of requests and answers, and code; a model is data. Model ids retire every month, on different days on
different surfaces, and prices change, so that every figure has its source and the day on which it was read.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, PlainSerializer

from .base import ApiModel, ListSet, Rule
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
    AZURE_ML_SCORE = "AzureMLScore"
    STABILITY_V2BETA = "StabilityV2Beta"
    RUNWAY_TASKS = "RunwayTasks"
    BFL_POLL = "BFLPoll"
    FAL_QUEUE = "FalQueue"
    REPLICATE_PREDICTIONS = "ReplicatePredictions"


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


Money = Annotated[
    Decimal, Field(ge=0, max_digits=12, decimal_places=6, allow_inf_nan=False), PlainSerializer(str, return_type=str)
]
"""An exact amount; money is never a float."""
Text = Annotated[str, Field(min_length=1, max_length=512)]


class Price(ApiModel):
    """What one unit costs, under conditions; a row with more conditions goes before one with fewer."""

    amount: Money
    per: Unit
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "USD"
    size: Annotated[str, Field(max_length=32, description="Size tier or WIDTHxHEIGHT.")] | None = None
    quality: Annotated[str, Field(max_length=32)] | None = None
    resolution: Annotated[str, Field(max_length=32, description="Of a clip, as 720p.")] | None = None
    audio: bool | None = None
    tokens: Annotated[int, Field(ge=1, description="Tokens of one result under these conditions.")] | None = None
    source: Text
    checked_at: date

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


class Milestone(ApiModel):
    """A day in a model's life, as one source tells it. Sources differ: the earliest day counts, and all are kept."""

    event: Event
    day: date
    source: Text
    checked_at: date


class FreeSize(ApiModel):
    """Any size within bounds, in pixels."""

    multiple_of: Annotated[int, Field(ge=1, le=256)]
    min_pixels: Annotated[int, Field(ge=1)]
    max_pixels: Annotated[int, Field(ge=1)]
    max_side: Annotated[int, Field(ge=1)] | None = None
    max_ratio: Annotated[float, Field(ge=1)] | None = None


class Sizes(ApiModel):
    """The sizes that a model makes."""

    aspect_ratios: Annotated[
        list[Annotated[str, Field(pattern="^[0-9]+:[0-9]+$")]], ListSet(), Field(max_length=32)
    ] = []
    tiers: Annotated[
        list[Annotated[str, Field(pattern="^([1-9][0-9]{2,3}p|4k|(0[.]5|[1-8])K)$")]], ListSet(), Field(max_length=8)
    ] = []
    """Names of the lengths of a side (`2K`), or of a clip's lines (`720p`); the first is asked for where a job names no size."""
    free: FreeSize | None = None


class Offer(ApiModel):
    """A model as one surface serves it: a provider, its region and its API."""

    model: Text
    tasks: Annotated[list[Task], ListSet(), Field(max_length=32)] = []
    no_task: Text | None = None
    """Why no task of a job is what it does, where it does something else: it wants what a job has no words for, or drops some."""
    honours: Annotated[list[Honours], ListSet(), Field(max_length=16)] = []
    sizes: Sizes = Sizes()
    seconds: Annotated[list[Annotated[int, Field(ge=1, le=600)]], ListSet(), Field(max_length=64)] = []
    """Lengths of a clip that it makes."""
    max_prompt_characters: Annotated[int, Field(ge=1)] | None = None
    regions: Annotated[list[Annotated[str, Field(max_length=64)]], ListSet(), Field(max_length=64)] = []
    """Where it is served; none: the surface has no regions, or it was not found out."""
    prices: Annotated[list[Price], Field(max_length=64)] = []
    """None: unknown, which is never zero."""
    lifecycle: Annotated[list[Milestone], Field(max_length=32)] = []
    successor: Text | None = None
    retention: Text | None = None
    """What the provider keeps of prompts and results."""
    licence: Text | None = None
    source: Text
    checked_at: date

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.noTask) || (has(self.tasks) && self.tasks.size() > 0) || "
            "(has(self.lifecycle) && self.lifecycle.exists(step, step.event == 'Retired'))",
            message="a model that is not retired does at least one task, or noTask says why it does none",
            holds=lambda offer: (
                bool(offer.tasks or offer.no_task) or any(step.event is Event.RETIRED for step in offer.lifecycle)
            ),
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
