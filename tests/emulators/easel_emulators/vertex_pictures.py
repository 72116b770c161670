"""Vertex AI's pictures: Gemini's, those of Virtual Try-On, and those of endpoints of the account's own. Served by `vertex`."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any

from PIL import Image

from easel_emulators.base import spoiled
from easel_emulators.vertex_schemas import check, discovered

if TYPE_CHECKING:
    from easel_emulators.vertex import Call, Vertex

V1 = "GoogleCloudAiplatformV1"
TOKENS = {
    "gemini-2.5-flash-image": {"": 1290},
    "gemini-3.1-flash-image": {"1K": 1120, "2K": 1680, "4K": 2520},
    "gemini-3.1-flash-lite-image": {"1K": 1120},
    "gemini-3-pro-image": {"1K": 1120, "2K": 1120, "4K": 2000},
    "gemini-nano-banana-2.1": {"1K": 1120, "2K": 1680, "4K": 2520},
}
"""Of a picture, by its size."""
MILLION = {
    "gemini-2.5-flash-image": "30",
    "gemini-3.1-flash-image": "60",
    "gemini-3.1-flash-lite-image": "30",
    "gemini-3-pro-image": "120",
    "gemini-nano-banana-2.1": "30",
}
"""US dollars for a million of them."""
TEXT = {
    "gemini-2.5-flash-image": ("0.30", "2.50"),
    "gemini-3.1-flash-image": ("0.50", "3"),
    "gemini-3.1-flash-lite-image": ("0.25", "1.50"),
    "gemini-3-pro-image": ("2", "12"),
    "gemini-nano-banana-2.1": ("1.50", "7.50"),
    "gemini-omni-1.1-flash": ("1.50", "9"),
}
"""US dollars for a million tokens that go in, and of words and thoughts that come out."""
PROMPT, THOUGHT, WORDS = 25, 310, 7
"""Tokens of each beside the picture or clip."""
RATIOS = {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
OWN = Decimal("0.02")
"""US dollars that a picture of the account's own endpoint is said to cost."""
TRY_ON, TRY_ON_PRICE = "virtual-try-on-001", Decimal("0.06")
"""US dollars for each picture that is asked for (cloud.google.com, virtual try-on)."""
LARGEST_WORN = 7_000_000
"""Bytes of a picture within a request (docs.cloud.google.com, models/vto/virtual-try-on-001)."""
FILTERED = (
    "Unable to show the generated image, which may violate Google's Responsible AI practices. Support codes: 56562880"
)


def bounded(model: str, body: Mapping[str, Any]) -> None:
    """What the Discovery document says in words alone."""
    settings = body["generationConfig"]
    shape = settings.get("imageConfig", {})
    if not body["contents"] or settings.get("responseModalities") not in (["IMAGE"], ["TEXT", "IMAGE"]):
        raise ValueError("contents or responseModalities")
    if shape.get("imageSize", "1K") not in TOKENS[model] and "imageSize" in shape:
        raise ValueError("imageSize is not supported by this model")
    if shape.get("aspectRatio", "1:1") not in RATIOS:
        raise ValueError("aspectRatio")


def picture(state: Vertex, call: Call, word: str) -> dict[str, Any]:
    """A GenerateContentResponse, once it is paid for."""
    settings = call.body["generationConfig"]
    shape = settings.get("imageConfig", {})
    sizes = TOKENS[call.model]
    tokens = sizes[shape.get("imageSize") or next(iter(sizes))]
    state.bill(call.model, Decimal(MILLION[call.model]) * tokens / 1_000_000 + beside(call.model))
    state.gate.wait(60)
    usage: dict[str, Any] = {"promptTokenCount": PROMPT, "totalTokenCount": PROMPT, "trafficType": "ON_DEMAND"}
    common = {"modelVersion": call.model, "responseId": "r-1", "createTime": "2026-11-29T12:00:00.000000Z"}
    if word == "blocked as 200":
        candidate = {"content": {"role": "model"}, "finishReason": "IMAGE_SAFETY", "finishMessage": call.prompt}
        return answered("GenerateContentResponse", common | {"candidates": [candidate], "usageMetadata": usage})
    if word == "prompt blocked":
        held = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": call.prompt}
        return answered("GenerateContentResponse", common | {"promptFeedback": held, "usageMetadata": usage})
    texts = [part["text"] for content in call.body["contents"] for part in content["parts"] if "text" in part]
    asked = {"prompt": " ".join(texts), "seed": settings.get("seed"), "aspect_ratio": shape.get("aspectRatio")}
    data = base64.b64encode(spoiled(word, state.draw(asked | {"output_format": "png"}))).decode()
    # What it thought on the way is no result.
    thought = {"inlineData": {"mimeType": "image/png", "data": "bm90IHRoaXM="}, "thought": True}
    parts: list[dict[str, Any]] = [thought, {"inlineData": {"mimeType": "image/png", "data": data}}]
    reason = "STOP"
    if word == "words":
        parts, reason = [{"text": "I'm sorry"}], "NO_IMAGE"
    if word == "empty":
        parts = []
    usage |= {
        "candidatesTokenCount": tokens + WORDS,
        "candidatesTokensDetails": [
            {"modality": "IMAGE", "tokenCount": tokens},
            {"modality": "TEXT", "tokenCount": WORDS},
        ],
        "thoughtsTokenCount": THOUGHT,
        "totalTokenCount": PROMPT + tokens + WORDS + THOUGHT,
    }
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}
    return answered("GenerateContentResponse", common | {"candidates": [candidate], "usageMetadata": usage})


