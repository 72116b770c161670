"""Manifests for tests of the contract: plain examples, edits of them, and generators that follow the schemas."""

from __future__ import annotations

import copy
import re
from typing import Any

from hypothesis import strategies as st

from easel_api.base import NAME_PATTERN, OBJECT_NAME_PATTERN
from easel_api.generationclass import GenerationClass
from easel_api.generationjob import (
    CLIP_FORMATS,
    COLOUR_PATTERN,
    PICTURE_FORMATS,
    PREFIX_PATTERN,
    VARIABLE_PATTERN,
    GenerationJob,
)
from easel_api.modeldeployment import (
    CPU_PATTERN,
    DIGEST_PATTERN,
    MEMORY_PATTERN,
    PRODUCT_PATTERN,
    ModelDeployment,
)
from easel_api.offers import CURRENCY_PATTERN, MONEY_PATTERN, RATIO_PATTERN, TIER_PATTERN, WireFamily
from easel_api.provider import (
    DAY_PATTERN,
    HTTPS_PATTERN,
    IN_REGIONS,
    INDEXER_PATTERN,
    MODEL_ID_PATTERN,
    OF_A_PLACE,
    OF_GOOGLE,
    OF_ONE_HOST,
    PROJECT_PATTERN,
    WITH_DEPLOYMENTS,
    WITH_REGIONAL_HOSTS,
    Provider,
)
from easel_api.s3 import ENDPOINT_PATTERN, REGION_PATTERN
from easel_api.scaling import CLOCK_PATTERN, TIME_ZONE_PATTERN
from easel_api.schema import Schema, json_schema
from easel_api.selectors import LABEL_PATTERN, LABEL_VALUE_PATTERN
from easel_api.tasks import OWN, TAKES, Task
from easel_api.uris import BUCKET_PATTERN, INPUT_PATTERN, MODEL_PATTERN

Manifest = dict[str, Any]

MATCHING: dict[str, list[str]] = {
    NAME_PATTERN: ["a", "studio-mini", "0-9", "a" * 52],
    OBJECT_NAME_PATTERN: ["art", "art.bucket-1", "a" * 253],
    VARIABLE_PATTERN: ["colour", "A_1", "x" * 63],
    ENDPOINT_PATTERN: ["http://s3:7070", "https://s3.example.org/base"],
    PREFIX_PATTERN: ["", "art/", "art/m.u-g_s/"],
    REGION_PATTERN: ["us-east-1"],
    COLOUR_PATTERN: ["#dc143c", "#000000", "#ffffff", "#0a1b2c"],
    CPU_PATTERN: ["1", "500m", "0.5", "1.125"],
    MEMORY_PATTERN: ["1Mi", "16Gi"],
    CLOCK_PATTERN: ["00:00", "23:59"],
    TIME_ZONE_PATTERN: ["Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"],
    PRODUCT_PATTERN: ["NVIDIA-H100-80GB-HBM3", "A"],
    MONEY_PATTERN: ["0", "0.04", "999999.999999"],
    RATIO_PATTERN: ["16:9", "1:1"],
    TIER_PATTERN: ["720p", "4k", "2K", "0.5K"],
    MODEL_ID_PATTERN: ["stability.stable-image-core-v1:1", "gpt-image-2", "fal-ai/flux/dev"],
    HTTPS_PATTERN: ["https://bedrock.example.org", "https://10.0.0.1:8443/base"],
    DAY_PATTERN: ["2026-11-28", "2026-11"],
    PROJECT_PATTERN: ["art-studio-42"],
    INDEXER_PATTERN: [
        "/subscriptions/b04775c3-63fa-40f3-9430-139d2e5522d3/resourceGroups/art/providers/Microsoft.VideoIndexer/accounts/eyes"
    ],
    LABEL_PATTERN: ["team", "example.org/team", "kubernetes.io/metadata.name"],
    LABEL_VALUE_PATTERN: ["", "art", "A_1.b"],
    CURRENCY_PATTERN: ["USD", "EUR"],
    DIGEST_PATTERN: ["sha256:" + "0a" * 32],
    BUCKET_PATTERN: ["art", "a.b-c", "a" * 63],
    INPUT_PATTERN: ["s3://art/in/mug.png", "pvc://claim/in/mug.png", "pvc://claim/../x", "file:///tmp/../mug.png"],
    MODEL_PATTERN: [
        "builtin://miniature",
        "builtin://miniature/generator-gan",
        "pvc://models/sd",
        "pvc://models/a/../b",
        "pvc://models/",
        "s3://models/sd15",
        "file://model",
    ],
}
"""Values that match each pattern of the contract."""


