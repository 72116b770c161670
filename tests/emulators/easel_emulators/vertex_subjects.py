"""How Vertex AI's four families go through the tables of faults and of models: `vertex`."""

from __future__ import annotations

from typing import Any

from easel_emulators.base import Ends, Row, Subject
from easel_emulators.google_tokens import PROJECT, service_account
from easel_emulators.vertex import ENDPOINT, REGION, vertex
from easel_emulators.vertex_clips import LONGEST, SECOND
from easel_emulators.vertex_pictures import TOKENS

AT_ONCE = "the answer holds the result, so that there is nothing to ask for later"
INLINE = "the result comes in the answer, and never by an address"
SUBMITTED = {
    "throttled": Ends(),
    "asks to wait": Ends(),
    "unavailable": Ends("Transient", 0),
    "internal": Ends("Transient", 0),
    "denied": Ends("AuthConfig", 0),
    "no credit": Ends("QuotaExhausted", 0),
    "retired": Ends("ModelRetired", 0),
    "invalid": Ends("InvalidInput", 0),
    "blocked": Ends("ContentBlocked", 0),
    "reset": Ends("AmbiguousSubmit"),
    "slow": Ends(),
    "empty": Ends("BilledBadOutput"),
    "cut": Ends("BilledBadOutput"),
    "words": Ends("BilledBadOutput"),
    "huge": Ends("BilledBadOutput"),
}
HANDED = {
    "failed": Ends("BackendFault", 0),
    "slow poll": Ends(),
    "lost poll": Ends(),
    "throttled poll": Ends(),
    "denied poll": Ends("AmbiguousSubmit"),
}
NO_ADDRESS = dict.fromkeys(("expired", "expired for good", "elsewhere"), INLINE)
NO_HANDLE = dict.fromkeys((*HANDED, "blocked late", *NO_ADDRESS), AT_ONCE)
ACCOUNT: dict[str, Any] = {
    "start": vertex,
    "secret": {"SERVICE_ACCOUNT_JSON": service_account()},
    "spec": {"region": REGION, "project": PROJECT},
}
CLIP = {"frames": 96, "fps": 24}
"""Four seconds."""
FIVE = {"frames": 120, "fps": 24}

SUBJECTS = (
    Subject(
        family="VertexGenerateContent",
        **ACCOUNT,
        offers=tuple({"model": model} for model in TOKENS),
        rows={model: Row("text-to-image") for model in TOKENS},
        ends=SUBMITTED | {"blocked as 200": Ends("ContentBlocked")},
        never=NO_HANDLE,
    ),
    Subject(
        family="VertexLongRunning",
        **ACCOUNT,
        offers=tuple({"model": model} for model in SECOND),
        rows={model: Row("text-to-video", CLIP) for model in SECOND},
        ends=SUBMITTED
        | HANDED
        | {"blocked as 200": Ends("ContentBlocked", 0), "blocked late": Ends("ContentBlocked", 0)},
        never=NO_ADDRESS,
    ),
    Subject(
        family="VertexInteractions",
        **ACCOUNT,
        offers=tuple({"model": model} for model in LONGEST),
        rows={
            "gemini-omni-1.2-flash": Row("text-to-video", FIVE),
            "gemini-omni-1.1-flash": Row("text-to-video"),
        },
        ends=SUBMITTED | HANDED | {"blocked late": Ends("ContentBlocked")},
        never=NO_ADDRESS | {"blocked as 200": "a policy refuses a call, or has it end as failed"},
    ),
    Subject(
        family="VertexPredict",
        **ACCOUNT,
        offers=(
            {
                "model": "studio-sdxl",
                "deployment": ENDPOINT,
                "tasks": ["text-to-image", "image-to-image"],
                "honours": ["seed", "strength"],
                "prices": [{"amount": "0.02", "per": "Image"}],
            },
        ),
        rows={"studio-sdxl": Row("text-to-image")},
        ends=SUBMITTED | {"blocked as 200": Ends("ContentBlocked")},
        never=NO_HANDLE,
    ),
)
