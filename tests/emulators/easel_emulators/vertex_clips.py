"""Vertex AI's clips: operations of Veo, and interactions of Gemini Omni that run in the background. Served by `vertex`.

Operations that end badly have google.rpc codes; a clip that a filter holds back is an operation that succeeded without one. Interactions are
answered in the shape of google-genai's own type of them.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from easel_emulators.base import spoiled
from easel_emulators.google_bucket import NAME, PREFIX
from easel_emulators.google_tokens import PROJECT
from easel_emulators.outstanding import ELSEWHERE, Work
from easel_emulators.vertex_pictures import PROMPT, THOUGHT, WORDS, beside
from easel_emulators.vertex_schemas import check, discovered, typed

if TYPE_CHECKING:
    from easel_emulators.vertex import Vertex

Seen = Literal["lost", "throttled", "denied", "gone"] | dict[str, Any]
"""What a question is answered."""
SECOND = {
    "veo-3.1-generate-001": {"720p": "0.40", "1080p": "0.40", "4k": "0.60"},
    "veo-3.1-fast-generate-001": {"720p": "0.10", "1080p": "0.12", "4k": "0.30"},
    "veo-3.1-lite-generate-001": {"720p": "0.05", "1080p": "0.08"},
}
"""US dollars for a second, by the resolution."""
TOKENS = {"360p": 1931, "720p": 5792, "1080p": 8688, "4k": 17376}
"""Of a second of Omni's; those of 720p are told by Google, others by the ratio of resellers' prices."""
MILLION = Decimal("17.5")
LONGEST = {"gemini-omni-1.2-flash": 15, "gemini-omni-1.1-flash": 0}
"""Seconds that may be asked for; 0: the model chooses."""
STATUSES = ("incomplete", "requires_action", "requires_continuation", "budget_exceeded")
"""Ends that are neither well nor a failure; words of `next`, as `failed and counted` is."""
STATES = ("idle", "rendering", "")
"""What the first question finds of a call that goes on: states that are no end, one of them in no schema yet. Words of `next`, too."""
PLACE = rf"/v1beta1/(projects/{PROJECT}/locations/[a-z0-9-]+/interactions"
INTERACTIONS = "/interactions"
CREATE = re.compile(PLACE + ")")
INTERACTION = re.compile(PLACE + r"/[^/:?]+)(?:\?stream=(?:F|f)alse)?")
CANCEL = re.compile(PLACE + "/[^/:?]+)/cancel")
POLICY = "The video violates Google's usage guidelines on Responsible AI. Prompt: {prompt}"


def begun(state: Vertex, model: str, body: dict[str, Any], word: str) -> dict[str, Any]:
    """An Operation, which is paid for unless nothing comes of it."""
    asked = body.get("parameters", {})
    seconds = asked.get("durationSeconds", 8)
    name = f"projects/{PROJECT}/locations/us-central1/publishers/google/models/{model}/operations/{uuid.uuid4()}"
    data = state.draw(
        {
            "prompt": body["instances"][0].get("prompt", ""),
            "negative_prompt": asked.get("negativePrompt", ""),
            "seed": asked.get("seed"),
            "aspect_ratio": asked.get("aspectRatio", "16:9"),
            "output_format": "mp4",
            "seconds": seconds,
        }
    )
    state.works[name] = work = Work(name, model, word, data, body)
    if word not in ("failed", "blocked late", "blocked as 200"):
        state.bill(model, Decimal(SECOND[model][asked.get("resolution", "720p")]) * seconds)
        if state.bucket and "storageUri" in asked and word not in ("empty", "expired for good"):
            state.bucket.put(key(work), spoiled(word, data), "video/mp4")
    return _operation({"name": name})


def reachable(state: Vertex, body: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a bucket that there is not."""
    place = body.get("parameters", {}).get("storageUri")
    if place is not None and (state.bucket is None or place != f"gs://{NAME}/{PREFIX}".rstrip("/")):
        raise ValueError("storageUri")


def key(work: Work) -> str:
    """Where a clip lies in the bucket: by the operation, as Google has it."""
    return f"{PREFIX}{work.name.rpartition('/')[2]}/sample_0.mp4"


def _video(work: Work) -> dict[str, Any]:
    if "storageUri" not in work.body.get("parameters", {}):
        return {"bytesBase64Encoded": _base64(work), "mimeType": "video/mp4"}
    return {"gcsUri": ELSEWHERE if work.word == "elsewhere" else f"gs://{NAME}/{key(work)}", "mimeType": "video/mp4"}


def operation(state: Vertex, body: dict[str, Any]) -> Seen:
    """What fetchPredictOperation answers."""
    check(body, discovered("GoogleCloudAiplatformV1FetchPredictOperationRequest"))
    work = state.works.get(body.get("operationName", ""))
    if work is None:
        return "gone"
    prompt = work.body["instances"][0].get("prompt", "")
    match work.found(state):
        case "lost" | "throttled" | "denied" as found:
            return found
        case "unfinished":
            return _operation({"name": work.name})
        case "failed":
            return _operation(
                {"name": work.name, "done": True, "error": {"code": 13, "message": f"Internal. {prompt}"}}
            )
        case "blocked late":
            error = {"code": 3, "message": POLICY.replace("{prompt}", prompt)}
            return _operation({"name": work.name, "done": True, "error": error})
    told: dict[str, Any] = {"videos": [_video(work)]}
    if work.word == "blocked as 200":
        told = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [POLICY.replace("{prompt}", prompt)]}
    if work.word == "empty":
        told = {"videos": []}
    check(told, discovered("CloudAiLargeModelsVisionGenerateVideoResponse"))
    kind = {"@type": "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"}
    return _operation({"name": work.name, "done": True, "response": kind | told})