def job(**spec: Any) -> Manifest:
    """A small GenerationJob that a cluster takes, with these fields of its spec."""
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": "mugs"},
        "spec": {
            "task": "text-to-image",
            "backends": [{"modelDeployment": "studio-mini"}],
            "prompts": [{"text": "a red mug"}],
            "output": {"store": {"s3": {"bucket": "art"}}},
        }
        | spec,
    }


def model(**spec: Any) -> Manifest:
    """A small ModelDeployment, with these fields of its spec."""
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "studio-mini"},
        "spec": {"model": {"source": "builtin://miniature"}} | spec,
    }


def provider(**spec: Any) -> Manifest:
    """A small Provider, with these fields of its spec."""
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "Provider",
        "metadata": {"name": "bedrock-west"},
        "spec": {
            "family": "BedrockInvoke",
            "region": "us-west-2",
            "credentials": {"secretRef": {"name": "aws"}},
            "offers": [{"model": "stability.stable-image-core-v1:1"}],
        }
        | spec,
    }


def generation_class(**spec: Any) -> Manifest:
    """A small GenerationClass, with these fields of its spec."""
    return {
        "apiVersion": "easel.dev/v1alpha1",
        "kind": "GenerationClass",
        "metadata": {"name": "studio"},
        "spec": {"backends": [{"modelDeployment": {"name": "studio-mini"}}]} | spec,
    }


def steps_of(path: str) -> list[str | int]:
    """`spec.prompts[0].text` as names and places."""
    return [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]


