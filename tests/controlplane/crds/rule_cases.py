"""For each rule of the CRDs, manifests that it accepts and refuses.

A rule is named by its kind and message. Cases that only change an object once it exists hold the object before, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from api_manifests import Manifest, edited, generation_class, job, model, provider


@dataclass(frozen=True)
class Case:
    """One rule's accepted and refused manifest; `before` is what stood there, for rules on changes."""

    kind: str
    message: str
    accepted: Manifest
    refused: Manifest
    before: Manifest | None = None

    @property
    def id(self) -> str:
        """For pytest."""
        return f"{self.kind}-{self.message}"


IMAGE = {"image": {"uri": "s3://art/in/mug.png"}}
BOTH = IMAGE | {"mask": {"uri": "s3://art/in/mask.png"}}
CLAIM = {"store": {"persistentVolumeClaim": {"claimName": "art"}}}
CONTROL = {"control": {"uri": "s3://art/in/map.png"}}
CLIP = {"clip": {"uri": "s3://art/in/ball.mp4"}}
STYLE = {"style": {"uri": "s3://art/in/ink.png"}}
GARMENT = {"garment": {"uri": "s3://art/in/coat.png"}}
FOUND = [{"text": "a red mug", "search": "the {{what}}"}]
GROWN = {"expand": {"left": 64}}
LEADING = [{"text": "a red mug", "end": "a blue mug"}]
MOTION = {"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}
LORA = {"name": "watercolour", "kind": "LoRA", "source": "pvc://loras/watercolour"}
CONTROLNET = {"name": "map", "kind": "ControlNet", "source": "builtin://miniature/controlnet-segmentation"}
FILE = "file:// works with `easel run` only; in a cluster use"
NO_CLIMBING = "a path must not climb: remove the .. from it"
NAME = "a name has at most 52 lower-case letters, digits and -, with a letter or digit at both ends"
PROMPTS = "this task needs prompts"
END = "interpolation needs an end in each prompt, or parameters.endSeed"
NEEDS_IMAGE = (
    "image-to-image, inpaint, outpaint, upscale, erase, remove-background, replace-background, search-and-replace, search-and-recolor, "
    "style-transfer, virtual-try-on and image-to-video need inputs.image; other tasks take none"
)
NEEDS_MASK = "inpaint and erase need inputs.mask; other tasks take none"
NEEDS_CONTROL = "segmentation-to-image and control-to-image need inputs.control; other tasks take none"
NEEDS_CLIP = "video-to-video needs inputs.clip; other tasks take none"
NEEDS_STYLE = "style-to-image and style-transfer need inputs.style; other tasks take none"
NEEDS_GARMENT = "virtual-try-on needs inputs.garment; other tasks take none"
NEEDS_EXPAND = "outpaint needs parameters.expand; other tasks take none"
BY_CLASS = "a task that providers alone do needs a generationClassName"
MUTE = "erase, remove-background and virtual-try-on read no prompts; leave them out"
SEARCH = "search-and-replace and search-and-recolor need a search in each prompt; other tasks take none"
TRANSPARENT = "remove-background gives png, which keeps what is transparent"
CLIPS = "interpolation, text-to-video, image-to-video, video-to-video and latent-to-video"
CACHE = "a model or adapter at the root of this claim would have the cache in its folder; move it into a folder"
OWN_CACHE = (
    "a bucket's model in an emptyDir needs model.s3.credentialsSecretRef: with the pod's own identity the model's process "
    "would have the rights of who fetches it"
)
KEYS = {"credentialsSecretRef": {"name": "models"}}
ADAPTERS = "the family takes no such adapter; StableDiffusion takes Motion, ControlNet and LoRA; StableDiffusionXL takes ControlNet and LoRA"
FORMATS = "pictures are png, jpeg or webp; clips are mp4, gif or webp"
HPA_ZERO = "engine HPA needs minReplicas of at least 1, since a HorizontalPodAutoscaler wakes no model from zero"
SCALED = "spec.scaling decides how many replicas there are; leave replicas out, or set scaling.minReplicas"
NO_REGION = "where this family works is not known, and no call names a region; leave it out"
ITS_HOST = "without an endpoint this family's host is that of all regions; name the host of this one as endpoint, or leave region out"
PROJECTS = "projects are Google Cloud's, and this family is not; leave it out"
BY_ID = "this family calls a model by its id; leave deployment out, and name as model what is to be called"
INPUT_STORE = "an s3:// input is read with the endpoint and credentials of output.store.s3, which is missing"


def gen(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("GenerationJob", message, accepted, refused)


def scaled(**scaling: object) -> Manifest:
    return model(scaling={"maxReplicas": 4} | scaling)


def office(replicas: int) -> list[Manifest]:
    return [{"name": "office", "start": "08:00", "end": "18:00", "minReplicas": replicas}]


def mdep(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("ModelDeployment", message, accepted, refused)


def with_image(uri: str, **more: object) -> Manifest:
    return job(task="image-to-image", inputs={"image": {"uri": uri}}, **more)


def with_mask(uri: str, **more: object) -> Manifest:
    return job(task="inpaint", inputs=IMAGE | {"mask": {"uri": uri}}, **more)


def named(manifest: Manifest, name: str) -> Manifest:
    return edited(manifest, "metadata.name", name)


def with_control(uri: str, **more: object) -> Manifest:
    return job(task="control-to-image", inputs={"control": {"uri": uri}}, **more)


def with_clip(uri: str, **more: object) -> Manifest:
    return job(task="video-to-video", inputs={"clip": {"uri": uri}}, **more)


def asking(task: str, inputs: Manifest | None = None, **parameters: object) -> Manifest:
    """A job of that task with these parameters."""
    return job(task=task, parameters=parameters, **({} if inputs is None else {"inputs": inputs}))


def latent(**spec: object) -> Manifest:
    """A job of a task that goes without prompts."""
    return edited(job(task="latent-to-video", **spec), "spec.prompts", ...)


def bought(task: str, inputs: Manifest, **spec: object) -> Manifest:
    """A job of a class, without prompts where it names none."""
    made = job(task=task, generationClassName="studio", inputs=inputs, **{"prompts": [], **spec})
    return edited(made, "spec.backends", ...)


def with_matrix(name: str) -> Manifest:
    return job(prompts=[{"text": "a {{" + name + "}} mug"}], matrix={name: ["red"]})


CREATING = [
    gen(NAME, named(job(), "m" * 52), named(job(), "m" * 53)),
    gen(NAME, named(job(), "0-9"), named(job(), "mugs.red")),
    gen("name exactly one backend: modelDeployment", job(), job(backends=[{}])),
    gen("name exactly one store: s3 or persistentVolumeClaim", job(output=CLAIM), job(output={"store": {}})),
    gen(
        "name exactly one store: s3 or persistentVolumeClaim",
        job(),
        job(output={"store": CLAIM["store"] | {"s3": {"bucket": "art"}}}),
    ),
    gen(PROMPTS, latent(), edited(job(), "spec.prompts", ...)),
    gen(PROMPTS, job(task="latent-to-image", prompts=[]), job(prompts=[])),
    gen(PROMPTS, job(task="image-to-video", inputs=IMAGE, prompts=[]), job(task="image-to-image", inputs=IMAGE, prompts=[])),
    gen(BY_CLASS, bought("erase", BOTH), job(task="erase", inputs=BOTH, prompts=[])),
    gen(BY_CLASS, bought("replace-background", IMAGE, prompts=[{"text": "a beach"}]), job(task="replace-background", inputs=IMAGE)),
    gen(PROMPTS, job(task="upscale", inputs=IMAGE, prompts=[]), bought("style-to-image", STYLE)),
    gen(MUTE, bought("remove-background", IMAGE), bought("remove-background", IMAGE, prompts=[{"text": "a mug"}])),
    gen(MUTE, edited(bought("erase", BOTH), "spec.prompts", ...), bought("erase", BOTH, prompts=[{"text": "a mug"}])),
    gen(SEARCH, bought("search-and-replace", IMAGE, prompts=FOUND), bought("search-and-replace", IMAGE, prompts=[{"text": "a mug"}])),
    gen(SEARCH, bought("search-and-recolor", IMAGE, prompts=FOUND), job(prompts=FOUND)),
    gen(NEEDS_STYLE, bought("style-transfer", IMAGE | STYLE), bought("style-transfer", IMAGE)),
    gen(NEEDS_STYLE, job(task="image-to-image", inputs=IMAGE), job(task="image-to-image", inputs=IMAGE | STYLE)),
    gen(NEEDS_GARMENT, bought("virtual-try-on", IMAGE | GARMENT), bought("virtual-try-on", IMAGE)),
    gen(TRANSPARENT, bought("remove-background", IMAGE), edited(bought("remove-background", IMAGE), "spec.output.format", "webp")),
    gen(
        "end is for interpolation and latent-to-video only",
        job(task="interpolation", prompts=LEADING),
        job(task="text-to-video", prompts=[{"text": "a mug"}, *LEADING]),
    ),
    gen(
        "endSeed is for interpolation and latent-to-video only",
        latent(parameters={"endSeed": 2}),
        asking("text-to-video", endSeed=2),
    ),
    gen(END, job(task="interpolation", prompts=LEADING), job(task="interpolation")),
    gen(END, asking("interpolation", endSeed=2), job(task="interpolation", prompts=[*LEADING, {"text": "a mug"}])),
    gen(NEEDS_IMAGE, job(task="image-to-image", inputs=IMAGE), job(task="image-to-image")),
    gen(NEEDS_IMAGE, asking("outpaint", IMAGE, **GROWN), asking("outpaint", **GROWN)),
    gen(NEEDS_IMAGE, job(), job(inputs=IMAGE)),
    gen(NEEDS_MASK, job(task="inpaint", inputs=BOTH), job(task="inpaint", inputs=IMAGE)),
    gen(NEEDS_MASK, job(task="image-to-image", inputs=IMAGE), job(task="image-to-image", inputs=BOTH)),
    gen(NEEDS_CONTROL, job(task="segmentation-to-image", inputs=CONTROL), job(task="segmentation-to-image")),
    gen(NEEDS_CONTROL, job(task="upscale", inputs=IMAGE), job(task="upscale", inputs=IMAGE | CONTROL)),
    gen(NEEDS_CLIP, job(task="video-to-video", inputs=CLIP), job(task="video-to-video")),
    gen(NEEDS_CLIP, job(task="image-to-video", inputs=IMAGE), job(task="image-to-video", inputs=IMAGE | CLIP)),
    gen(NEEDS_EXPAND, asking("outpaint", IMAGE, **GROWN), asking("outpaint", IMAGE)),
    gen(NEEDS_EXPAND, asking("upscale", IMAGE), asking("upscale", IMAGE, **GROWN)),
    gen(
        "at least one of left, top, right and bottom must be above 0",
        asking("outpaint", IMAGE, expand={"left": 0, "bottom": 8}),
        asking("outpaint", IMAGE, expand={"left": 0, "bottom": 0}),
    ),
    gen(
        "at least one of left, top, right and bottom must be above 0",
        asking("outpaint", IMAGE, expand={"right": 2048}),
        asking("outpaint", IMAGE, expand={}),
    ),
    gen(
        "outpaint takes no width and height: expand decides",
        asking("outpaint", IMAGE, **GROWN),
        asking("outpaint", IMAGE, height=64, **GROWN),
    ),
    gen(
        "name either scale or width and height",
        asking("upscale", IMAGE, width=256, height=256),
        asking("upscale", IMAGE, width=256, scale=2),
    ),
    gen(
        "strength is for image-to-image, inpaint, outpaint, upscale, image-to-video and video-to-video only",
        asking("video-to-video", CLIP, strength=0.5),
        asking("text-to-image", strength=0.5),
    ),
    gen(f"frames is for {CLIPS} only", asking("text-to-video", frames=8), asking("text-to-image", frames=8)),
    gen(f"fps is for {CLIPS} only", asking("image-to-video", IMAGE, fps=8), asking("image-to-image", IMAGE, fps=8)),
    gen(
        "maskColours is for inpaint and erase only",
        asking("inpaint", BOTH, maskColours=["#dc143c"]),
        asking("segmentation-to-image", CONTROL, maskColours=["#dc143c"]),
    ),
    gen("scale is for upscale only", asking("upscale", IMAGE, scale=4), asking("image-to-image", IMAGE, scale=4)),
    gen(
        "truncation is for latent-to-image and latent-to-video only",
        asking("latent-to-image", truncation=0.7),
        asking("text-to-image", truncation=0.7),
    ),
    gen(FORMATS, edited(job(), "spec.output.format", "webp"), edited(job(), "spec.output.format", "mp4")),
    gen(
        FORMATS,
        edited(job(task="text-to-video"), "spec.output.format", "gif"),
        edited(job(task="text-to-video"), "spec.output.format", "png"),
    ),
    gen("a job in a cluster needs output.store", job(), job(output={"format": "png"})),
    gen("a job in a cluster needs output.store", job(), edited(job(), "spec.output", ...)),
    gen(f"{FILE} s3:// or pvc://", with_image("pvc://in/mug.png"), with_image("file:///mug.png")),
    gen(f"{FILE} s3:// or pvc://", with_mask("pvc://in/mask.png"), with_mask("file:///mask.png")),
    gen(f"{FILE} s3:// or pvc://", with_control("pvc://in/map.png"), with_control("file:///map.png")),
    gen(f"{FILE} s3:// or pvc://", with_clip("pvc://in/ball.mp4"), with_clip("file:///ball.mp4")),
    gen(INPUT_STORE, with_clip("pvc://in/a.gif", output=CLAIM), with_clip("s3://art/a.gif", output=CLAIM)),
    gen(INPUT_STORE, with_control("pvc://in/a.png", output=CLAIM), with_control("s3://art/a.png", output=CLAIM)),
    gen(INPUT_STORE, with_image("pvc://in/mug.png", output=CLAIM), with_image("s3://art/mug.png", output=CLAIM)),
    gen(NO_CLIMBING, with_image("s3://art/a..b.png"), with_image("pvc://in/a/../../b.png")),
    gen(NO_CLIMBING, with_mask("pvc://in/a.png"), with_mask("pvc://in/..")),
    gen("each name: Letters, digits and _, starting with a letter.", with_matrix("colour_1"), with_matrix("1colour")),
    gen("each name has at most 63 characters", with_matrix("x" * 63), with_matrix("x" * 64)),
    mdep(NAME, named(model(), "m" * 52), named(model(), "m" * 53)),
    mdep("minReplicas is at most maxReplicas", scaled(minReplicas=4), scaled(minReplicas=5)),
    mdep("minReplicas of a schedule is at most maxReplicas", scaled(schedules=office(4)), scaled(schedules=office(5))),
    mdep(HPA_ZERO, scaled(engine="HPA", minReplicas=1), scaled(engine="HPA")),
    mdep(HPA_ZERO, scaled(engine="KEDA", minReplicas=0), scaled(engine="HPA", minReplicas=0)),
    mdep("engine HPA takes no idleSeconds, since it never scales to zero", scaled(idleSeconds=600), scaled(engine="HPA", minReplicas=1, idleSeconds=600)),
    mdep("engine HPA takes no query; its external metric is easel_demand_gpu_seconds", scaled(engine="KEDA", query="x"), scaled(engine="HPA", minReplicas=1, query="x")),
    mdep(SCALED, model(scaling={"maxReplicas": 4}, replicas=1), model(scaling={"maxReplicas": 4}, replicas=2)),
    mdep(SCALED, model(replicas=0), model(scaling={"maxReplicas": 4}, replicas=0)),
    mdep(
        "the name of a ModelDeployment starts with a letter, since it names a Service too",
        named(model(), "d3"),
        named(model(), "3d"),
    ),
    mdep(f"{FILE} builtin://, pvc:// or s3://", model(model={"source": "pvc://models/sd"}), model(model={"source": "file:///sd"})),
    mdep(
        f"{FILE} builtin://, pvc:// or s3://", model(adapters=[MOTION]), model(adapters=[MOTION | {"source": "file:///motion"}])
    ),
    mdep(
        NO_CLIMBING, model(model={"source": "pvc://models/a..b"}), model(model={"source": "pvc://models/a/../../b"})
    ),
    mdep(NO_CLIMBING, model(adapters=[MOTION]), model(adapters=[MOTION | {"source": "pvc://models/.."}])),
    mdep("a model takes one Motion adapter at most", model(adapters=[MOTION]), model(adapters=[MOTION, MOTION | {"name": "b"}])),
    mdep(
        "weights kept in float8 take neither a LoRA nor a Motion adapter, which compute with them",
        model(engine={"weightsDtype": "float8"}),
        model(engine={"weightsDtype": "float8"}, adapters=[MOTION]),
    ),
    mdep(
        ADAPTERS,
        model(model={"source": "pvc://models/sd", "family": "StableDiffusion"}, adapters=[MOTION]),
        model(model={"source": "pvc://models/gan", "family": "Onnx"}, adapters=[MOTION]),
    ),
    mdep(
        ADAPTERS,
        model(model={"source": "pvc://models/gan"}, adapters=[MOTION]),
        model(model={"source": "pvc://models/flux", "family": "Flux"}, adapters=[MOTION | {"kind": "LoRA"}]),
    ),
    mdep(
        "gpuProduct needs gpus of at least 1",
        model(resources={"gpus": 1, "gpuProduct": "NVIDIA-H100-80GB-HBM3"}),
        model(resources={"gpuProduct": "NVIDIA-H100-80GB-HBM3"}),
    ),
    mdep(
        CACHE,
        model(model={"source": "pvc://models/sd"}, cache={"persistentVolumeClaim": "models"}),
        model(model={"source": "pvc://models/"}, cache={"persistentVolumeClaim": "models"}),
    ),
    mdep(
        CACHE,
        model(adapters=[MOTION | {"source": "pvc://motion/"}], cache={"persistentVolumeClaim": "models"}),
        model(adapters=[MOTION | {"source": "pvc://models/"}], cache={"persistentVolumeClaim": "models"}),
    ),
    mdep(
        "a source in a bucket needs spec.cache, which it is fetched into",
        model(model={"source": "s3://models/sd"}, cache={"persistentVolumeClaim": "models"}),
        model(model={"source": "s3://models/sd"}),
    ),
    mdep(
        "name exactly one cache: persistentVolumeClaim or emptyDir",
        model(cache={"emptyDir": {"sizeLimit": "8Gi"}}),
        model(cache={"emptyDir": {"sizeLimit": "8Gi"}, "persistentVolumeClaim": "models"}),
    ),
    mdep(
        "name exactly one cache: persistentVolumeClaim or emptyDir",
        model(cache={"persistentVolumeClaim": "models"}),
        model(cache={}),
    ),
    mdep(
        OWN_CACHE,
        model(model={"source": "s3://models/sd", "s3": KEYS}, cache={"emptyDir": {"sizeLimit": "8Gi"}}),
        model(model={"source": "s3://models/sd"}, cache={"emptyDir": {"sizeLimit": "8Gi"}}),
    ),
    mdep(
        OWN_CACHE,
        model(model={"source": "s3://models/sd"}, cache={"persistentVolumeClaim": "models"}),
        model(
            model={"source": "s3://models/sd", "s3": {"region": "eu-central-1"}},
            cache={"emptyDir": {"sizeLimit": "8Gi"}},
        ),
    ),
    mdep(
        "gpuMemory needs gpus of at least 1",
        model(resources={"gpus": 1, "gpuMemory": "22Gi"}),
        model(resources={"gpuMemory": "22Gi"}),
    ),
    mdep(
        "model.s3 says how buckets are reached, and no source is in one: leave it out",
        model(
            model={"source": "pvc://models/sd", "s3": {"region": "eu-central-1"}},
            adapters=[MOTION | {"source": "s3://models/motion"}],
            cache={"persistentVolumeClaim": "kernels"},
        ),
        model(model={"source": "pvc://models/sd", "s3": {"region": "eu-central-1"}}),
    ),
]  # fmt: skip


def prov(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("Provider", message, accepted, refused)


def gclass(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("GenerationClass", message, accepted, refused)


WANTS = {
    "BedrockAsync": {"bucket": {"name": "clips"}},
    "AzureOpenAIImages": {"endpoint": "https://art.openai.azure.com"},
    "AzureMLScore": {"endpoint": "https://mugs.westeurope.inference.ml.azure.com"},
}
"""What a family wants beside a region."""
WITHOUT_REGIONS = ("OpenAIImages", "StabilityV2Beta", "RunwayTasks", "BFLPoll", "FalQueue", "ReplicatePredictions")


def account(family: str, **spec: object) -> Manifest:
    """A Provider of a family with what it wants and these fields; without a region where the family's own host is in none."""
    made = provider(family=family, **WANTS.get(family, {}) | spec)
    return made if "region" in spec or family not in WITHOUT_REGIONS else edited(made, "spec.region", ...)


def deployed(family: str) -> Manifest:
    """The same with a deployment."""
    return account(family, offers=[{"model": "mugs", "deployment": "mugs-prod"}])


SECRET, IDENTITY = {"secretRef": {"name": "aws"}}, {"workloadIdentity": {}}


ONE_OFFER = "stability.stable-image-core-v1:1"
INDEXER = {
    "account": "/subscriptions/b04775c3-63fa-40f3-9430-139d2e5522d3/resourceGroups/art/providers/Microsoft.VideoIndexer/accounts/eyes",
    "perMinute": "0.15",
}
TOKENS = {"amount": "30", "per": "MillionTokens", "tokens": 1500}

CREATING += [
    gen(
        "name exactly one: backends or generationClassName",
        edited(edited(job(), "spec.backends", ...), "spec.generationClassName", "studio"),
        job(generationClassName="studio"),
    ),
    gen("name exactly one: backends or generationClassName", job(), edited(job(), "spec.backends", ...)),
    gen(
        "budget is for jobs of a generationClassName, whose providers cost money",
        edited(job(generationClassName="studio", budget={"max": "2.00"}), "spec.backends", ...),
        job(budget={"max": "2.00"}),
    ),
    gen(
        "onUnsupported is for jobs of a generationClassName, whose providers honour fewer fields",
        edited(job(generationClassName="studio", onUnsupported="Adapt"), "spec.backends", ...),
        job(onUnsupported="Adapt"),
    ),
    prov("name exactly one: secretRef or workloadIdentity", provider(), provider(credentials=SECRET | IDENTITY)),
    prov(
        "name exactly one: secretRef or workloadIdentity", provider(credentials=IDENTITY), provider(credentials={})
    ),
    prov(
        "accounts of this family are spoken to in a region; name it",
        account("OpenAIImages"),
        edited(provider(), "spec.region", ...),
    ),
    *(
        prov(NO_REGION, account(family), account(family, region="us-west-2"))
        for family in ("StabilityV2Beta", "RunwayTasks", "FalQueue", "ReplicatePredictions")
    ),
    *(
        prov(ITS_HOST, account(family, region="eu", endpoint=host), account(family, region="eu"))
        for family, host in (("OpenAIImages", "https://eu.api.openai.com"), ("BFLPoll", "https://api.eu.bfl.ai"))
    ),
    *(
        prov(NO_REGION, account(family, region="westeurope"), account("FalQueue", region="westeurope"))
        for family in ("AzureOpenAIImages", "AzureMLScore")
    ),
    prov(
        "accounts of this family have keys alone; name a Secret",
        account("StabilityV2Beta"),
        account("StabilityV2Beta", credentials=IDENTITY),
    ),
    prov(
        "this family leaves its results in a bucket of the account; name one",
        provider(family="BedrockAsync", bucket={"name": "clips"}),
        provider(family="BedrockAsync"),
    ),
    prov(
        "accounts of this family leave nothing in a bucket; leave it out",
        provider(family="VertexLongRunning", bucket={"name": "clips"}),
        provider(bucket={"name": "clips"}),
    ),
    prov(
        "the account's token goes to this endpoint; name it with https://",
        provider(family="VertexLongRunning", bucket={"name": "clips", "endpoint": "https://store.example.org"}),
        provider(family="VertexLongRunning", bucket={"name": "clips", "endpoint": "http://store.example.org"}),
    ),
    prov(
        "accounts of this family have a host of their own; name its URL",
        provider(family="AzureOpenAIImages", endpoint="https://art.openai.azure.com"),
        provider(family="AzureOpenAIImages"),
    ),
    prov(
        "clips of AzureMLScore alone are indexed; leave it out",
        account("AzureMLScore", videoIndexer=INDEXER),
        account("StabilityV2Beta", videoIndexer=INDEXER),
    ),
    *(
        prov(PROJECTS, account(family, project="art-studio-42"), account("SageMaker", project="art-studio-42"))
        for family in ("VertexGenerateContent", "VertexPredict", "VertexLongRunning", "VertexInteractions")
    ),
    prov(PROJECTS, account("OpenAIImages"), account("OpenAIImages", project="proj-42")),
    *(
        prov(BY_ID, account(family), deployed(family))
        for family in (
            *("BedrockInvoke", "BedrockAsync", "VertexGenerateContent", "VertexLongRunning", "VertexInteractions"),
            *("OpenAIImages", "StabilityV2Beta", "RunwayTasks", "BFLPoll"),
        )
    ),
    *(
        prov(BY_ID, deployed(family), deployed("BedrockInvoke"))
        for family in ("SageMaker", "VertexPredict", "AzureOpenAIImages", "AzureMLScore", "FalQueue", "ReplicatePredictions")
    ),
    prov(
        "tokens are of a price per MillionTokens",
        provider(offers=[{"model": ONE_OFFER, "prices": [TOKENS]}]),
        provider(offers=[{"model": ONE_OFFER, "prices": [TOKENS | {"per": "Image"}]}]),
    ),
    prov(
        "values go with In and NotIn",
        provider(namespaceSelector={"matchExpressions": [{"key": "team", "operator": "In", "values": ["art"]}]}),
        provider(namespaceSelector={"matchExpressions": [{"key": "team", "operator": "NotIn"}]}),
    ),
    prov(
        "values go with In and NotIn",
        provider(namespaceSelector={"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
        provider(namespaceSelector={"matchExpressions": [{"key": "team", "operator": "Exists", "values": ["art"]}]}),
    ),
    prov(
        "each name: A label's name, such as team or example.org/team.",
        provider(namespaceSelector={"matchLabels": {"example.org/team": "art", "tier": ""}}),
        provider(namespaceSelector={"matchLabels": {"the team": "art"}}),
    ),
    prov(
        "each name has at most 316 characters",
        provider(namespaceSelector={"matchLabels": {"a" * 316: "art"}}),
        provider(namespaceSelector={"matchLabels": {"a" * 317: "art"}}),
    ),
    prov(NAME, provider(), edited(provider(), "metadata.name", "a" * 53)),
    gclass(
        "name exactly one: modelDeployment or provider",
        generation_class(backends=[{"provider": {"name": "bedrock-west"}, "models": [ONE_OFFER]}]),
        generation_class(backends=[{"provider": {"name": "b"}, "modelDeployment": {"name": "studio-mini"}}]),
    ),
    gclass("name exactly one: modelDeployment or provider", generation_class(), generation_class(backends=[{}])),
    gclass(
        "models are those of a provider",
        generation_class(backends=[{"provider": {"name": "bedrock-west"}, "models": [ONE_OFFER]}]),
        generation_class(backends=[{"modelDeployment": {"name": "studio-mini"}, "models": [ONE_OFFER]}]),
    ),
    gclass(
        "quality is that of a modelDeployment; a Provider says its offers' own",
        generation_class(backends=[{"modelDeployment": {"name": "studio-mini"}, "quality": 2}]),
        generation_class(backends=[{"provider": {"name": "bedrock-west"}, "quality": 2}]),
    ),
    gclass(
        "queueWaitSeconds goes with QueueWaitAbove",
        generation_class(fallback={"when": ["QueueWaitAbove"], "queueWaitSeconds": 30}),
        generation_class(fallback={"when": ["QueueWaitAbove"]}),
    ),
    gclass(
        "wakeSeconds goes with WakeTimeAbove",
        generation_class(fallback={"when": ["WakeTimeAbove"], "wakeSeconds": 30}),
        generation_class(fallback={"wakeSeconds": 30}),
    ),
    gclass(NAME, generation_class(), edited(generation_class(), "metadata.name", "a" * 53)),
]  # fmt: skip


def fixed(field: str, before: Manifest, refused: Manifest) -> Case:
    """A field that cannot change; the accepted change is one of `suspend`."""
    message = f"{field} cannot change once the object exists"
    return Case("GenerationJob", message, edited(before, "spec.suspend", True), refused, before)


def optional(field: str, one: object, other: object, **spec: object) -> list[Case]:
    """An optional field that cannot change, appear or go."""
    bare = job(**spec)
    first, second = edited(bare, f"spec.{field}", one), edited(bare, f"spec.{field}", other)
    return [fixed(field, first, second), fixed(field, bare, first), fixed(field, first, bare)]


def of_a_class(field: str, one: object, other: object) -> list[Case]:
    """The same of a job that names a class; the class itself cannot appear or go without backends."""
    bare = edited(job(generationClassName="studio"), "spec.backends", ...)
    first, second = edited(bare, f"spec.{field}", one), edited(bare, f"spec.{field}", other)
    if field == "generationClassName":
        return [fixed(field, first, second), fixed(field, job(), bare), fixed(field, bare, job())]
    return [fixed(field, first, second), fixed(field, bare, first), fixed(field, first, bare)]


COLOURS = {"prompts": [{"text": "a {{colour}} mug"}]}

CHANGING = [
    fixed("task", job(), job(task="text-to-video")),
    fixed("backends", job(), job(backends=[{"modelDeployment": "other"}])),
    fixed("prompts", job(), job(prompts=[{"text": "a blue mug"}])),
    fixed("prompts", job(), job(prompts=[{"text": "a red mug"}, {"text": "a blue mug"}])),
    fixed("prompts", latent(), edited(latent(), "spec.prompts", [])),
    fixed("prompts", job(task="latent-to-video"), latent()),
    fixed("inputs", with_image("s3://art/a.png"), with_image("s3://art/b.png")),
    fixed(
        "output", job(output={"store": {"s3": {"bucket": "art"}}}), job(output={"store": {"s3": {"bucket": "other"}}})
    ),
    *of_a_class("generationClassName", "studio", "draft"),
    *of_a_class("budget", {"max": "1.00"}, {"max": "2.00"}),
    *of_a_class("onUnsupported", "Adapt", "Reject"),
    *optional("parameters", {"steps": 20}, {"steps": 21}),
    *optional("parameters", {"endSeed": 1}, {"endSeed": 2}, task="latent-to-video"),
    *optional("adapters", [{"name": "a"}], [{"name": "a", "weight": 0.5}]),
    *optional("quality", "Draft", "Exact"),
    *optional("reproducible", True, False),
    *optional("maxAttempts", 3, 4),
    *optional("failurePolicy", "AllOrNothing", "KeepPartial"),
    *optional("deadlineSeconds", 60, 61),
    *optional("ttlSecondsAfterFinished", 0, 1),
    fixed("matrix", job(**COLOURS, matrix={"colour": ["red"]}), job(**COLOURS, matrix={"colour": ["blue"]})),
    fixed("matrix", job(**COLOURS, matrix={"colour": ["red"]}), job(**COLOURS)),
    fixed("matrix", job(), job(matrix={"colour": ["red"]})),
    Case("GenerationJob", "cancel cannot be taken back", job(cancel=True, suspend=True), job(cancel=False), job(cancel=True)),
    Case("GenerationJob", "cancel cannot be taken back", job(cancel=True), job(), job(cancel=True)),
]  # fmt: skip

BOUNDS = [
    ("spec.parameters.width", [64, 4096, 128.0, None], [63, 56, 4104, 100, "128", 128.5, True]),
    ("spec.parameters.steps", [1, 200], [0, 201]),
    ("spec.parameters.guidanceScale", [0, 50, 3.5], [-0.1, 50.1, "4"]),
    ("spec.parameters.seeds", [[0], [4294967295], [1, 2]], [[], [-1], [4294967296], [1, 1], 1, [None]]),
    ("spec.adapters", [[], [{"name": "a", "weight": -4}, {"name": "b", "weight": 4}]], [[{"name": "a"}] * 2, [{"weight": 1}], [{"name": "A"}], [{"name": "a", "weight": 4.1}], [{"name": f"a{n}"} for n in range(9)]]),
    ("spec.quality", ["Draft", "Standard", "Exact", None], ["draft", "", 1]),
    ("spec.reproducible", [True, False, None], ["yes", 1]),
    ("spec.maxAttempts", [1, 10], [0, 11]),
    ("spec.deadlineSeconds", [1, 2592000], [0, 2592001]),
    ("spec.backends", [[{"modelDeployment": "m"}] * 8], [[], [{"modelDeployment": "m"}] * 9, [{"modelDeployment": "M"}]]),
    ("spec.prompts[0].text", ["x", "é" * 4000, "no\nway"], ["", "é" * 4001, 7, None]),
    ("spec.prompts[0].negative", ["", "x" * 4000], ["x" * 4001, False]),
    ("spec.prompts", [[{"text": "x"}] * 256], [[], [{"text": "x"}] * 257, [{"text": "x", "end": ""}]]),
    ("spec.output.store.s3.bucket", ["art", "a" * 63, "a.b"], ["ab", "Art", "a" * 64, "-art", "art\n"]),
    ("spec.output.store.s3.prefix", ["", "a/b/"], ["a", "/a/", "../", "a//", "a/.b/"]),
    ("spec.output.store.s3.endpoint", ["http://s3:7070"], ["s3:7070", "http://u:p@s3", "http://s3?x", "http://s 3", "http://"]),
    ("spec.output.previews", [{"everySteps": 1}, {"everySteps": 200, "size": 256}], [{}, {"everySteps": 0}, {"size": 64}]),
    ("spec.output.unknown", [], [1, {}, ""]),
]  # fmt: skip
"""Fields of a GenerationJob with values that are right and wrong."""

TASK_BOUNDS = [
    (asking("outpaint", IMAGE), "spec.parameters.expand", [{"top": 2048}, {"left": 8, "right": 16}], [{"top": 2056}, {"top": 4}, {"top": -8}, {"up": 8}, 8]),
    (asking("upscale", IMAGE), "spec.parameters.scale", [2, 4, None], [1, 5, 2.5, "2"]),
    (asking("latent-to-image"), "spec.parameters.truncation", [0.01, 1], [0, 1.01, -1, "1"]),
    (asking("interpolation"), "spec.parameters.endSeed", [0, 4294967295], [-1, 4294967296, "1"]),
    (asking("inpaint", BOTH), "spec.parameters.maskColours", [["#dc143c"], ["#000000", "#0000ff"]], [[], ["#DC143C"], ["red"], ["#dc143c"] * 2, [None], [f"#0000{n:02x}" for n in range(17)]]),
]  # fmt: skip
"""The same for fields that only some tasks take."""

SELECTOR = "spec.namespaceSelector"
PROVIDER_BOUNDS = [
    (SELECTOR, [{}, None, {"matchLabels": {"a": "b"}}], ["art", {"matchLabels": {"a": "b!"}}, {"matchLabels": {"a": 1}}, {"matchNames": ["art"]}]),
    (f"{SELECTOR}.matchLabels", [{f"a{n}": "b" for n in range(16)}], [{f"a{n}": "b" for n in range(17)}, {"a": "b" * 64}]),
    (f"{SELECTOR}.matchExpressions", [[{"key": "a", "operator": "Exists"}] * 16], [[{"key": "a", "operator": "Exists"}] * 17, [{"key": "a", "operator": "Is"}], [{"operator": "Exists"}]]),
    ("spec.endpoint", ["https://h", "https://h.x-y:8443/a/b", "https://[::1]:443"], ["h", "http://h", "https://", "https://h:44a3", "https://h:123456", "https://[::1", "https://u:p@h", "https://h?x", "https://h x"]),
    ("spec.spend.perNamespace", [{}, {"perDay": "5"}, {"perDay": "5", "perMonth": "0.5"}], [{"perDay": 5}, {"perDay": "-1"}, {"perYear": "5"}]),
]  # fmt: skip
CLASS_BOUNDS = [
    ("spec.backends[0].provider", [{"name": "west"}, {"name": "west", "namespace": "platform"}, {"name": "west", "namespace": None}], [{"namespace": "platform"}, {"name": "west", "namespace": "Platform"}, {"name": "west", "namespace": "a" * 64}]),
]  # fmt: skip

MODEL_BOUNDS = [
    ("spec.replicas", [0, 64, None], [-1, 65, "1"]),
    ("spec.model.source", ["builtin://miniature", "pvc://m/", "pvc://m/a b"], ["builtin://", "hf://a/b", "pvc://m//a", "pvc://m/\n"]),
    ("spec.model.digest", ["sha256:" + "0" * 64], ["sha256:0", "0" * 64]),
    ("spec.resources.cpu", [1, 9999, "9999", "500m", "0.5"], [0, -1, 10000, "10000", 0.5, "0m", "1.", "1e3", True]),
    ("spec.resources.memory", ["1Mi", "4Gi"], ["0Gi", "4GB", "4", 4]),
    ("spec.engine.shapes", [[{"width": 64, "height": 4096}]], [[{"width": 64}], [{"width": 65, "height": 64}]]),
    ("spec.model.family", ["StableDiffusion", "Flux2", "Onnx"], ["StableDiffusion2", "onnx", ""]),
    ("spec.engine.quality", ["Draft", "Exact", None], ["Best", 1]),
    ("spec.adapters", [[MOTION], [MOTION, LORA, CONTROLNET]], [[MOTION, MOTION], [MOTION | {"kind": "IP"}], [{"name": "m"}]]),
    ("spec.rollout.strategy", ["Surge"], ["surge", ""]),
    ("spec.scaling", [{"maxReplicas": 1}, {"maxReplicas": 64}, None], [{}, {"maxReplicas": 0}, {"maxReplicas": 65}, {"maxReplicas": 1, "engine": "VPA"}, {"maxReplicas": 1, "targetBacklogSeconds": 0}, {"maxReplicas": 1, "idleSeconds": -1}]),
    ("spec.scaling", [{"maxReplicas": 1, "query": "sum(q)", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}], [{"maxReplicas": 1, "query": ""}, {"maxReplicas": 1, "behavior": {"scaleUp": {}}}, {"maxReplicas": 1, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3601}}}]),
    ("spec.scaling", [{"maxReplicas": 2, "schedules": office(1)}, {"maxReplicas": 2, "schedules": [office(1)[0] | {"days": ["Mon"], "timeZone": "Europe/Berlin"}]}], [{"maxReplicas": 2, "schedules": [office(1)[0] | wrong]} for wrong in ({"days": []}, {"days": ["Mon", "Mon"]}, {"days": ["monday"]}, {"start": "8:00"}, {"end": "24:00"}, {"timeZone": "../etc"}, {"minReplicas": -1})]),
]  # fmt: skip
