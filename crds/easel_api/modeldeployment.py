"""`ModelDeployment`: a model to serve, written by the platform team."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from .base import (
    NAME_RULE,
    PATTERN_WORDS,
    ApiModel,
    Column,
    KindInfo,
    ListMap,
    Name,
    ObjectMeta,
    ObjectName,
    Rule,
)
from .conditions import Condition
from .s3 import S3Access
from .scaling import Scaling, ScalingStatus
from .tasks import ADDED, FAMILIES, AdapterKind, Quality, Task, in_words, may_do, tasks_of
from .uris import FILE_IN_CLUSTER, MODEL_PATTERN, no_climbing

KIND = KindInfo(
    kind="ModelDeployment",
    plural="modeldeployments",
    singular="modeldeployment",
    short_names=("mdep",),
    columns=(
        Column("Model", ".spec.model.source"),
        Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
        Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Replicas", ".status.replicas.ready", "integer"),
        Column("Digest", ".status.model.digest", priority=1),
        Column("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.model.source",),
    scale=(".spec.replicas", ".status.replicas.ready"),
)

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
PRODUCT_PATTERN = r"^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"
CPU_PATTERN = r"^([1-9][0-9]{0,3}|[1-9][0-9]{0,6}m|[0-9]{1,4}\.[0-9]{1,3})$"
MEMORY_PATTERN = r"^[1-9][0-9]*(Mi|Gi)$"
PATTERN_WORDS.update(
    {
        DIGEST_PATTERN: "sha256: and 64 lower-case hex digits.",
        PRODUCT_PATTERN: "Letters, digits, -, _ and ., with a letter or digit at both ends.",
        CPU_PATTERN: 'A quantity such as 2, 500m or "0.5".',
        MEMORY_PATTERN: "A whole number and Mi or Gi, such as 4Gi.",
    }
)

ModelSource = Annotated[str, StringConstraints(pattern=MODEL_PATTERN, max_length=1024)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN, max_length=71)]
Pixels = Annotated[int, Field(ge=64, le=4096, multiple_of=8)]


def _whole_number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


CpuQuantity = Annotated[
    str,
    StringConstraints(pattern=CPU_PATTERN, max_length=16),
    BeforeValidator(_whole_number_as_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 9999},
                {"type": "string", "pattern": CPU_PATTERN, "maxLength": 16},
            ]
        }
    ),
]
"""A quantity; `cpu: 2` in a manifest is a number, and Kubernetes takes it everywhere else."""

FETCHED_FOLDER = "easel-models"
"""Folder in a cache's claim that holds what was fetched from buckets."""

EMPTY_DIR_FOLDER = ".cache"

BUILTIN_MINIATURE = "builtin://miniature"
BUILTIN_MOTION = "builtin://miniature/motion"
BUILTIN_CONTROLNET = "builtin://miniature/controlnet-segmentation"
BUILTIN_LORA = "builtin://miniature/lora-ink"
BUILTIN_GAN = "builtin://miniature/generator-gan"
BUILTIN_VAE = "builtin://miniature/generator-vae"

BUILTIN_FAMILIES = {BUILTIN_MINIATURE: "StableDiffusion", BUILTIN_GAN: "Onnx", BUILTIN_VAE: "Onnx"}
"""Families of the models that ship with Easel."""

if TYPE_CHECKING:
    Family = str
else:
    Family = Literal[*FAMILIES]
    """The families are data, which a type checker cannot read."""


