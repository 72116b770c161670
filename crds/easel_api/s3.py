"""How an S3 endpoint is reached, for jobs and models alike."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .base import PATTERN_WORDS, ApiModel, ObjectName

ENDPOINT_PATTERN = r"^https?://[^[:space:]@?#]+$"
REGION_PATTERN = r"^[-a-z0-9]+$"
PATTERN_WORDS.update(
    {
        ENDPOINT_PATTERN: "http:// or https:// and a host, without user, password or query, such as https://s3.example.org.",
        REGION_PATTERN: "Lower-case letters, digits and -, such as eu-central-1.",
    }
)


class SecretReference(ApiModel):
    """A Secret in the object's own namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class S3Access(ApiModel):
    """An S3 endpoint and who asks it."""

    endpoint: Annotated[
        str | None,
        Field(max_length=512, pattern=ENDPOINT_PATTERN, description="URL of the S3 endpoint. Default: AWS."),
    ] = None
    region: Annotated[
        str | None,
        Field(max_length=64, pattern=REGION_PATTERN, description="Region of the bucket. Default: us-east-1."),
    ] = None
    credentials_secret_ref: Annotated[
        SecretReference | None,
        Field(
            description="Secret with keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), mounted by the pod "
            "that uses the bucket alone. Default: that pod's own identity."
        ),
    ] = None
