"""How Vertex AI's four families go through the tables of faults and of models: `vertex`."""

from __future__ import annotations

from typing import Any

from easel_emulators.base import ASKED_ON, USUAL, Ends, Row, Subject
from easel_emulators.google_bucket import NAME, PREFIX
from easel_emulators.google_tokens import PROJECT, service_account
from easel_emulators.vertex import ENDPOINT, REGION, vertex, vertex_with_bucket
from easel_emulators.vertex_clips import LONGEST, SECOND
from easel_emulators.vertex_pictures import TOKENS

AT_ONCE = "the answer holds the result, so that there is nothing to ask for later"
INLINE = "the result comes in the answer, and never by an address"
SUBMITTED = {
    **USUAL,
    "no credit": Ends("QuotaExhausted", 0),
    "blocked": Ends("ContentBlocked", 0),
}
HANDED = {
    "failed": Ends("BackendFault", 0),
    **ASKED_ON,
}
NO_ADDRESS = dict.fromkeys(("expired", "expired for good", "elsewhere"), INLINE)
NO_HANDLE = dict.fromkeys((*HANDED, "blocked late", *NO_ADDRESS), AT_ONCE)
ACCOUNT: dict[str, Any] = {
    "start": vertex,
    "secret": {"SERVICE_ACCOUNT_JSON": service_account()},
    "spec": {"region": REGION, "project": PROJECT},
}
VEO = SUBMITTED | HANDED | {"blocked as 200": Ends("ContentBlocked", 0), "blocked late": Ends("ContentBlocked", 0)}
BOUNDED, BOUND = "gemini-2.5-flash-image", {"amount": "30", "per": "MillionTokens", "tokens": 1316}
"""An account's own price, with prompt and thoughts in it: behind a fault nobody is told of them."""
CLIP = {"frames": 96, "fps": 24}
"""Four seconds."""
FIVE = {"frames": 120, "fps": 24}

SUBJECTS = (
    Subject(
        family="VertexGenerateContent",
        **ACCOUNT,
        offers=tuple({"model": model} | ({"prices": [BOUND]} if model == BOUNDED else {}) for model in TOKENS),
        rows={model: Row("text-to-image") for model in TOKENS},
        ends=SUBMITTED | {"blocked as 200": Ends("ContentBlocked")},
        never=NO_HANDLE,
    ),
    Subject(
        family="VertexLongRunning",
        **ACCOUNT,
        offers=tuple({"model": model} for model in SECOND),
        rows={model: Row("text-to-video", CLIP) for model in SECOND},
        ends=VEO,
        never=NO_ADDRESS,
    ),
    Subject(
        family="VertexLongRunning",
        start=vertex_with_bucket,
        secret=ACCOUNT["secret"],
        spec=ACCOUNT["spec"] | {"bucket": {"name": NAME, "prefix": PREFIX, "endpoint": "{url}"}},
        offers=tuple({"model": model} for model in SECOND),
        rows={model: Row("text-to-video", CLIP) for model in SECOND},
        ends=VEO | {"expired for good": Ends("BilledBadOutput"), "elsewhere": Ends("BilledBadOutput")},
        never={"expired": "a result has no address that would end: it lies in the account's own bucket"},
        left="bucket",
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
            {"model": "virtual-try-on-001"},
        ),
        rows={"studio-sdxl": Row("text-to-image"), "virtual-try-on-001": Row("virtual-try-on")},
        ends=SUBMITTED | {"blocked as 200": Ends("ContentBlocked")},
        never=NO_HANDLE,
    ),
)
