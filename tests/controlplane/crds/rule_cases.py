"""For each rule of the CRDs, manifests that it accepts and refuses.

A rule is named by its kind and message. Cases that only change an object once it exists hold the object before, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from api_manifests import Manifest, edited, job, model


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
MOTION = {"name": "motion", "kind": "Motion", "source": "builtin://miniature/motion"}
FILE = "file:// works with `easel run` only; in a cluster use"
NO_CLIMBING = "a path must not climb: remove the .. from it"
NAME = "a name has at most 52 lower-case letters, digits and -, with a letter or digit at both ends"
FORMATS = "pictures are png, jpeg or webp; clips are mp4, gif or webp"
INPUT_STORE = "an s3:// input is read with the endpoint and credentials of output.store.s3, which is missing"


def gen(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("GenerationJob", message, accepted, refused)


def mdep(message: str, accepted: Manifest, refused: Manifest) -> Case:
    return Case("ModelDeployment", message, accepted, refused)


def with_image(uri: str, **more: object) -> Manifest:
    return job(task="image-to-image", inputs={"image": {"uri": uri}}, **more)


def with_mask(uri: str, **more: object) -> Manifest:
    return job(task="inpaint", inputs=IMAGE | {"mask": {"uri": uri}}, **more)


def named(manifest: Manifest, name: str) -> Manifest:
    return edited(manifest, "metadata.name", name)


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
    gen(
        "image-to-image and inpaint need inputs.image; other tasks take none",
        job(task="image-to-image", inputs=IMAGE),
        job(task="image-to-image"),
    ),
    gen("image-to-image and inpaint need inputs.image; other tasks take none", job(), job(inputs=IMAGE)),
    gen(
        "inpaint needs inputs.mask; other tasks take none", job(task="inpaint", inputs=BOTH), job(task="inpaint", inputs=IMAGE)
    ),
    gen(
        "inpaint needs inputs.mask; other tasks take none",
        job(task="image-to-image", inputs=IMAGE),
        job(task="image-to-image", inputs=BOTH),
    ),
    gen(
        "strength is for image-to-image and inpaint only",
        job(task="image-to-image", inputs=IMAGE, parameters={"strength": 0.5}),
        job(parameters={"strength": 0.5}),
    ),
    gen(
        "frames is for text-to-video only", job(task="text-to-video", parameters={"frames": 8}), job(parameters={"frames": 8})
    ),
    gen("fps is for text-to-video only", job(task="text-to-video", parameters={"fps": 8}), job(parameters={"fps": 8})),
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
    gen(INPUT_STORE, with_image("pvc://in/mug.png", output=CLAIM), with_image("s3://art/mug.png", output=CLAIM)),
    gen(NO_CLIMBING, with_image("s3://art/a..b.png"), with_image("pvc://in/a/../../b.png")),
    gen(NO_CLIMBING, with_mask("pvc://in/a.png"), with_mask("pvc://in/..")),
    gen("each name: Letters, digits and _, starting with a letter.", with_matrix("colour_1"), with_matrix("1colour")),
    gen("each name has at most 63 characters", with_matrix("x" * 63), with_matrix("x" * 64)),
    mdep(NAME, named(model(), "m" * 52), named(model(), "m" * 53)),
    mdep(
        "the name of a ModelDeployment starts with a letter, since it names a Service too",
        named(model(), "d3"),
        named(model(), "3d"),
    ),
    mdep(f"{FILE} builtin:// or pvc://", model(model={"source": "pvc://models/sd"}), model(model={"source": "file:///sd"})),
    mdep(
        f"{FILE} builtin:// or pvc://", model(adapters=[MOTION]), model(adapters=[MOTION | {"source": "file:///motion"}])
    ),
    mdep(
        NO_CLIMBING, model(model={"source": "pvc://models/a..b"}), model(model={"source": "pvc://models/a/../../b"})
    ),
    mdep(NO_CLIMBING, model(adapters=[MOTION]), model(adapters=[MOTION | {"source": "pvc://models/.."}])),
    mdep("a model takes one Motion adapter at most", model(adapters=[MOTION]), model(adapters=[MOTION, MOTION | {"name": "b"}])),
    mdep(
        "gpuProduct needs gpus of at least 1",
        model(resources={"gpus": 1, "gpuProduct": "NVIDIA-H100-80GB-HBM3"}),
        model(resources={"gpuProduct": "NVIDIA-H100-80GB-HBM3"}),
    ),
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


COLOURS = {"prompts": [{"text": "a {{colour}} mug"}]}

CHANGING = [
    fixed("task", job(), job(task="text-to-video")),
    fixed("backends", job(), job(backends=[{"modelDeployment": "other"}])),
    fixed("prompts", job(), job(prompts=[{"text": "a blue mug"}])),
    fixed("prompts", job(), job(prompts=[{"text": "a red mug"}, {"text": "a blue mug"}])),
    fixed("inputs", with_image("s3://art/a.png"), with_image("s3://art/b.png")),
    fixed(
        "output", job(output={"store": {"s3": {"bucket": "art"}}}), job(output={"store": {"s3": {"bucket": "other"}}})
    ),
    *optional("parameters", {"steps": 20}, {"steps": 21}),
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
    ("spec.maxAttempts", [1, 10], [0, 11]),
    ("spec.deadlineSeconds", [1, 2592000], [0, 2592001]),
    ("spec.backends", [[{"modelDeployment": "m"}] * 8], [[], [{"modelDeployment": "m"}] * 9, [{"modelDeployment": "M"}]]),
    ("spec.prompts[0].text", ["x", "é" * 4000, "no\nway"], ["", "é" * 4001, 7, None]),
    ("spec.prompts[0].negative", ["", "x" * 4000], ["x" * 4001, False]),
    ("spec.output.store.s3.bucket", ["art", "a" * 63, "a.b"], ["ab", "Art", "a" * 64, "-art", "art\n"]),
    ("spec.output.store.s3.prefix", ["", "a/b/"], ["a", "/a/", "../", "a//", "a/.b/"]),
    ("spec.output.store.s3.endpoint", ["http://s3:7070"], ["s3:7070", "http://u:p@s3", "http://s3?x", "http://s 3", "http://"]),
    ("spec.output.previews", [{"everySteps": 1}, {"everySteps": 200, "size": 256}], [{}, {"everySteps": 0}, {"size": 64}]),
    ("spec.output.unknown", [], [1, {}, ""]),
]  # fmt: skip
"""Fields of a GenerationJob with values that are right and wrong."""

MODEL_BOUNDS = [
    ("spec.replicas", [0, 64, None], [-1, 65, "1"]),
    ("spec.model.source", ["builtin://miniature", "pvc://m/", "pvc://m/a b"], ["builtin://", "hf://a/b", "pvc://m//a", "pvc://m/\n"]),
    ("spec.model.digest", ["sha256:" + "0" * 64], ["sha256:0", "0" * 64]),
    ("spec.resources.cpu", [1, 9999, "9999", "500m", "0.5"], [0, -1, 10000, "10000", 0.5, "0m", "1.", "1e3", True]),
    ("spec.resources.memory", ["1Mi", "4Gi"], ["0Gi", "4GB", "4", 4]),
    ("spec.engine.shapes", [[{"width": 64, "height": 4096}]], [[{"width": 64}], [{"width": 65, "height": 64}]]),
    ("spec.adapters", [[MOTION]], [[MOTION, MOTION], [MOTION | {"kind": "LoRA"}], [{"name": "m"}]]),
    ("spec.rollout.strategy", ["Surge"], ["surge", ""]),
]  # fmt: skip