def _operation(body: dict[str, Any]) -> dict[str, Any]:
    check(body, discovered("GoogleLongrunningOperation"))
    return body


def _base64(work: Work) -> str:
    return base64.b64encode(spoiled(work.word, work.data)).decode()


def bounded(body: Mapping[str, Any]) -> None:
    """What google-genai's types say in words alone; raises `ValueError`."""
    model, shape = body["model"], body.get("response_format", {})
    if model not in LONGEST or shape.get("type") != "video" or not (body.get("background") and body.get("store")):
        raise ValueError("model, response_format, background or store")
    duration = re.fullmatch(r"([0-9]+)s", shape.get("duration", "0s"))
    if duration is None or not (int(duration[1]) == 0 or 3 <= int(duration[1]) <= LONGEST[model]):
        raise ValueError("duration")
    if not -(2**31) <= body.get("generation_config", {}).get("seed", 0) < 2**31:
        raise ValueError("seed")
    for part in _given(body):
        base64.b64decode(part.get("data", ""), validate=True)


def _given(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the person says and shows, as google-genai sends it: one step."""
    (step,) = body["input"]
    if step["type"] != "user_input":
        raise ValueError("input")
    return list(step["content"])


def created(state: Vertex, model: str, body: dict[str, Any], word: str) -> dict[str, Any]:
    """An interaction, which is paid for unless it fails by itself."""
    shape = body["response_format"]
    seconds = int(shape.get("duration", "4s")[:-1])
    texts = [part["text"] for part in _given(body) if part["type"] == "text"]
    seed = body.get("generation_config", {}).get("seed")
    ratio = shape.get("aspect_ratio", "16:9")
    data = state.draw(
        {"prompt": " ".join(texts), "seed": seed, "aspect_ratio": ratio, "output_format": "mp4", "seconds": seconds}
    )
    work = Work(f"v1_{uuid.uuid4().hex}", model, word, data, body | {"seconds": seconds})
    state.works[work.name] = work
    if word != "failed":
        state.bill(model, _cost(work))
    return _interaction(work, "in_progress")


def _tokens(work: Work) -> int:
    return TOKENS[work.body["response_format"].get("resolution", "720p")] * int(work.body["seconds"])


def _cost(work: Work) -> Decimal:
    return MILLION * _tokens(work) / 1_000_000 + beside(work.model)


def interaction(state: Vertex, path: str) -> Seen:
    """What a question about an interaction is answered."""
    work = state.works.get(path.rpartition("/")[2])
    if work is None:
        return "gone"
    found = work.found(state)
    if work.word in STATES and work.asked == 1:
        return _interaction(work, "in_progress") | {"status": work.word}
    match found:
        case "lost" | "throttled" | "denied":
            return found
        case "unfinished":
            return _interaction(work, "in_progress")
        case "cancelled":
            return _interaction(work, "cancelled")
        case "failed":
            return _interaction(work, "failed", error={"code": 13, "message": f"Internal. {work.body['input']}"})
        case "blocked late":
            message = POLICY.replace("{prompt}", str(work.body["input"]))
            return _interaction(work, "failed", error={"code": 3, "message": message})
    count = _tokens(work)
    usage = {
        "total_input_tokens": PROMPT,
        "total_output_tokens": count + WORDS,
        "output_tokens_by_modality": [{"modality": "video", "tokens": count}, {"modality": "text", "tokens": WORDS}],
        "total_thought_tokens": THOUGHT,
        "total_tokens": PROMPT + count + WORDS + THOUGHT,
    }
    if work.word in STATUSES:
        return _interaction(work, work.word) | {"usage": usage}
    if work.word == "failed and counted":
        return _interaction(work, "failed") | {"usage": usage}
    clip = {"type": "video", "mime_type": "video/mp4", "data": _base64(work)}
    content = {"words": [{"type": "text", "text": "I'm sorry"}], "empty": []}.get(work.word, [clip])
    return _interaction(work, "completed", content=content) | {"usage": usage}


def _interaction(work: Work, status: str, **output: Any) -> dict[str, Any]:
    steps = [{"type": "model_output", **output}] if output else []
    body = {
        "id": work.name,
        "model": work.model,
        "status": status,
        "created": "2026-11-29T12:00:00Z",
        "updated": "2026-11-29T12:00:09Z",
        "steps": steps,
    }
    check(body, typed("InteractionTypedDict"))
    return body


def cancel(state: Vertex, path: str) -> Seen:
    """What a request to stop is answered."""
    work = state.works.get(path.rpartition("/")[2])
    if work is None:
        return "gone"
    work.cancelled = True
    state.cancelled.append(work.name)
    return _interaction(work, "cancelled")
