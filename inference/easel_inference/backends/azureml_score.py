"""Azure Machine Learning: a model of the team's own on an online endpoint; what it is asked and answers is in `custom_models`.

A call may take 180 s, so that a scoring server may answer with an address to ask for the result at instead of the result, and there with where it
lies in Azure Blob Storage: docs/custom-models.md. Such an address is a key to the result, so that it is in no handle and no error.
By learn.microsoft.com (how-to-troubleshoot-online-endpoints, concept-endpoints-online-auth), read on 2026-11-29; an endpoint has no schema
but its owner's. What the model answers with any other status than 200 comes as 424, with its own status in a header. A call that took longer
than the deployment allows (408, 502, 504) was begun, and nobody knows how it went.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urljoin

from easel_api.errors import AmbiguousSubmit, BackendFault, EaselError, InvalidInput, Transient, Unsupported
from easel_inference.generation import GenerationRequest, Inputs

from . import custom_models, entra
from .base import Setup, answer_lost
from .polled import Ended, Made, Pace, Polled, Unfinished
from .rest import Answer, Headers, Rest, refused, renewed

NAME = "Azure Machine Learning"
DEPLOYMENT = "azureml-model-deployment"
MODELS_STATUS = "ms-azureml-model-error-statuscode"
SCORE = "/score"
LONGEST_HANDLE = 1900


def client(setup: Setup) -> Polled:
    """The client of a model; see `families.client_of`."""
    return polled(setup, Pace())


def polled(setup: Setup, pace: Pace) -> Polled:
    """The same at another pace."""
    return Polled(setup.name, AzureMLScore(setup), pace)


class AzureMLScore:
    """One deployment; see `polled.Remote`."""

    def __init__(self, setup: Setup) -> None:
        self.model, self.provider = f"azureml/{setup.model}", NAME
        self._setup, self._id = setup, setup.model
        # Studio shows the endpoint's address with its path.
        self._base = (setup.spec.endpoint or "").rstrip("/").removesuffix(SCORE)
        self._api = Rest(NAME, self._base, _headers(setup), setup.authority)

    def submit(self, request: GenerationRequest, inputs: Inputs, _: Callable[[str], None]) -> str | Made:
        """Asks the model; the handle is where it says that the result is to be asked for."""
        answer = self._api.post(SCORE, custom_models.asked(request, inputs, self._setup), self._id)
        if answer.status not in (200, 202):
            raise _refused(answer, self._id)
        if "location" in answer.headers:
            return self._place(answer.headers["location"])
        if answer.status == 202:
            raise self._astray("and does not say where to ask for it")
        return Made(custom_models.read(answer.headers.get("content-type", ""), answer.body, self._id))

    def _place(self, location: str) -> str:
        place = urljoin(f"{self._base}{SCORE}", location)
        if not self._api.owns(place) or len(place) > LONGEST_HANDLE:
            raise self._astray("and names another host to ask for it")
        return place

    def _astray(self, found: str) -> AmbiguousSubmit:
        return AmbiguousSubmit(
            "the model took the request, and nobody can ask for the result",
            where=self._id,
            found=f"it was taken, {found}",
            fix="Have the scoring server answer as docs/custom-models.md says",
        )

    def look(self, handle: str) -> Unfinished | Made | Ended:
        """How the call is; see `polled.Remote`."""
        if not self._api.owns(handle):
            return Ended(self._astray("by another endpoint"))
        answer = self._api.ask("GET", handle, self._id)
        match answer.status:
            case 202:
                return Unfinished()
            case 200 if "location" in answer.headers:
                return Unfinished()
            case 200 if place := custom_models.address(answer.body):
                return Made(self._api.fetch(place, self._id))
            case 200:
                try:
                    return Made(custom_models.read(answer.headers.get("content-type", ""), answer.body, self._id))
                except EaselError as error:
                    return Ended(error)
            case 424 if "error" in answer.json():
                blocked = custom_models.refused(answer.body, self._id)
                return Ended(blocked or BackendFault("the model failed", where=self._id, found="HTTP 424"))
            case 408 | 424:  # of the question, not of what it is about
                raise Transient(f"{NAME} did not answer the question", where=self._id, found=f"HTTP {answer.status}")
            case _:
                raise refused(NAME, answer, self._id)


def _headers(setup: Setup) -> Headers:
    deployment = {DEPLOYMENT: setup.offer.deployment} if setup.offer.deployment else {}
    if setup.spec.credentials.secret_ref is not None and setup.file("API_KEY"):
        return renewed(lambda: {"Authorization": f"Bearer {setup.key('API_KEY')}", **deployment})
    token = entra.tokens(setup, entra.MACHINE_LEARNING)
    return lambda: {"Authorization": f"Bearer {token()}", **deployment}


def _refused(answer: Answer, model: str) -> EaselError:
    told = answer.headers.get(MODELS_STATUS, "")
    found = f"HTTP {answer.status}" + (f", and {told} of the model" if told.isdigit() else "")
    match answer.status:
        case 424 if told in ("202", "408", "504"):  # it was begun, whatever Azure calls it
            return answer_lost(TimeoutError(), model)
        case 424 if blocked := custom_models.refused(answer.body, model):
            return blocked
        case 424 if told == "413":
            return Unsupported("the model takes no request as large", where=model, found=found)
        case 424 if told in ("400", "422"):
            return InvalidInput("the model takes no such request", where=model, found=found)
        case 424:
            return BackendFault("the model failed", where=model, found=found)
        case _:
            return custom_models.refused(answer.body, model) or refused(NAME, answer, model)
