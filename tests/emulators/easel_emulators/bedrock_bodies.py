"""JSON Schemas of what Stability AI's models take inside InvokeModel's body.

By hand, from docs.aws.amazon.com/bedrock/latest/userguide: model-parameters-diffusion-stable-image-core-text-image-request-response,
…-stable-ultra-text-image-request-response, …-diffusion-3-5-large, and stable-image-services; read 2026-11-28. Unknown fields fail.
`OWN` is what the company's own API has beside them, by the schemas of docs.comfy.org's router (stability/…; read 2026-11-29).
"""

from __future__ import annotations

from typing import Any

PROMPT = {"type": "string", "minLength": 0, "maxLength": 10000}
SEED = {"type": "integer", "minimum": 0, "maximum": 4294967294}
RATIO = {"enum": ["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"]}
PICTURE = {"type": "string", "contentEncoding": "base64", "minLength": 1}
SIDE = {"type": "integer", "minimum": 0, "maximum": 2000}
GROWN = {"type": "integer", "minimum": 0, "maximum": 20}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _body(required: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    common = {"prompt": PROMPT, "negative_prompt": PROMPT, "seed": SEED, "output_format": {"enum": ["jpeg", "png"]}}
    return {
        "type": "object",
        "properties": common | fields,
        "required": ["prompt", *required],
        "additionalProperties": False,
    }


def _mute(*pictures: str, **fields: Any) -> dict[str, Any]:
    """Of a service that reads no words."""
    return {
        "type": "object",
        "properties": {"output_format": {"enum": ["jpeg", "png"]}} | dict.fromkeys(pictures, PICTURE) | fields,
        "required": list(pictures),
        "additionalProperties": False,
    }


_IMAGE_TO_IMAGE = {
    "if": {"properties": {"mode": {"const": "image-to-image"}}, "required": ["mode"]},
    "then": {"required": ["image", "strength"], "not": {"required": ["aspect_ratio"]}},
    "else": {"not": {"anyOf": [{"required": ["image"]}, {"required": ["strength"]}]}},
}
BODIES: dict[str, dict[str, Any]] = {
    "stability.stable-image-core-v1:1": _body((), aspect_ratio=RATIO),
    "stability.stable-image-ultra-v1:1": _body((), aspect_ratio=RATIO),
    "stability.sd3-5-large-v1:0": _body(
        (), aspect_ratio=RATIO, mode={"enum": ["text-to-image", "image-to-image"]}, image=PICTURE, strength=SHARE
    )
    | _IMAGE_TO_IMAGE,
    "us.stability.stable-image-inpaint-v1:0": _body(("image",), image=PICTURE, mask=PICTURE, grow_mask=GROWN),
    "us.stability.stable-image-erase-object-v1:0": _mute("image", "mask", seed=SEED, grow_mask=GROWN),
    "us.stability.stable-image-search-replace-v1:0": _body(
        ("image", "search_prompt"), image=PICTURE, search_prompt=PROMPT, grow_mask=GROWN
    ),
    "us.stability.stable-image-search-recolor-v1:0": _body(
        ("image", "select_prompt"), image=PICTURE, select_prompt=PROMPT, grow_mask=GROWN
    ),
    "us.stability.stable-image-remove-background-v1:0": _mute("image"),
    "us.stability.stable-image-style-guide-v1:0": _body(("image",), image=PICTURE, aspect_ratio=RATIO, fidelity=SHARE),
    "us.stability.stable-style-transfer-v1:0": _body(
        ("init_image", "style_image"),
        init_image=PICTURE,
        style_image=PICTURE,
        style_strength=SHARE,
        composition_fidelity=SHARE,
        change_strength=SHARE,
    )
    | {"required": ["init_image", "style_image"]},
    "us.stability.stable-fast-upscale-v1:0": _mute("image"),
    "us.stability.stable-conservative-upscale-v1:0": _body(("image",), image=PICTURE, creativity=SHARE),
    "us.stability.stable-creative-upscale-v1:0": _body(("image",), image=PICTURE, creativity=SHARE),
    "us.stability.stable-outpaint-v1:0": _body(("image",), image=PICTURE, left=SIDE, right=SIDE, up=SIDE, down=SIDE),
    "us.stability.stable-image-control-sketch-v1:0": _body(("image",), image=PICTURE, control_strength=SHARE),
    "us.stability.stable-image-control-structure-v1:0": _body(("image",), image=PICTURE, control_strength=SHARE),
}
OWN: dict[str, dict[str, Any]] = {
    "replace-background-and-relight": {
        "type": "object",
        "properties": {
            "subject_image": PICTURE,
            "background_prompt": PROMPT,
            "background_reference": PICTURE,
            "foreground_prompt": PROMPT,
            "negative_prompt": PROMPT,
            "preserve_original_subject": SHARE,
            "original_background_depth": SHARE,
            "keep_original_background": {"enum": ["true", "false"]},
            "light_source_direction": {"enum": ["above", "below", "right"]},
            "light_reference": PICTURE,
            "light_source_strength": SHARE,
            "seed": SEED,
            "output_format": {"enum": ["jpeg", "png"]},
        },
        "required": ["subject_image"],
        "anyOf": [{"required": ["background_prompt"]}, {"required": ["background_reference"]}],
        "additionalProperties": False,
    },
}
"""Of services that Bedrock does not have."""
