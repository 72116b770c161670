"""`GenerationClass`: the backends behind a name that jobs ask for, and when one is taken for another. The platform team's."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .base import NAME_PATTERN, NAME_RULE, ApiModel, Column, KindInfo, ListSet, Name, ObjectMeta, Rule
from .offers import Keeps, Money
from .provider import ModelId

KIND = KindInfo(
    kind="GenerationClass",
    plural="generationclasses",
    singular="generationclass",
    short_names=("gclass",),
    columns=(
        Column("Policy", ".spec.policy"),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    namespaced=False,
)


class Policy(StrEnum):
    """In which order backends are taken."""

    ORDERED = "Ordered"
    CHEAPEST = "Cheapest"
    FASTEST = "Fastest"
    BEST_QUALITY = "BestQuality"


class When(StrEnum):
    """What has an item go to the next backend."""

    QUEUE_WAIT_ABOVE = "QueueWaitAbove"
    WAKE_TIME_ABOVE = "WakeTimeAbove"
    GPU_UNAVAILABLE = "GPUUnavailable"
    BACKEND_FAILURE = "BackendFailure"


class OnBlocked(StrEnum):
    """Whether a picture that a provider's safety policy refuses may be asked of another."""

    NEVER = "Never"
    FALL_BACK = "FallBack"


class ModelBackend(ApiModel):
    """A ModelDeployment of the job's namespace."""

    name: Annotated[Name, Field(description="Its name.")]


class ProviderBackend(ApiModel):
    """A Provider."""

    name: Annotated[Name, Field(description="Its name.")]
    namespace: Annotated[
        str | None,
        Field(
            max_length=63,
            pattern=NAME_PATTERN,
            description="Its namespace, whose Provider's namespaceSelector must select the job's. Default: the job's own.",
        ),
    ] = None

    def named_in(self, namespace: str) -> str:
        """What a job of a namespace calls it: `west`, and `west.platform` when it is of another one."""
        return self.name if self.namespace in (None, namespace) else f"{self.name}.{self.namespace}"


class ClassBackend(ApiModel):
    """One of the backends: exactly one of modelDeployment and provider."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.modelDeployment) != has(self.provider)",
            message="name exactly one: modelDeployment or provider",
            holds=lambda backend: (backend.model_deployment is None) != (backend.provider is None),
        ),
        Rule(
            cel="!has(self.models) || self.models.size() == 0 || has(self.provider)",
            message="models are those of a provider",
            holds=lambda backend: not backend.models or backend.provider is not None,
            path="models",
        ),
        Rule(
            cel="!has(self.quality) || self.quality == 0.0 || has(self.modelDeployment)",
            message="quality is that of a modelDeployment; a Provider says its offers' own",
            holds=lambda backend: not backend.quality or backend.model_deployment is not None,
            path="quality",
        ),
    )

    model_deployment: Annotated[ModelBackend | None, Field(description="The team's own model.")] = None
    provider: Annotated[ProviderBackend | None, Field(description="An account at a cloud.")] = None
    models: Annotated[
        list[ModelId],
        ListSet(),
        Field(max_length=16, description="Offers of the Provider, in this order. Default: all, as it lists them."),
    ] = []
    weight: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Share of the items, relative to the other weights, as for a trial; all its models have it together. 0: the policy decides.",
        ),
    ] = 0
    quality: Annotated[
        float, Field(ge=0, le=100, description="Of a ModelDeployment, for the policy BestQuality; more is better.")
    ] = 0


class Fallback(ApiModel):
    """When an item goes to the next backend."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(has(self.when) && 'QueueWaitAbove' in self.when) == has(self.queueWaitSeconds)",
            message="queueWaitSeconds goes with QueueWaitAbove",
            holds=lambda fallback: (
                (When.QUEUE_WAIT_ABOVE in fallback.when) == (fallback.queue_wait_seconds is not None)
            ),
            path="queueWaitSeconds",
        ),
        Rule(
            cel="(has(self.when) && 'WakeTimeAbove' in self.when) == has(self.wakeSeconds)",
            message="wakeSeconds goes with WakeTimeAbove",
            holds=lambda fallback: (When.WAKE_TIME_ABOVE in fallback.when) == (fallback.wake_seconds is not None),
            path="wakeSeconds",
        ),
    )

    when: Annotated[
        list[When],
        ListSet(),
        Field(
            max_length=4,
            description="QueueWaitAbove: the own model's queue takes longer than queueWaitSeconds. WakeTimeAbove: it will wake later than in "
            "wakeSeconds. GPUUnavailable: it has no replica that serves. BackendFailure: the item failed there.",
        ),
    ] = []
    queue_wait_seconds: Annotated[
        int | None,
        Field(ge=0, le=86400, description="Longest queue, in seconds. Default: none, without QueueWaitAbove."),
    ] = None
    wake_seconds: Annotated[
        int | None,
        Field(
            ge=0,
            le=86400,
            description="Longest wait for a model to wake, in seconds. Default: none, without WakeTimeAbove.",
        ),
    ] = None
    on_content_blocked: Annotated[
        OnBlocked,
        Field(description="Never: what one provider's safety policy refuses is asked of no other."),
    ] = OnBlocked.NEVER


class Allow(ApiModel):
    """What jobs may go to; what is left out is not restricted."""

    regions: Annotated[
        list[Annotated[str, Field(max_length=64)]],
        ListSet(),
        Field(max_length=64, description="Regions of Providers. One without a region is out where any are named."),
    ] = []
    keeps: Annotated[
        list[Keeps],
        ListSet(),
        Field(max_length=4, description="What a provider may keep of prompts and results, such as [Nothing, Limited]."),
    ] = []
    unknown_price: Annotated[
        bool,
        Field(
            description="Also offers of which nobody knows before the call what they cost. Only for jobs without a budget, and Providers without spend."
        ),
    ] = False


class Defaults(ApiModel):
    """For jobs that do not say."""

    budget: Annotated[Money | None, Field(description="As a job's spec.budget.max, in US dollars.")] = None


class GenerationClassSpec(ApiModel):
    """Who makes what a job of this class asks for."""

    policy: Annotated[
        Policy,
        Field(
            description="Ordered: as they are listed. Cheapest: by price; own models cost nothing. Fastest: by measured queue and run time. "
            "BestQuality: by declared quality."
        ),
    ] = Policy.ORDERED
    backends: Annotated[
        list[ClassBackend], Field(min_length=1, max_length=16, description="The backends, in the order of preference.")
    ]
    fallback: Annotated[Fallback, Field(description="When an item goes to the next one.")] = Fallback()
    allow: Annotated[Allow, Field(description="What jobs may go to.")] = Allow()
    defaults: Annotated[Defaults, Field(description="For jobs that do not say.")] = Defaults()


class GenerationClass(ApiModel):
    """What a name such as `draft` or `studio` means; it has no status, like a StorageClass: each namespace has its own backends."""

    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    api_version: Literal["easel.dev/v1alpha1"] = "easel.dev/v1alpha1"
    kind: Literal["GenerationClass"] = "GenerationClass"
    metadata: ObjectMeta
    spec: GenerationClassSpec