def beside(model: str) -> Decimal:
    """What prompt, words and thoughts cost, up to a millionth of a dollar as the whole is; nothing where nobody says it."""
    read, written = (Decimal(each) for each in TEXT.get(model, ("0", "0")))
    return ((PROMPT * read + (WORDS + THOUGHT) * written) / 1_000_000).quantize(Decimal("0.000001"), ROUND_UP)


def prediction(state: Vertex, call: Call, word: str) -> dict[str, Any]:
    """A PredictResponse of a model as docs/custom-models.md has it."""
    state.bill(call.model, OWN)
    state.gate.wait(60)
    (instance,) = call.body["instances"]
    told = instance["parameters"]
    size = {"width": told.get("width", 64), "height": told.get("height", 64)}
    asked = {"prompt": instance["inputs"], "seed": told.get("seed"), "output_format": "png"} | size
    data = base64.b64encode(spoiled(word, state.draw(asked))).decode()
    found: Any = {"blocked as 200": {"blocked": True}, "words": "I'm sorry"}.get(word, {"image": data})
    body = {"predictions": [] if word == "empty" else [found], "deployedModelId": "7", "modelVersionId": "1"}
    return answered("PredictResponse", body)


def wearable(body: Mapping[str, Any]) -> None:
    """What the pages on Virtual Try-On say of its two pictures in words alone."""
    (instance,) = body["instances"]
    for told in (instance["personImage"]["image"], instance["productImages"][0]["image"]):
        data = base64.b64decode(told["bytesBase64Encoded"])
        if len(data) > LARGEST_WORN:
            raise ValueError("an image exceeds 7 MB")
        kind = _opened(data).get_format_mimetype()
        if kind != told.get("mimeType", kind):
            raise ValueError(f"mimeType is not that of the image, which is {kind}")


def tried_on(state: Vertex, call: Call, word: str) -> dict[str, Any]:
    """A PredictResponse of Virtual Try-On, which draws nothing here: the person's picture, with the clothing small in its upper left corner."""
    told = call.body.get("parameters", {})
    count = told.get("sampleCount", 1)
    state.bill(call.model, TRY_ON_PRICE * count)
    state.gate.wait(60)
    (instance,) = call.body["instances"]
    person, garment = (
        _opened(base64.b64decode(each["image"]["bytesBase64Encoded"])).convert("RGB")
        for each in (instance["personImage"], instance["productImages"][0])
    )
    person.paste(garment.resize((max(1, person.width // 4), max(1, person.height // 4))))
    kind = told.get("outputOptions", {}).get("mimeType", "image/png")
    target = io.BytesIO()
    person.save(target, kind.removeprefix("image/"))
    data = base64.b64encode(spoiled(word, target.getvalue())).decode()
    found = {"mimeType": kind, "bytesBase64Encoded": data}
    if word == "blocked as 200":
        found = {"raiFilteredReason": FILTERED}
    return answered("PredictResponse", {"predictions": [] if word == "empty" else [found] * count})


def _opened(data: bytes) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        picture.load()
    except (OSError, SyntaxError):
        raise ValueError("an image is neither a whole PNG nor a whole JPEG") from None
    return picture


def answered(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """As it is, once it is of the shape that Google's document says."""
    check(body, discovered(V1 + name))
    return body
