"""`Provider`: an account at a cloud that makes pictures or clips for money, written by the platform team."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from .base import (
    NAME_PATTERN,
    NAME_RULE,
    PATTERN_WORDS,
    ApiModel,
    Column,
    KindInfo,
    ListMap,
    ListSet,
    ObjectMeta,
    Rule,
)
from .conditions import Condition
from .generationjob import Prefix
from .offers import MILLIONTH, Honours, Keeps, Money, PriceRow, Sizes, State, WireFamily
from .s3 import ENDPOINT_PATTERN, REGION_PATTERN, SecretReference
from .selectors import NamespaceSelector
from .tasks import Task
from .uris import BUCKET_PATTERN

KIND = KindInfo(
    kind="Provider",
    plural="providers",
    singular="provider",
    short_names=("prov",),
    columns=(
        Column("Family", ".spec.family"),
        Column("Region", ".spec.region"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Today", ".status.spend.day.amount"),
        Column("Month", ".status.spend.month.amount", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.family",),
)

HTTPS_PATTERN = r"^https://([A-Za-z0-9][-.A-Za-z0-9]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^[:space:]@?#]*)?$"
MODEL_ID_PATTERN = r"^[A-Za-z0-9][-_.:/A-Za-z0-9]*$"
PROJECT_PATTERN = r"^[a-z][-a-z0-9.:]*$"
INDEXER_PATTERN = r"^/subscriptions/[-0-9a-fA-F]{36}/resourceGroups/[-_.()A-Za-z0-9]+/providers/Microsoft[.]VideoIndexer/accounts/[-A-Za-z0-9]+$"
DAY_PATTERN = r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$"
PATTERN_WORDS.update(
    {
        HTTPS_PATTERN: "https:// and a host, without user, password or query, such as https://bedrock.example.org.",
        MODEL_ID_PATTERN: "Letters, digits, -, _, ., : and /, such as stability.stable-image-core-v1:1.",
        PROJECT_PATTERN: "Lower-case letters, digits and -, such as art-studio-42.",
        INDEXER_PATTERN: "A resource id, /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.VideoIndexer/accounts/NAME.",
        DAY_PATTERN: "A day such as 2026-11-28, or a month such as 2026-11.",
    }
)

OF_GOOGLE = (
    WireFamily.VERTEX_GENERATE_CONTENT,
    WireFamily.VERTEX_PREDICT,
    WireFamily.VERTEX_LONG_RUNNING,
    WireFamily.VERTEX_INTERACTIONS,
)
"""Families whose calls a project pays."""
IN_REGIONS = (WireFamily.BEDROCK_INVOKE, WireFamily.BEDROCK_ASYNC, WireFamily.SAGEMAKER, *OF_GOOGLE)
"""Families whose accounts are spoken to in a region."""
WITH_REGIONAL_HOSTS = (WireFamily.OPENAI_IMAGES, WireFamily.BFL_POLL)
"""Families whose provider has hosts in regions beside the one that is everywhere: `https://eu.api.openai.com`, `https://api.eu.bfl.ai`."""
OF_A_PLACE = (*IN_REGIONS, *WITH_REGIONAL_HOSTS, WireFamily.AZURE_OPENAI_IMAGES, WireFamily.AZURE_ML_SCORE)
"""Families of which a Provider may say where they work. Of all others nobody knows it, so that a region would let a class's
`allow.regions` pass what it is there to stop."""
WITH_DEPLOYMENTS = (
    WireFamily.SAGEMAKER,
    WireFamily.VERTEX_PREDICT,
    WireFamily.AZURE_OPENAI_IMAGES,
    WireFamily.AZURE_ML_SCORE,
    WireFamily.FAL_QUEUE,
    WireFamily.REPLICATE_PREDICTIONS,
)
"""Families that call a model by what the account calls it. The others are asked for the model itself, by its id."""
WITH_IDENTITY = (*IN_REGIONS, WireFamily.AZURE_OPENAI_IMAGES, WireFamily.AZURE_ML_SCORE)
"""Families whose accounts know a workload's identity."""
OF_ONE_HOST = (WireFamily.AZURE_OPENAI_IMAGES, WireFamily.AZURE_ML_SCORE)
"""Families each of whose accounts has a host of its own."""
WITH_BUCKET = (WireFamily.BEDROCK_ASYNC, WireFamily.SAGEMAKER, WireFamily.VERTEX_LONG_RUNNING)
"""Families whose results, or what is too large for a call, may lie in a bucket of the account."""
MAX_OFFERS = 32
MAX_ACCOUNTS = 1024
"""Jobs that may pay by one Provider at a time."""
MAX_NAMESPACES = 256
"""Namespaces that a ledger keeps windows of."""

