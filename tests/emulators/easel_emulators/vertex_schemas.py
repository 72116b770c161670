"""What requests to Vertex AI and its answers may hold: unknown fields fail.

From Google's Discovery document (aiplatform v1, revision 20261106, in google-api-python-client), which says `any` of what predict and
predictLongRunning take: Veo's instances and parameters are by hand from docs.cloud.google.com (VideoGenerationModelInstance and
VideoGenerationModelParams, read 2026-11-29), with the names that google-genai's converter writes, and so are those of Virtual Try-On
(VirtualTryOnModelInstance, VirtualTryOnModelParams and the same types of the RPC reference, read 2026-11-29). What the Interactions API takes is
from the types of google-genai 3.6.1, since the document has it as bytes alone.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from importlib import resources
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin

import jsonschema
from typing_extensions import TypeAliasType, get_type_hints, is_typeddict

INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}
PICTURE = {
    "type": "object",
    "properties": {
        "bytesBase64Encoded": {"type": "string", "format": "byte"},
        "mimeType": {"enum": ["image/png", "image/jpeg", "image/webp"]},
    },
    "required": ["bytesBase64Encoded", "mimeType"],
    "additionalProperties": False,
}
VEO = {
    "type": "object",
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {"prompt": {"type": "string"}, "image": PICTURE},
                "anyOf": [{"required": ["prompt"]}, {"required": ["image"]}],
                "additionalProperties": False,
            },
        },
        "parameters": {
            "type": "object",
            "properties": {
                "sampleCount": {"type": "integer", "minimum": 1, "maximum": 4},
                "durationSeconds": {"enum": [4, 6, 8]},
                "aspectRatio": {"enum": ["16:9", "9:16"]},
                "resolution": {"enum": ["720p", "1080p", "4k"]},
                "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
                "fps": {"type": "integer", "minimum": 1},
                "negativePrompt": {"type": "string"},
                "generateAudio": {"type": "boolean"},
                "enhancePrompt": {"type": "boolean"},
                "storageUri": {"type": "string", "pattern": "^gs://"},
                "personGeneration": {"enum": ["dont_allow", "allow_adult", "allow_all"]},
            },
            "additionalProperties": False,
        },
    },
    "required": ["instances"],
    "additionalProperties": False,
}
WORN = {
    "type": "object",
    "properties": {
        "image": {
            "type": "object",
            "properties": {
                "bytesBase64Encoded": {"type": "string", "format": "byte"},
                "mimeType": {"enum": ["image/png", "image/jpeg"]},
            },
            "required": ["bytesBase64Encoded"],
            "additionalProperties": False,
        }
    },
    "required": ["image"],
    "additionalProperties": False,
}
TRY_ON = {
    "type": "object",
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                # Without prompt, which few accounts may send (google-genai, recontext_image).
                "properties": {
                    "personImage": WORN,
                    "productImages": {"type": "array", "minItems": 1, "maxItems": 1, "items": WORN},
                },
                "required": ["personImage", "productImages"],
                "additionalProperties": False,
            },
        },
        "parameters": {
            "type": "object",
            # Without storageUri, which has the result lie in a bucket.
            "properties": {
                "sampleCount": {"type": "integer", "minimum": 1, "maximum": 4},
                "seed": {"type": "integer", **INT32},
                "baseSteps": {"type": "integer", **INT32, "minimum": 1},
                # The reference has hyphens, and the official client capitals with underscores.
                "safetySetting": {
                    "type": "string",
                    "pattern": "(?i)^block[-_](low[-_]and[-_]above|medium[-_]and[-_]above|only[-_]high|none)$",
                },
                "personGeneration": {"type": "string", "pattern": "(?i)^(dont[-_]allow|allow[-_]adult|allow[-_]all)$"},
                "addWatermark": {"type": "boolean"},
                "enhancePrompt": {"type": "boolean"},
                "outputOptions": {
                    "type": "object",
                    "properties": {
                        "mimeType": {"enum": ["image/png", "image/jpeg"]},
                        "compressionQuality": {"type": "integer", "minimum": 0, "maximum": 100},
                    },
                    "additionalProperties": False,
                },
            },
            # A seed goes with addWatermark: false alone.
            "dependentSchemas": {
                "seed": {"required": ["addWatermark"], "properties": {"addWatermark": {"const": False}}}
            },
            "additionalProperties": False,
        },
        "labels": {},
    },
    "required": ["instances"],
    "additionalProperties": False,
}
CHECKS = jsonschema.FormatChecker(formats=())


@CHECKS.checks("byte", raises=ValueError)
def _is_base64(value: object) -> bool:
    return not isinstance(value, str) or base64.b64decode(value, validate=True) is not None


def check(body: Any, schema: dict[str, Any]) -> None:
    """Raises `jsonschema.ValidationError`."""
    jsonschema.Draft202012Validator(schema, format_checker=CHECKS).validate(body)


def discovered(name: str) -> dict[str, Any]:
    """A message of the Discovery document, as `GoogleCloudAiplatformV1PredictRequest`."""
    return {"$ref": f"#/$defs/{name}", "$defs": _document()}


@cache
def _document() -> dict[str, Any]:
    place = resources.files("googleapiclient.discovery_cache").joinpath("documents/aiplatform.v1.json")
    told = json.loads(place.read_text(encoding="utf-8"))
    return {name: _converted(schema) for name, schema in told["schemas"].items()}


def _converted(schema: dict[str, Any]) -> dict[str, Any]:
    """Google's JSON Schema draft 3 as 2020-12."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    kind = schema.get("type")
    if kind == "any":
        return {}
    made: dict[str, Any] = {"type": kind}
    if "enum" in schema:
        made["enum"] = schema["enum"]
    if schema.get("format") in ("byte", "int32"):
        made |= INT32 if schema["format"] == "int32" else {"format": "byte"}
    if kind == "array":
        made["items"] = _converted(schema["items"])
    if kind == "object":
        made["properties"] = {name: _converted(each) for name, each in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        made["additionalProperties"] = _converted(more) if more else False
    return made


@cache
def typed(name: str) -> dict[str, Any]:
    """A `TypedDict` of google-genai's interactions, as `CreateModelInteractionParam`."""
    from google.genai._gaos.types import interactions

    return _of(getattr(interactions, name))


def _of(hint: Any) -> dict[str, Any]:
    """A type's schema. Words that the client does not know, and objects of no shape, are not taken."""
    while isinstance(hint, TypeAliasType):
        hint = hint.__value__
    if is_typeddict(hint):
        hints = get_type_hints(hint, include_extras=True)
        return {
            "type": "object",
            "properties": {name: _of(each) for name, each in hints.items()},
            "required": [name for name, each in hints.items() if get_origin(each) is not NotRequired],
            "additionalProperties": False,
        }
    parts = get_args(hint)
    match get_origin(hint) or hint:
        case origin if origin in (NotRequired, Annotated):
            return _of(parts[0])
        case origin if origin is Literal:
            return {"enum": list(parts)}
        case origin if origin is list:
            return {"type": "array", "items": _of(parts[0])}
        case origin if origin is dict:
            return {"type": "object"}
        case origin if origin in (str, int, float, bool, NoneType):
            names = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
            return {"type": names[origin]}
    known = [_of(each) for each in parts if get_origin(each) is not dict]
    return {"anyOf": [each for each in known if each]} if known else {}