class DType(StrEnum):
    """Number formats that weights are kept and computed in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class WeightsDType(StrEnum):
    """Number formats that weights are kept in, apart from the one that they are computed in."""

    FLOAT8 = "float8"


class RolloutStrategy(StrEnum):
    """How a changed model replaces the one that serves."""

    DRAIN = "Drain"
    SURGE = "Surge"


class Model(ApiModel):
    """Which model."""

    rules: ClassVar[tuple[Rule, ...]] = (no_climbing("source", lambda model: model.source),)

    source: Annotated[
        ModelSource,
        Field(
            description="A stock diffusers folder, or one with a generator as ONNX: builtin://miniature, "
            "builtin://miniature/generator-gan or builtin://miniature/generator-vae (shipped with Easel), pvc://CLAIM/PATH in "
            "the object's own namespace, s3://BUCKET/PREFIX, which is fetched once into spec.cache, or file://PATH, which only `easel run` "
            "accepts. Weights are safetensors or ONNX only."
        ),
    ]
    digest: Annotated[
        Digest | None,
        Field(
            description="sha256 over the folder's files; checked before serving when given, recorded in status when not."
        ),
    ] = None
    s3: Annotated[
        S3Access | None,
        Field(
            description="How s3:// sources are reached, those of adapters too. Default: AWS with the fetching pod's own identity."
        ),
    ] = None
    family: Annotated[
        Family | None,
        Field(description="Model family; read from the folder's model_index.json or generator.json when absent."),
    ] = None


class Adapter(ApiModel):
    """Weights on top of the model."""

    rules: ClassVar[tuple[Rule, ...]] = (no_climbing("source", lambda adapter: adapter.source),)

    name: Annotated[Name, Field(description="Unique in this ModelDeployment.")]
    kind: Annotated[
        AdapterKind,
        Field(
            description="Motion: an AnimateDiff motion adapter, for clips. ControlNet: draws what a segmentation map or another "
            "control picture says. LoRA: a style or a subject, mixed in with the weight that a job names."
        ),
    ]
    source: Annotated[
        ModelSource,
        Field(
            description="Where its folder is; as in spec.model.source. Shipped with Easel: builtin://miniature/motion, "
            "builtin://miniature/controlnet-segmentation and builtin://miniature/lora-ink."
        ),
    ]


class Shape(ApiModel):
    """A picture size to warm up before the model counts as ready."""

    width: Annotated[Pixels, Field(description="Width in pixels.")]
    height: Annotated[Pixels, Field(description="Height in pixels.")]


class Engine(ApiModel):
    """How the engine runs the model."""

    dtype: Annotated[
        DType | None, Field(description="Number format. Default: bfloat16 on a GPU, float32 on the CPU.")
    ] = None
    weights_dtype: Annotated[
        WeightsDType | None,
        Field(
            alias="weightsDtype",
            description="Number format that the denoiser's weights are kept in: float8 (e4m3) takes half the memory of bfloat16; each "
            "layer is cast to dtype when it is used. Default: dtype.",
        ),
    ] = None
    shapes: Annotated[
        list[Shape], Field(max_length=16, description="Sizes warmed up before Ready. Default: the model's own size.")
    ] = []
    max_concurrent_requests: Annotated[
        int, Field(ge=1, le=256, description="Requests that generate at once; more wait in the engine.")
    ] = 16
    quality: Annotated[
        Quality,
        Field(
            description="For jobs that name none: Exact computes every denoising step. Standard computes about three quarters of "
            "them and Draft about half; the others are extrapolated, which is faster and shows in fine detail."
        ),
    ] = Quality.EXACT


class Resources(ApiModel):
    """What one replica asks of its node."""

    gpus: Annotated[int, Field(ge=0, le=8, description="GPUs of a replica (nvidia.com/gpu). 0 serves on the CPU.")] = 0
    gpu_product: Annotated[
        str | None,
        Field(
            max_length=63,
            pattern=PRODUCT_PATTERN,
            description="Value of the node label nvidia.com/gpu.product to run on, for example NVIDIA-H100-80GB-HBM3. Default: any.",
        ),
    ] = None
    gpu_memory: Annotated[
        str | None,
        Field(
            max_length=16,
            pattern=MEMORY_PATTERN,
            description="Memory that each GPU has at least, by the node label nvidia.com/gpu.memory; a model whose weights take more is "
            "refused before a GPU is asked for. A card that is sold with 24 GB has a little less than 24Gi. Default: any.",
        ),
    ] = None
    cpu: Annotated[CpuQuantity, Field(description="CPU request of a replica, in cores or millicores.")] = "1"
    memory: Annotated[
        str, Field(max_length=16, pattern=MEMORY_PATTERN, description="Memory request and limit of a replica.")
    ] = "4Gi"


class Rollout(ApiModel):
    """How a change reaches the replicas."""

    strategy: Annotated[
        RolloutStrategy,
        Field(description="Drain stops the old replica first and needs no second GPU; Surge starts the new one first."),
    ] = RolloutStrategy.DRAIN


class EmptyDir(ApiModel):
    """A folder on the node's disk that lives as long as its pod."""

    size_limit: Annotated[
        str,
        Field(
            max_length=16,
            pattern=MEMORY_PATTERN,
            description="What it may hold; a model that is larger is refused before it is downloaded.",
        ),
    ]