ModelId = Annotated[str, StringConstraints(pattern=MODEL_ID_PATTERN, max_length=128)]


class WorkloadIdentity(ApiModel):
    """The identity of the worker's own service account: IRSA or Pod Identity, GKE's metadata server, Entra."""


class Credentials(ApiModel):
    """Who asks: exactly one of the two."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.secretRef) != has(self.workloadIdentity)",
            message="name exactly one: secretRef or workloadIdentity",
            holds=lambda credentials: (credentials.secret_ref is None) != (credentials.workload_identity is None),
        ),
    )

    secret_ref: Annotated[
        SecretReference | None,
        Field(
            description="Secret in the job's namespace, where workers alone mount it: a Provider of other namespaces too needs one of this name in each. AWS: keys AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN); Google: SERVICE_ACCOUNT_JSON; Azure: API_KEY, or AZURE_TENANT_ID, AZURE_CLIENT_ID and "
            "AZURE_CLIENT_SECRET; others: API_KEY. ca.crt: the certificate authority of an endpoint of your own."
        ),
    ] = None
    workload_identity: Annotated[
        WorkloadIdentity | None, Field(description="The service account of the workers; write {}.")
    ] = None


class AccountBucket(ApiModel):
    """A bucket that the provider's service and the worker both reach, with the account's own credentials."""

    name: Annotated[
        str,
        Field(
            pattern=BUCKET_PATTERN,
            max_length=63,
            description="Name of the bucket: of S3 for AWS' families, of Cloud Storage for Google's.",
        ),
    ]
    prefix: Annotated[Prefix, Field(description="Start of the keys, ending in a slash.")] = ""
    endpoint: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=ENDPOINT_PATTERN,
            description="URL of the store, as of a private link; https:// for Google's. Default: that of the cloud itself.",
        ),
    ] = None


class VideoIndexer(ApiModel):
    """An account of Azure AI Video Indexer, which says what clips show. The Provider's own application or identity asks it."""

    account: Annotated[
        str,
        Field(
            max_length=320,
            pattern=INDEXER_PATTERN,
            description="Resource id of it. The application or identity is a Contributor of the account.",
        ),
    ]
    per_minute: Annotated[
        Money,
        Field(
            description="What a minute of clip costs this account, in US dollars; it counts as the Provider's spend."
        ),
    ]
    endpoint: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=HTTPS_PATTERN,
            description="URL of its API in another cloud of Azure. Default: https://api.videoindexer.ai.",
        ),
    ] = None
    resource_manager: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=HTTPS_PATTERN,
            description="URL of the resource manager of that cloud. Default: https://management.azure.com.",
        ),
    ] = None

    def price(self, seconds: float) -> Decimal:
        """Of a clip of that length; up to a millionth of a dollar, as the ledger counts."""
        return (self.per_minute * Decimal(str(seconds)) / 60).quantize(MILLIONTH, ROUND_UP)