def edited(manifest: Manifest, path: str, value: object) -> Manifest:
    """A copy with `value` at `path`; mappings on the way are made, `...` removes what is there."""
    changed = copy.deepcopy(manifest)
    *way, last = steps_of(path)
    here: Any = changed
    for step in way:
        here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
    if value is ...:
        del here[last]
    elif isinstance(here, list) and last == len(here):
        here.append(value)
    else:
        here[last] = value
    return changed


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that a schema of the contract allows, small ones."""
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if schema.get("x-kubernetes-int-or-string"):
        return st.sampled_from([1, 64, *MATCHING[schema["pattern"]]])
    return _BY_TYPE[schema["type"]](schema)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.sampled_from(MATCHING[schema["pattern"]])
    plain = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=schema.get("minLength", 0), max_size=20)
    return plain | st.sampled_from(["a {{colour}} mug", "no", "1e3", "y", "2024-01-01", "{{x"])


def _integers(schema: Schema) -> st.SearchStrategy[int]:
    step = schema.get("multipleOf", 1)
    low, high = schema.get("minimum", 0), schema.get("maximum", 2**40)
    return st.integers(-(-low // step), high // step).map(lambda number: number * step)


def _numbers(schema: Schema) -> st.SearchStrategy[float]:
    exclusive = "exclusiveMinimum" in schema
    low = schema["exclusiveMinimum"] if exclusive else schema.get("minimum", 0)
    return st.floats(low, schema.get("maximum", 1e9), exclude_min=exclusive, allow_subnormal=False)


def _lists(schema: Schema) -> st.SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    unique = {
        None: None,
        "set": lambda item: item,
        "map": lambda item: tuple(item[key] for key in keys or ()),
    }[schema.get("x-kubernetes-list-type")]
    return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3, unique_by=unique)


def _objects(schema: Schema) -> st.SearchStrategy[Manifest]:
    if "properties" not in schema:
        (pattern, inner), *_ = schema["patternProperties"].items()
        return st.dictionaries(st.sampled_from(MATCHING[pattern]), values(inner), max_size=2)
    required = set(schema.get("required", []))
    fields = {name: values(child) for name, child in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required},
        optional={name: fields[name] for name in fields if name not in required},
    )


_BY_TYPE = {
    "string": _strings,
    "integer": _integers,
    "number": _numbers,
    "boolean": lambda _: st.booleans(),
    "array": _lists,
    "object": _objects,
}


def specs(kind: type[GenerationJob | ModelDeployment | Provider | GenerationClass]) -> st.SearchStrategy[Manifest]:
    """Specs that the schema of a kind allows; its rules may refuse them."""
    return values(json_schema(kind)["properties"]["spec"])


jobs = specs(GenerationJob).map(lambda spec: job() | {"spec": spec})
models = specs(ModelDeployment).map(lambda spec: model() | {"spec": spec})
providers = specs(Provider).map(lambda spec: provider() | {"spec": spec})
classes = specs(GenerationClass).map(lambda spec: generation_class() | {"spec": spec})

FITTING = {
    "image": "image", "mask": "mask", "control": "control", "clip": "clip", "style": "style", "garment": "garment", "strength": "strength", "frames": "video",
    "fps": "video", "endSeed": "end", "maskColours": "mask", "expand": "expand", "scale": "scale", "truncation": "truncation",
}  # fmt: skip
"""Inputs and parameters, each with what a task takes when it takes them."""


@st.composite
def fitting_jobs(draw: st.DrawFn) -> Manifest:
    """Jobs that hold what their task needs and nothing that it does not take; few of any jobs do."""
    spec = dict(draw(jobs)["spec"])
    task = Task(spec["task"])
    takes = TAKES[task]
    taken = {name for name, part in FITTING.items() if getattr(takes, part)}
    schema = json_schema(GenerationJob)["properties"]["spec"]["properties"]
    spec["inputs"] = {
        name: draw(values(schema["inputs"]["properties"][name]))
        for name in schema["inputs"]["properties"]
        if name in taken
    }
    parameters = {
        name: value for name, value in spec.get("parameters", {}).items() if name in taken or name not in FITTING
    }
    if takes.expand:
        parameters["expand"] = {"left": 8}
    if takes.expand or "scale" in parameters:
        parameters = {name: value for name, value in parameters.items() if name not in {"width", "height"}}
    more = {"end": "a blue mug"} if takes.end else {"search": "the mug"} if takes.search else {}
    count = 0 if takes.mute else draw(st.integers(0 if takes.wordless else 1, 3))
    spec["prompts"] = [{"text": "a red mug"} | more] * count
    own = draw(st.booleans()) and task in OWN
    spec |= {"backends": [{"modelDeployment": "studio-mini"}]} if own else {"generationClassName": "studio"}
    for name in ("matrix", "generationClassName" if own else "backends"):
        spec.pop(name, None)
    if own:
        spec = {name: value for name, value in spec.items() if name not in ("budget", "onUnsupported")}
    output = {"store": {"s3": {"bucket": "art"}}}
    formats = CLIP_FORMATS if takes.video else ("png",) if takes.transparent else PICTURE_FORMATS
    return job() | {
        "spec": spec | {"parameters": parameters, "output": output | {"format": draw(st.sampled_from(formats))}}
    }


@st.composite
def fitting_providers(draw: st.DrawFn) -> Manifest:
    """Providers with what their family wants and little that it does not heed; few of any Providers are."""
    spec = dict(draw(providers)["spec"])
    family = WireFamily(spec["family"])
    heeded = {
        "region": family in OF_A_PLACE,
        "project": family in OF_GOOGLE,
        "videoIndexer": family is WireFamily.AZURE_ML_SCORE,
        "bucket": family in {WireFamily.BEDROCK_ASYNC, WireFamily.SAGEMAKER, WireFamily.VERTEX_LONG_RUNNING},
    }
    spec = {name: value for name, value in spec.items() if heeded.get(name, True)}
    wanted = {
        "region": ("us-east-1", family in IN_REGIONS),
        "endpoint": (
            "https://10.0.0.1:8443",
            family in OF_ONE_HOST or (family in WITH_REGIONAL_HOSTS and "region" in spec),
        ),
        "bucket": ({"name": "art"}, family is WireFamily.BEDROCK_ASYNC),
    }
    wants = {name: value for name, (value, is_wanted) in wanted.items() if is_wanted}
    offers = [
        {name: value for name, value in offer.items() if name != "deployment" or family in WITH_DEPLOYMENTS}
        for offer in spec["offers"]
    ]
    for offer in offers:
        if any(price["per"] != "MillionTokens" for price in offer.get("prices", [])):
            offer.pop("prices")
    return provider() | {"spec": wants | spec | {"offers": offers, "credentials": {"secretRef": {"name": "keys"}}}}


WEIRD: list[object] = [None, True, -1, 0, 3.5, 10**6, 10**20, "", "x", "é" * 5000, [], [None], {}, {"x": 1}, ["a", "a"]]
"""Values that belong nowhere, or in few places."""


@st.composite
def broken(draw: st.DrawFn, manifests: st.SearchStrategy[Manifest]) -> Manifest:
    """A manifest in which one thing of the spec is replaced, added or removed."""
    manifest = draw(manifests)
    *way, last = draw(st.sampled_from(_places(manifest["spec"], ["spec"])))
    here: Any = copy.deepcopy(manifest)
    whole = here
    for step in way:
        here = here[step]
    match draw(st.sampled_from(["replace", "remove", "misspell"])):
        case "remove":
            del here[last]
        case "misspell" if isinstance(here, dict):
            here[f"{last}X"] = here.pop(last)
        case _:
            here[last] = draw(st.sampled_from(WEIRD))
    return whole


def _places(value: object, way: list[Any]) -> list[list[Any]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    found = [[*way, key] for key, _ in inner]
    for key, child in inner:
        found += _places(child, [*way, key])
    return found
