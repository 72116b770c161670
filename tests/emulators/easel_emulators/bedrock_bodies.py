"""JSON Schemas of what Stability AI's models take inside InvokeModel's body.

By hand, from docs.aws.amazon.com/bedrock/latest/userguide: model-parameters-diffusion-stable-image-core-text-image-request-response,
…-stable-ultra-text-image-request-response, …-diffusion-3-5-large, and stable-image-services; read 2026-11-28. Unknown fields fail.
"""

from __future__ import annotations

from typing import Any

PROMPT = {"type": "string", "minLength": 0, "maxLength": 10000}
SEED = {"type": "integer", "minimum": 0, "maximum": 4294967294}
RATIO = {"enum": ["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"]}
PICTURE = {"type": "string", "contentEncoding": "base64", "minLength": 1}
SIDE = {"type": "integer", "minimum": 0, "maximum": 2000}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _body(required: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    common = {"prompt": PROMPT, "negative_prompt": PROMPT, "seed": SEED, "output_format": {"enum": ["jpeg", "png"]}}
    return {
        "type": "object",
        "properties": common | fields,
        "required": ["prompt", *required],
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
    "us.stability.stable-image-inpaint-v1:0": _body(
        ("image",), image=PICTURE, mask=PICTURE, grow_mask={"type": "integer", "minimum": 0, "maximum": 20}
    ),
    "us.stability.stable-outpaint-v1:0": _body(("image",), image=PICTURE, left=SIDE, right=SIDE, up=SIDE, down=SIDE),
    "us.stability.stable-image-control-sketch-v1:0": _body(("image",), image=PICTURE, control_strength=SHARE),
    "us.stability.stable-image-control-structure-v1:0": _body(("image",), image=PICTURE, control_strength=SHARE),
}