class ProviderOffer(ApiModel):
    """A model of the account. What is left out is the catalogue's; a model that is not in it needs its tasks."""

    model: Annotated[ModelId, Field(description="The provider's own id of it.")]
    deployment: Annotated[
        ModelId | None,
        Field(
            description="What the account calls it, where that is a name of its own: a deployment of AzureOpenAIImages or AzureMLScore, an endpoint of SageMaker, "
            "VertexPredict or FalQueue, a model of ReplicatePredictions. Default: the model's id; of AzureMLScore what its traffic rules choose. Other families "
            "take none: an inference profile of Bedrock is a model."
        ),
    ] = None
    tasks: Annotated[list[Task], ListSet(), Field(max_length=32, description="What it does.")] = []
    honours: Annotated[
        list[Honours], ListSet(), Field(max_length=16, description="Parameters of a job that it heeds.")
    ] = []
    sizes: Annotated[Sizes | None, Field(description="Sizes that it makes.")] = None
    seconds: Annotated[
        list[Annotated[int, Field(ge=1, le=600)]],
        ListSet(),
        Field(max_length=64, description="Lengths of clips that it makes."),
    ] = []
    max_prompt_characters: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Longest prompt that it takes. Default: what the catalogue says."),
    ] = None
    prices: Annotated[
        list[PriceRow],
        Field(max_length=16, description="What it costs this account, in place of the catalogue's rows."),
    ] = []
    quality: Annotated[
        float, Field(ge=0, le=100, description="How good its pictures are, for the policy BestQuality; more is better.")
    ] = 0


class RateLimits(ApiModel):
    """How much the account takes."""

    requests_per_minute: Annotated[
        int | None, Field(ge=1, le=100_000, description="Calls in a minute, of all jobs together. Default: no limit.")
    ] = None
    max_concurrent: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Calls at once, of all jobs together; a worker makes no more than 16 items at a time.",
        ),
    ] = 8


class NamespaceLimits(ApiModel):
    """What the jobs of one namespace may spend at most, whatever is left for all."""

    per_day: Annotated[Money | None, Field(description="In a day of UTC. Default: no limit.")] = None
    per_month: Annotated[Money | None, Field(description="In a month of UTC. Default: no limit.")] = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.per_day is not None or self.per_month is not None


class SpendLimits(ApiModel):
    """What may be spent at most, over all jobs. A call that would exceed it is not made."""

    per_day: Annotated[Money | None, Field(description="In a day of UTC. Default: no limit.")] = None
    per_month: Annotated[Money | None, Field(description="In a month of UTC. Default: no limit.")] = None
    per_namespace: Annotated[
        NamespaceLimits,
        Field(description="What each namespace, the Provider's own among them, may spend of that. Default: all."),
    ] = NamespaceLimits()
    currency: Annotated[Literal["USD"], Field(description="Of the amounts.")] = "USD"

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self.per_day is not None or self.per_month is not None or self.per_namespace.limited


def _of(families: tuple[WireFamily, ...], field: str, message: str) -> Rule:
    """A field that only these families heed; `message` says so to the others."""
    return Rule(
        cel=f"!has(self.{field}) || self.family in {[family.value for family in families]}",
        message=message,
        holds=lambda spec: getattr(spec, field) is None or spec.family in families,
        path=field,
    )