class Cache(ApiModel):
    """What a replica keeps for the next one, or for itself: exactly one of the two."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.persistentVolumeClaim) != has(self.emptyDir)",
            message="name exactly one cache: persistentVolumeClaim or emptyDir",
            holds=lambda cache: (cache.persistent_volume_claim is None) != (cache.empty_dir is None),
        ),
    )

    persistent_volume_claim: Annotated[
        ObjectName | None,
        Field(
            description="Name of a PersistentVolumeClaim in the object's own namespace. Code that was compiled for a GPU is kept in "
            "its folder easel-cache, so that the next start compiles nothing, and what was fetched from a bucket in easel-models. It must "
            "be ReadWriteMany where replicas run on several nodes."
        ),
    ] = None
    empty_dir: Annotated[
        EmptyDir | None,
        Field(
            description="Where there is no such claim: each replica fetches for itself, with its GPU already taken, into a folder "
            "that goes with it. Needs spec.model.s3.credentialsSecretRef where a source is in a bucket."
        ),
    ] = None

    @property
    def folder(self) -> str:
        """Name of its folder where caches and claims are mounted; that of an emptyDir can be no claim's."""
        return self.persistent_volume_claim or EMPTY_DIR_FOLDER


_TAKEN = [f"{family}/{kind}" for family, kind in ADDED]
_TAKEN_IN_WORDS = "; ".join(
    f"{family} takes {in_words(kind for owner, kind in ADDED if owner == family)}"
    for family in dict.fromkeys(family for family, _ in ADDED)
)


_IN_A_BUCKET = "self.model.source.startsWith('s3://') || (has(self.adapters) && self.adapters.exists(a, a.source.startsWith('s3://')))"


