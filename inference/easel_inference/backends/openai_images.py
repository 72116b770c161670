"""OpenAI's images, at OpenAI and on Azure: a picture for a call, by the official client with its own retries off.

Pictures are made by `images/generations` and edited, with or without a mask, by `images/edits`; these models know no seed. On Azure the
paths are the dated ones: none of the specifications of the others has edits. An answer says how many tokens it took, by which its cost is
counted.

A policy may refuse the prompt, by an error, or the picture that was made: by an error whose details name the stage `output`, or on Azure by
an HTTP 200 without a picture. Neither says whether what is held back is billed, so that it counts as billed. A gateway that gives up waiting
says nothing of the work behind it.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from easel_api.errors import (
    AuthConfig,
    BilledBadOutput,
    Cancelled,
    ContentBlocked,
    EaselError,
    EnvironmentFault,
    ModelRetired,
    QuotaExhausted,
    Transient,
)
from easel_api.offers import WireFamily
from easel_api.tasks import Task
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import Accepted, GenerationRequest, Inputs, Message

from . import entra
from .base import OnEvent, PaidBlock, Renewed, Result, Setup, answer_lost, certificate_untrusted
from .connections import check as check_endpoint
from .connections import trusting
from .delivered import check_format, delivered
from .openai_fields import QUALITIES, asked, billed, check, rates
from .rest import CONNECT_SECONDS, LARGEST_ANSWER, READ_SECONDS, Answer, refused

HOST = "https://api.openai.com"
KEYS = ("API_KEY", "AZURE_CLIENT_SECRET")
API_VERSION = "2025-04-01-preview"
BLOCKED = frozenset({"moderation_blocked", "content_policy_violation", "content_filter", "contentFilter"})
NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
GONE = frozenset({"model_not_found", "DeploymentNotFound"})


def client(setup: Setup) -> OpenAIImages:
    """The client of a model; see `families.client_of`."""
    return OpenAIImages(setup)


class OpenAIImages:
    """One model; safe to call from many threads."""

    def __init__(self, setup: Setup) -> None:
        offer = offer_of(setup.spec, setup.model)
        check(offer)
        self._name, self._model, self._resolved = setup.name, setup.model, setup.resolved
        self._azure = setup.spec.family is WireFamily.AZURE_OPENAI_IMAGES
        self._title = "Azure OpenAI" if self._azure else "OpenAI"
        self._api: Renewed[Any] = Renewed(setup, KEYS, lambda: _azure(setup) if self._azure else _openai(setup))
        self._rates = rates(setup.model, offer.prices if offer else ())

    def generate(self, request: GenerationRequest, inputs: Inputs, on_event: OnEvent, stop: threading.Event) -> Result:
        """Makes one item; see `Backend`. A call that was sent cannot be stopped: it is waited for, since it is paid for."""
        check_format(request)
        fields = asked(request, inputs, self._resolved)
        if not self._azure:  # there the path names it
            fields["model"] = self._model
        if stop.is_set():
            raise Cancelled("stopped on request")
        on_event(Message(Accepted()))
        began = time.monotonic()
        answer = Answer(200, {}, self._called(fields, makes=request.task is Task.TEXT_TO_IMAGE)).json()
        result = delivered(
            self._name,
            request,
            self._picture(answer),
            model=f"{'azure-openai' if self._azure else 'openai'}/{self._model}",
            provider=self._title,
            seconds=time.monotonic() - began,
        )
        told = next((ours for ours, word in QUALITIES.items() if word == answer.get("quality")), request.quality)
        finished = result.finished if told is None else result.finished.model_copy(update={"quality": told})
        return replace(result, finished=finished, billed=billed(answer.get("usage"), self._rates))

    def _called(self, fields: Mapping[str, Any], *, makes: bool) -> bytes:
        """The body of an answer that looks well; raises what anything else means."""
        from httpx2 import HTTPError
        from openai import APIConnectionError, APIStatusError

        images = self._api().images.with_streaming_response
        try:
            with (images.generate if makes else images.edit)(**fields) as response:
                return self._whole(response)
        except APIStatusError as error:
            raise self._refused(error) from None
        except APIConnectionError as error:
            raise self._broken(error.__cause__) from None
        except (HTTPError, OSError) as error:  # while the answer was read
            raise answer_lost(error, self._model) from None

    def _whole(self, response: Any) -> bytes:
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > LARGEST_ANSWER:
                found = f"over {LARGEST_ANSWER} bytes"
                raise BilledBadOutput(f"{self._title}'s answer is too large", where=self._model, found=found)
        return bytes(body)

    def _picture(self, answer: Mapping[str, Any]) -> bytes:
        match answer.get("data"):
            case [{"b64_json": str(encoded)}, *_] if encoded:
                try:
                    return base64.b64decode(encoded, validate=True)
                except binascii.Error:
                    found = "no base64"
            case pictures if _holds_back(pictures) or _holds_back(answer.get("prompt_filter_results")):
                raise PaidBlock("a safety policy of the provider refused it", where=self._model, found="HTTP 200")
            case _:
                found = "HTTP 200"
        raise BilledBadOutput(f"{self._title} answered without a picture", where=self._model, found=found)

    def _refused(self, error: Any) -> EaselError:
        """What a status means; neither the body nor its message is shown, which may repeat the prompt."""
        told = error.body if isinstance(error.body, dict) else {}
        code, status = str(error.code or ""), error.status_code
        if code in BLOCKED or _is_policy(told.get("inner_error")) or _is_policy(told.get("innererror")):
            details = told.get("moderation_details")
            late = isinstance(details, dict) and details.get("moderation_stage") == "output"
            kind = PaidBlock if late else ContentBlocked
            return kind("a safety policy of the provider refused it", where=self._model, found=code or f"HTTP {status}")
        if code in NO_CREDIT:
            what = f"the account at {self._title} has no credit left"
            return QuotaExhausted(what, where=self._model, found=code, fix="Add some")
        if code in GONE:
            fix = "See docs/providers.md; on Azure check the deployment's name"
            return ModelRetired(f"{self._title} serves no such model", where=self._model, found=code, fix=fix)
        if status == 403 and "temporarily blocked" in str(told.get("message")):
            return AuthConfig(
                "Azure has blocked the account's resource, as it does behind many refused prompts",
                where="spec.endpoint",
                found=f"HTTP {status}",
                fix="Ask Microsoft to lift it; nothing is made until then",
            )
        headers = {name.lower(): value for name, value in error.response.headers.items()}
        return refused(self._title, Answer(status, headers, b""), self._model)

    def _broken(self, error: BaseException | None) -> EaselError:
        """Whether anything was sent when a connection broke."""
        import httpx2

        match error:
            case httpx2.ConnectError() if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return certificate_untrusted(error)
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout() | httpx2.ProxyError():
                return Transient(f"{self._title} cannot be reached", where=self._model, found=type(error).__name__)
            case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError():
                what, found = "the call cannot be made", type(error).__name__
                return EnvironmentFault(what, where="spec.endpoint", found=found, fix="Check the Provider's endpoint")
            # Everything else may break behind the request.
            case Exception():
                return answer_lost(error, self._model)
            case _:
                return answer_lost(ConnectionError(), self._model)


def _is_policy(inner: object) -> bool:
    return isinstance(inner, dict) and inner.get("code") == "ResponsibleAIPolicyViolation"


def _holds_back(told: object) -> bool:
    """Whether any category of Azure's content filter, however deep, was filtered."""
    match told:
        case {"filtered": True}:
            return True
        case dict():
            return any(_holds_back(each) for each in told.values())
        case list():
            return any(_holds_back(each) for each in told)
        case _:
            return False