class ProviderSpec(ApiModel):
    """An account and what may be done with it."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!(self.family in {[family.value for family in IN_REGIONS]}) || has(self.region)",
            message="accounts of this family are spoken to in a region; name it",
            holds=lambda spec: spec.family not in IN_REGIONS or spec.region is not None,
            path="region",
        ),
        _of(OF_A_PLACE, "region", "where this family works is not known, and no call names a region; leave it out"),
        Rule(
            cel=f"!has(self.region) || !(self.family in {[family.value for family in WITH_REGIONAL_HOSTS]}) || has(self.endpoint)",
            message="without an endpoint this family's host is that of all regions; name the host of this one as endpoint, or leave region out",
            holds=lambda spec: (
                spec.region is None or spec.family not in WITH_REGIONAL_HOSTS or spec.endpoint is not None
            ),
            path="region",
        ),
        Rule(
            cel=f"self.family in {[family.value for family in WITH_IDENTITY]} || has(self.credentials.secretRef)",
            message="accounts of this family have keys alone; name a Secret",
            holds=lambda spec: spec.family in WITH_IDENTITY or spec.credentials.secret_ref is not None,
            path="credentials",
        ),
        Rule(
            cel=f"self.family != '{WireFamily.BEDROCK_ASYNC}' || has(self.bucket)",
            message="this family leaves its results in a bucket of the account; name one",
            holds=lambda spec: spec.family is not WireFamily.BEDROCK_ASYNC or spec.bucket is not None,
            path="bucket",
        ),
        _of(WITH_BUCKET, "bucket", "accounts of this family leave nothing in a bucket; leave it out"),
        Rule(
            cel=f"self.family != '{WireFamily.VERTEX_LONG_RUNNING}' || !has(self.bucket) || !has(self.bucket.endpoint) "
            "|| self.bucket.endpoint.startsWith('https://')",
            message="the account's token goes to this endpoint; name it with https://",
            holds=lambda spec: (
                spec.family is not WireFamily.VERTEX_LONG_RUNNING
                or spec.bucket is None
                or spec.bucket.endpoint is None
                or spec.bucket.endpoint.startswith("https://")
            ),
            path="bucket.endpoint",
        ),
        Rule(
            cel=f"!(self.family in {[family.value for family in OF_ONE_HOST]}) || has(self.endpoint)",
            message="accounts of this family have a host of their own; name its URL",
            holds=lambda spec: spec.family not in OF_ONE_HOST or spec.endpoint is not None,
            path="endpoint",
        ),
        Rule(
            cel=f"!has(self.videoIndexer) || self.family == '{WireFamily.AZURE_ML_SCORE}'",
            message=f"clips of {WireFamily.AZURE_ML_SCORE} alone are indexed; leave it out",
            holds=lambda spec: spec.video_indexer is None or spec.family is WireFamily.AZURE_ML_SCORE,
            path="videoIndexer",
        ),
        _of(OF_GOOGLE, "project", "projects are Google Cloud's, and this family is not; leave it out"),
        Rule(
            cel=f"self.family in {[family.value for family in WITH_DEPLOYMENTS]} || !self.offers.exists(offer, has(offer.deployment))",
            message="this family calls a model by its id; leave deployment out, and name as model what is to be called",
            holds=lambda spec: (
                spec.family in WITH_DEPLOYMENTS or all(offer.deployment is None for offer in spec.offers)
            ),
            path="offers",
        ),
    )

    family: Annotated[WireFamily, Field(description="How it is spoken to.")]
    region: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern=REGION_PATTERN,
            description="Region of the account, for a class's allow.regions. AWS' and Google's families are spoken to there. Of an account at Azure, and of the endpoint "
            "of OpenAIImages or BFLPoll, it is what you say: no call names it. Other families take none.",
        ),
    ] = None
    endpoint: Annotated[
        str | None,
        Field(
            max_length=512,
            pattern=HTTPS_PATTERN,
            description="URL in place of the provider's own, as of a private link.",
        ),
    ] = None
    project: Annotated[
        str | None,
        Field(
            max_length=64,
            pattern=PROJECT_PATTERN,
            description="Project of Google Cloud that pays, for Vertex' families alone. Default: that of the service account's key.",
        ),
    ] = None
    bucket: Annotated[
        AccountBucket | None,
        Field(
            description="Bucket of the account for what does not travel with a call: results of BedrockAsync, which needs one, and of VertexLongRunning, "
            "which else come inline; what is too large for a call of SageMaker."
        ),
    ] = None
    video_indexer: Annotated[
        VideoIndexer | None,
        Field(description="Has each clip of AzureMLScore looked at, and stores what is found in it beside the clip."),
    ] = None
    credentials: Annotated[Credentials, Field(description="Who asks.")]
    offers: Annotated[
        list[ProviderOffer],
        ListMap(("model",)),
        Field(min_length=1, max_length=MAX_OFFERS, description="Models that may be used, by id."),
    ]
    keeps: Annotated[
        Keeps | None,
        Field(
            description="What this account's contract lets the provider keep of prompts and results, for a class's allow.keeps. Limited is for a "
            "stated time, to detect abuse. Default: what the catalogue says."
        ),
    ] = None
    limits: Annotated[RateLimits, Field(description="How much it takes.")] = RateLimits()
    spend: Annotated[SpendLimits, Field(description="What may be spent.")] = SpendLimits()
    namespace_selector: Annotated[
        NamespaceSelector | None,
        Field(
            description="Other namespaces whose jobs may use it, by their labels; {} is every one that the operator watches. Default: its own namespace alone."
        ),
    ] = None


class OfferStatus(ApiModel):
    """What is known of an offer today."""

    model: Annotated[str, Field(max_length=128, description="Its id.")]
    state: Annotated[State, Field(description="Where it is in its life.")]
    message: Annotated[str | None, Field(max_length=512, description="When it goes, and what follows it.")] = None


class Window(ApiModel):
    """What was spent in a day or a month."""

    name: Annotated[str, Field(max_length=10, pattern=DAY_PATTERN, description="Which, in UTC.")]
    amount: Annotated[Money, Field(description="What was paid, in US dollars.")]


class NamespaceWindows(ApiModel):
    """What the jobs of a namespace have paid; a month's row goes when the month is over and no job of it is underway."""

    name: Annotated[str, Field(max_length=63, pattern=NAME_PATTERN, description="Of the namespace.")]
    day: Annotated[Window | None, Field(description="As of all.")] = None
    month: Annotated[Window, Field(description="As of all.")]