class ModelDeploymentSpec(ApiModel):
    """The desired state of a model that is served."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!self.model.source.startsWith('file://')",
            message=f"{FILE_IN_CLUSTER} builtin://, pvc:// or s3://",
            holds=lambda spec: not spec.model.source.startswith("file://"),
            path="model.source",
            cluster_only=True,
        ),
        Rule(
            cel="!has(self.adapters) || self.adapters.all(a, !a.source.startsWith('file://'))",
            message=f"{FILE_IN_CLUSTER} builtin://, pvc:// or s3://",
            holds=lambda spec: not any(adapter.source.startswith("file://") for adapter in spec.adapters),
            path="adapters",
            cluster_only=True,
        ),
        Rule(
            cel="!has(self.adapters) || self.adapters.filter(a, a.kind == 'Motion').size() <= 1",
            message="a model takes one Motion adapter at most",
            holds=lambda spec: sum(adapter.kind is AdapterKind.MOTION for adapter in spec.adapters) <= 1,
            path="adapters",
        ),
        Rule(
            cel="!has(self.engine) || !has(self.engine.weightsDtype) || !has(self.adapters) || "
            "self.adapters.all(a, a.kind == 'ControlNet')",
            message="weights kept in float8 take neither a LoRA nor a Motion adapter, which compute with them",
            holds=lambda spec: (
                spec.engine.weights_dtype is None
                or all(adapter.kind is AdapterKind.CONTROL_NET for adapter in spec.adapters)
            ),
            path="engine.weightsDtype",
        ),
        Rule(
            cel=f"!has(self.adapters) || !has(self.model.family) || "
            f"self.adapters.all(a, self.model.family + '/' + a.kind in {_TAKEN})",
            message=f"the family takes no such adapter; {_TAKEN_IN_WORDS}",
            holds=lambda spec: (
                spec.model.family is None
                or all((spec.model.family, adapter.kind) in ADDED for adapter in spec.adapters)
            ),
            path="adapters",
        ),
        Rule(
            cel="!has(self.resources) || !has(self.resources.gpuProduct) || (has(self.resources.gpus) && self.resources.gpus > 0)",
            message="gpuProduct needs gpus of at least 1",
            holds=lambda spec: spec.resources.gpu_product is None or spec.resources.gpus > 0,
            path="resources.gpuProduct",
        ),
        Rule(
            cel="!has(self.cache) || !has(self.cache.persistentVolumeClaim) || "
            "(self.model.source != 'pvc://' + self.cache.persistentVolumeClaim + '/' && "
            "(!has(self.adapters) || self.adapters.all(a, a.source != 'pvc://' + self.cache.persistentVolumeClaim + '/')))",
            message="a model or adapter at the root of this claim would have the cache in its folder; move it into a folder",
            holds=lambda spec: (
                spec.cache is None
                or f"pvc://{spec.cache.persistent_volume_claim}/"
                not in (spec.model.source, *(adapter.source for adapter in spec.adapters))
            ),
            path="cache.persistentVolumeClaim",
        ),
        Rule(
            cel=f"has(self.cache) || !({_IN_A_BUCKET})",
            message="a source in a bucket needs spec.cache, which it is fetched into",
            holds=lambda spec: spec.cache is not None or not spec.fetched_sources(),
            path="cache",
        ),
        Rule(
            cel=f"!has(self.cache) || !has(self.cache.emptyDir) || !({_IN_A_BUCKET}) || "
            "(has(self.model.s3) && has(self.model.s3.credentialsSecretRef))",
            message="a bucket's model in an emptyDir needs model.s3.credentialsSecretRef: with the pod's own identity the model's process "
            "would have the rights of who fetches it",
            holds=lambda spec: (
                not (spec.fetches_itself() and (spec.model.s3 is None or spec.model.s3.credentials_secret_ref is None))
            ),
            path="cache.emptyDir",
        ),
        Rule(
            cel="!has(self.resources) || !has(self.resources.gpuMemory) || (has(self.resources.gpus) && self.resources.gpus > 0)",
            message="gpuMemory needs gpus of at least 1",
            holds=lambda spec: spec.resources.gpu_memory is None or spec.resources.gpus > 0,
            path="resources.gpuMemory",
        ),
        Rule(
            cel=f"!has(self.model.s3) || {_IN_A_BUCKET}",
            message="model.s3 says how buckets are reached, and no source is in one: leave it out",
            holds=lambda spec: spec.model.s3 is None or bool(spec.fetched_sources()),
            path="model.s3",
        ),
        Rule(
            cel="!has(self.scaling) || !has(self.replicas) || self.replicas == 1",
            message="spec.scaling decides how many replicas there are; leave replicas out, or set scaling.minReplicas",
            holds=lambda spec: spec.scaling is None or spec.replicas == 1,
            path="replicas",
        ),
    )

    model: Annotated[Model, Field(description="Which model to serve.")]
    adapters: Annotated[
        list[Adapter], ListMap(("name",)), Field(max_length=16, description="Weights on top of the model, by name.")
    ] = []
    engine: Annotated[Engine, Field(description="How the engine runs the model.")] = Engine()
    resources: Annotated[Resources, Field(description="What one replica asks of its node.")] = Resources()
    replicas: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="Pods that serve this model; 0 puts it to sleep. With scaling it is left at 1, unused.",
        ),
    ] = 1
    scaling: Annotated[
        Scaling | None, Field(description="How many pods there are, by demand. Default: as many as replicas says.")
    ] = None
    rollout: Annotated[Rollout, Field(description="How a change reaches the replicas.")] = Rollout()
    cache: Annotated[Cache | None, Field(description="What a replica keeps for the next one. Default: nothing.")] = None
    runtime_profile: Annotated[
        Name,
        Field(
            description="Name of a set of images, node selection and tolerations that the platform defines in the chart's values."
        ),
    ] = "default"

    def known_tasks(self) -> frozenset[Task] | None:
        """The tasks this model will be able to do, or None while only the engine can tell (unknown family)."""
        family = BUILTIN_FAMILIES.get(self.model.source, self.model.family)
        if family is None:
            return None
        return tasks_of(family, frozenset(adapter.kind for adapter in self.adapters))

    def may_do(self, task: Task) -> bool:
        """Whether it can do the task, or may while only the engine can tell."""
        return may_do(self.known_tasks(), task)

    def fetched_sources(self) -> list[str]:
        """What lies in a bucket, the model first."""
        sources = (self.model.source, *(adapter.source for adapter in self.adapters))
        return [source for source in sources if source.startswith("s3://")]

    def fetches_itself(self) -> bool:
        """Whether each replica fetches what lies in a bucket, into its emptyDir."""
        return self.cache is not None and self.cache.empty_dir is not None and bool(self.fetched_sources())

    def usable_adapters(self) -> frozenset[str]:
        """Names that a job may use; a Motion adapter makes clips by itself and is not among them."""
        return frozenset(adapter.name for adapter in self.adapters if adapter.kind is not AdapterKind.MOTION)


class Replicas(ApiModel):
    """Pods of the model."""

    desired: Annotated[int, Field(ge=0, description="Pods wanted.")] = 0
    ready: Annotated[int, Field(ge=0, description="Pods that serve.")] = 0


class StepCost(ApiModel):
    """What one denoising step costs."""

    shape: Annotated[
        str,
        Field(max_length=16, description="WIDTHxHEIGHT, xFRAMES added for clips."),
    ]
    seconds: Annotated[
        float, Field(ge=0, description="GPU-seconds of one request's share in a pass of as many as are fastest.")
    ]


class ShapePeak(ApiModel):
    """What a request takes beside the weights."""

    shape: Annotated[str, Field(max_length=16, description="WIDTHxHEIGHT, xFRAMES added for clips.")]
    bytes: Annotated[int, Field(ge=0, description="Bytes of a lone request.")]


class ModelMemory(ApiModel):
    """Memory of a replica's device: the GPU's, or the container's."""

    capacity_bytes: Annotated[int, Field(ge=0, description="What there is.")] = 0
    weights_bytes: Annotated[int, Field(ge=0, description="In use between requests.")] = 0
    peaks: Annotated[
        list[ShapePeak],
        ListMap(("shape",)),
        Field(max_length=32, description="What a request takes beside that, by shape; measured at start-up."),
    ] = []