def _openai(setup: Setup) -> Any:
    from openai import OpenAI

    base = (setup.spec.endpoint or HOST).rstrip("/").removesuffix("/v1")
    return OpenAI(api_key=setup.key("API_KEY"), base_url=f"{base}/v1", **_connections(setup))


def _azure(setup: Setup) -> Any:
    """With the resource's key, or a token of an application (its secret) or of the worker's own identity."""
    from openai import AzureOpenAI

    if setup.spec.credentials.secret_ref is not None and not setup.file("AZURE_CLIENT_SECRET").strip():
        who: dict[str, Any] = {"api_key": setup.key("API_KEY")}
    else:
        who = {"azure_ad_token_provider": entra.tokens(setup, entra.COGNITIVE_SERVICES)}
    return AzureOpenAI(
        azure_endpoint=setup.spec.endpoint or "",  # a rule of the Provider
        azure_deployment=quote(setup.deployment, safe=""),
        api_version=API_VERSION,
        **who,
        **_connections(setup),
    )


def _connections(setup: Setup) -> dict[str, Any]:
    """What both clients are made with: a call is sent once, and goes where it was meant to."""
    import httpx2

    timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    if setup.spec.endpoint:
        check_endpoint(setup.spec.endpoint)
    trusted = trusting(setup.authority) if setup.authority else True
    http = httpx2.Client(
        verify=trusted, timeout=timeout, limits=httpx2.Limits(max_connections=16), follow_redirects=False
    )
    return {"http_client": http, "timeout": timeout, "max_retries": 0}