class Account(ApiModel):
    """What a job has paid, and what it may be about to pay for calls that are under way."""

    holder: Annotated[str, Field(max_length=64, description="Uid of the GenerationJob.")]
    job: Annotated[str, Field(max_length=128, description="NAMESPACE/NAME of it.")] = ""
    worker: Annotated[
        str, Field(max_length=32, description="Which of its workers keeps it; one that lost it pays no more.")
    ] = ""
    reserved: Annotated[Money, Field(description="What it may be about to pay, in US dollars.")] = Decimal(0)
    paid: Annotated[Money, Field(description="What it has paid, which the windows hold, in US dollars.")] = Decimal(0)


class Spend(ApiModel):
    """The account's ledger. Workers write it, each change on top of the one before; nothing else may."""

    day: Annotated[Window | None, Field(description="Today, or the last day on which there was any.")] = None
    month: Annotated[Window | None, Field(description="This month, or the last with any.")] = None
    accounts: Annotated[
        list[Account],
        ListMap(("holder",)),
        Field(
            max_length=MAX_ACCOUNTS,
            description="Jobs that are not over; what is reserved counts as spent until it is settled.",
        ),
    ] = []
    namespaces: Annotated[
        list[NamespaceWindows],
        ListMap(("name",)),
        Field(max_length=MAX_NAMESPACES, description="What was paid of that by the jobs of each namespace."),
    ] = []


class Rest(ApiModel):
    """An offer that workers leave alone for a while: it asked for that, or failed too often."""

    model: Annotated[str, Field(max_length=128, description="Its id.")]
    until: Annotated[str, Field(max_length=32, description="When it may be asked again, in UTC.")]
    reason: Annotated[str, Field(max_length=64, description="The last error.")]


class ProviderStatus(ApiModel):
    """The observed state; `spend` and `rests` are the workers', all else the operator's."""

    observed_generation: Annotated[int, Field(ge=0, description="metadata.generation that this status is about.")] = 0
    conditions: Annotated[
        list[Condition], ListMap(("type",)), Field(max_length=16, description="Ready, Stalled, OffersServed.")
    ] = []
    offers: Annotated[
        list[OfferStatus],
        ListMap(("model",)),
        Field(max_length=MAX_OFFERS, description="What is known of each offer today."),
    ] = []
    spend: Annotated[Spend | None, Field(description="What was spent, and what may be about to be.")] = None
    rests: Annotated[
        list[Rest],
        ListMap(("model",)),
        Field(max_length=MAX_OFFERS, description="Offers that workers leave alone for a while."),
    ] = []


class Provider(ApiModel):
    """An account at a cloud that makes pictures or clips for money."""

    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE,)

    api_version: Literal["easel.dev/v1alpha1"] = "easel.dev/v1alpha1"
    kind: Literal["Provider"] = "Provider"
    metadata: ObjectMeta
    spec: ProviderSpec
    status: ProviderStatus = ProviderStatus()