class LoadedModel(ApiModel):
    """What the engine loaded."""

    digest: Annotated[str, Field(max_length=71, description="sha256 over the model folder's files.")] = ""
    family: Annotated[str, Field(max_length=64, description="Family read from the folder.")] = ""
    parameters: Annotated[int, Field(ge=0, description="Numbers in the weights.")] = 0
    loaded_seconds: Annotated[float, Field(ge=0, description="Seconds from the start of the engine to ready.")] = 0
    steps: Annotated[
        list[StepCost] | None,
        ListMap(("shape",)),
        Field(max_length=32, description="What a denoising step costs, by shape; measured at start-up."),
    ] = None
    memory: Annotated[
        ModelMemory | None,
        Field(description="What memory there is and what is taken; a job that cannot fit is refused."),
    ] = None


class ModelFailure(ApiModel):
    """Why the model does not serve."""

    reason: Annotated[str, Field(max_length=64, description="One word of the error tree.")]
    message: Annotated[str, Field(max_length=2048, description="For a person to read.")] = ""
    time: Annotated[str, Field(max_length=40, description="When, RFC 3339 in UTC.")] = ""


class PreviousRevision(ApiModel):
    """An older specification that still serves, while the present one does not, or not everywhere yet."""

    digest: Annotated[
        str, Field(max_length=71, description="sha256 over its model folder's files; empty while unknown.")
    ] = ""
    replicas: Annotated[int, Field(ge=0, description="Pods of it that serve.")] = 0


class ModelDeploymentStatus(ApiModel):
    """The observed state."""

    observed_generation: Annotated[int, Field(ge=0, description="metadata.generation that this status is about.")] = 0
    conditions: Annotated[
        list[Condition],
        ListMap(("type",)),
        Field(max_length=16, description="Ready, Reconciling, Stalled, ModelCached, ModelLoaded, AutoscalingActive."),
    ] = []
    tasks: Annotated[list[Task], Field(max_length=32, description="Tasks this model can do.")] = []
    replicas: Annotated[Replicas | None, Field(description="Pods of the model.")] = None
    model: Annotated[LoadedModel | None, Field(description="What the engine loaded.")] = None
    endpoint: Annotated[str, Field(max_length=300, description="gRPC address of the headless Service, HOST:PORT.")] = ""
    last_failure: Annotated[ModelFailure | None, Field(description="Why the model does not serve.")] = None
    previous: Annotated[
        PreviousRevision | None,
        Field(
            description="What serves of an older specification, beside the present one or in its place; else absent."
        ),
    ] = None
    scaling: Annotated[ScalingStatus | None, Field(description="What scaling remembers.")] = None


class ModelDeployment(ApiModel):
    """A model of pictures or clips, served by NVIDIA Triton in pods of this namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        NAME_RULE,
        Rule(
            cel="self.metadata.name.matches('^[a-z]')",
            message="the name of a ModelDeployment starts with a letter, since it names a Service too",
            holds=lambda deployment: deployment.metadata.name[:1].isalpha(),
            path="metadata.name",
        ),
    )

    api_version: Literal["easel.dev/v1alpha1"] = "easel.dev/v1alpha1"
    kind: Literal["ModelDeployment"] = "ModelDeployment"
    metadata: ObjectMeta
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()
