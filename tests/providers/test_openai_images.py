"""OpenAI's images over TLS, at OpenAI and on Azure, against an emulator that checks every request by the official client's types."""

from __future__ import annotations

import io
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from easel_emulators.base import Ends
from easel_emulators.entra import CLIENT, SECRET, TENANT, entra
from easel_emulators.openai_images import (
    AZURE,
    KEY,
    SIDES,
    SUBJECTS,
    Answer,
    Images,
    azures,
    images,
    openais,
    picture_tokens,
)
from PIL import Image

from easel_api.errors import Cancelled, EaselError, InvalidInput, Throttled, Unsupported
from easel_api.offers import FreeSize
from easel_api.provider import Credentials, ProviderSpec, WorkloadIdentity
from easel_api.tasks import Quality, Task
from easel_inference.backends.base import PaidBlock, Result, Setup
from easel_inference.backends.families import client_of
from easel_inference.backends.openai_fields import INPUT, Rates, billed, rates
from easel_inference.catalog.loading import surfaces
from easel_inference.catalog.merging import offer_of
from easel_inference.generation import GenerationRequest, Inputs
from easel_inference.routing.price import estimate
from easel_inference.routing.request import Request, Resolved

PROMPT = "a zebra-striped teapot"
FAMILIES = {"openai": "OpenAIImages", "azure": "AzureOpenAIImages"}
NAMED = Resolved(size=(1536, 1024))
SQUARE = Resolved(tier="1K")


def encoded(colour: str = "white", kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, kind)
    return target.getvalue()


def half() -> bytes:
    """A mask whose left half is drawn anew."""
    pixels = np.zeros((48, 64), np.uint8)
    pixels[:, :32] = 255
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


INPUTS = Inputs(image=encoded("grey"), mask=half())


@pytest.fixture(params=FAMILIES)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Images]:
    """Each of the two."""
    with images(tmp_path, azure=request.param == "azure") as made:
        yield made


@pytest.fixture
def openai(tmp_path: Path) -> Iterator[Images]:
    with images(tmp_path) as made:
        yield made


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[Images]:
    with images(tmp_path, azure=True) as made:
        yield made


def setup(
    service: Images, model: str = "gpt-image-2", resolved: Resolved = SQUARE, key: str = KEY, **offer: Any
) -> Setup:
    folder = service.authority.parent / "secret"
    folder.mkdir(exist_ok=True)
    (folder / "API_KEY").write_text(key)
    spec = ProviderSpec.model_validate(
        {
            "family": FAMILIES["azure" if service.azure else "openai"],
            "endpoint": service.url,
            "credentials": {"secretRef": {"name": "keys"}},
            "offers": [{"model": model, **offer}],
        }
    )
    return Setup("art", spec, model, resolved, folder, str(service.authority))


def asked(**asks: Any) -> GenerationRequest:
    return GenerationRequest(**({"id": "i", "task": Task.TEXT_TO_IMAGE, "prompt": PROMPT, "seed": 9} | asks))


def made(told: Setup, inputs: Inputs = INPUTS, **asks: Any) -> Result:
    return client_of(told).generate(asked(**asks), inputs, lambda _: None, threading.Event())


def refusal(ask: Callable[[], object]) -> EaselError:
    """What was raised; it shows neither the prompt nor a key."""
    with pytest.raises(EaselError) as caught:
        ask()
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    for secret in ("zebra", KEY, SECRET, "as a test asked"):
        assert secret not in shown
    return caught.value


@pytest.mark.parametrize(
    ("asks", "resolved", "sent"),
    [
        ({}, SQUARE, {"size": "1024x1024"}),
        ({}, Resolved(), {}),
        ({"quality": Quality.DRAFT}, NAMED, {"size": "1536x1024", "quality": "low"}),
        ({"quality": Quality.STANDARD, "encoding": "webp"}, SQUARE, {"size": "1024x1024", "quality": "medium", "output_format": "webp"}),
        ({"quality": Quality.EXACT, "encoding": "jpeg"}, SQUARE, {"size": "1024x1024", "quality": "high", "output_format": "jpeg"}),
    ],
)  # fmt: skip
def test_a_picture_is_asked_for_in_openais_words(
    service: Images, asks: dict[str, Any], resolved: Resolved, sent: dict[str, str]
) -> None:
    result = made(setup(service, resolved=resolved), **asks)
    named = {} if service.azure else {"model": "gpt-image-2"}
    kind = {"output_format": asks.get("encoding", "png")}
    assert service.calls == [{"prompt": PROMPT, **named, **kind, **sent}]
    assert (service.refused, service.paid) == ([], ["gpt-image-2"])
    assert result.billed == service.billed
    with Image.open(io.BytesIO(result.payload)) as picture:
        assert picture.size == (result.finished.width, result.finished.height)
        assert "{}x{}".format(*picture.size) == sent.get("size", "1024x1024")
        assert picture.format == asks.get("encoding", "png").upper()
    assert result.finished.quality == asks.get("quality", Quality.EXACT), "what is left open the emulator makes in high"
    assert result.finished.model_digest == f"{'azure-openai' if service.azure else 'openai'}/gpt-image-2"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_edited_as_it_is(service: Images, kind: str) -> None:
    result = made(setup(service), Inputs(image=encoded("grey", kind)), task=Task.IMAGE_TO_IMAGE)
    assert "size" not in service.calls[0], "the model keeps the shape"
    assert service.files[0].keys() == {"image"}
    assert (service.files[0]["image"].format, service.files[0]["image"].size) == (kind, (64, 48))
    assert result.billed == service.billed > 0


def test_a_named_size_is_asked_for_of_edits_too(service: Images) -> None:
    made(setup(service, resolved=NAMED), task=Task.IMAGE_TO_IMAGE)
    assert service.calls[0]["size"] == "1536x1024"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_is_white_for_us_is_transparent_for_openai(service: Images, kind: str) -> None:
    result = made(setup(service), Inputs(image=encoded("grey", kind), mask=half()), task=Task.INPAINT)
    picture, mask = service.files[0]["image"], service.files[0]["mask"]
    assert (picture.format, picture.size) == ("PNG", mask.size), "both of one kind and size"
    alpha = np.asarray(mask.getchannel("A"))
    assert (alpha[:, :32] == 0).all()
    assert (alpha[:, 32:] == 255).all()
    assert result.billed == service.billed


def test_colours_of_a_mask_are_what_changes(openai: Images) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24], pixels[24:36] = (255, 0, 0), (255, 255, 255)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    inputs = Inputs(image=encoded("grey"), mask=target.getvalue())
    made(setup(openai), inputs, task=Task.INPAINT, mask_colours=("#ff0000",))
    alpha = np.asarray(openai.files[0]["mask"].getchannel("A"))
    assert (alpha[:24] == 0).all()
    assert (alpha[24:] == 255).all()
    error = refusal(lambda: made(setup(openai), inputs, task=Task.INPAINT, mask_colours=("#00ff00",)))
    assert (error.reason, error.where) == ("InvalidInput", "spec.inputs.mask")


def test_a_photograph_that_lies_on_its_side_is_set_upright_for_its_mask(openai: Images) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    target = io.BytesIO()
    Image.new("RGB", (48, 64)).save(target, "JPEG", exif=exif)
    made(setup(openai), Inputs(image=target.getvalue(), mask=half()), task=Task.INPAINT)
    assert openai.files[0]["image"].size == (64, 48)


@pytest.mark.parametrize(("ratio", "size"), [("1:1", "1024x1024"), ("3:2", "1536x1024"), ("2:3", "1024x1536")])
def test_older_models_have_three_shapes(service: Images, ratio: str, size: str) -> None:
    told = setup(
        service, "gpt-image-1-mini", Resolved(aspect_ratio=ratio), prices=[{"amount": "8", "per": "MillionTokens"}]
    )
    result = made(told)
    assert service.calls[0]["size"] == size
    assert result.billed == service.billed


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.family)
def test_every_row_that_does_a_task_has_a_client_and_an_emulator(subject: Any, tmp_path: Path) -> None:
    name = next(name for name, family in FAMILIES.items() if family == subject.family)
    rows = {row.model: row for row in surfaces()[name].offers if row.tasks}
    assert set(rows) == {offer["model"] for offer in subject.offers} == set(subject.rows) <= set(INPUT)
    with images(tmp_path, azure=name == "azure") as service:
        for offer in subject.offers:
            for task in rows[offer["model"]].tasks:
                result = made(setup(service, resolved=Resolved(), **offer), task=task)
                assert result.billed is not None
        assert len(service.paid) == sum(len(row.tasks) for row in rows.values())
        assert service.refused == []


FAULTS = [(subject.family, word, ends) for subject in SUBJECTS for word, ends in subject.ends.items()]


@pytest.mark.parametrize(("family", "word", "ends"), FAULTS, ids=[f"{family}-{word}" for family, word, _ in FAULTS])
def test_each_fault_has_its_name_and_is_asked_for_once(tmp_path: Path, family: str, word: str, ends: Ends) -> None:
    with images(tmp_path, azure=family == FAMILIES["azure"]) as service:
        service.next.append(word)
        if word == "slow":
            assert made(setup(service)).billed == service.billed
        else:
            error = refusal(lambda: made(setup(service)))
            waits = word in ("throttled", "asks to wait")
            assert error.reason == ("Throttled" if waits else ends.reason), str(error)
            assert isinstance(error, PaidBlock) == (word in ("blocked as 200", "blocked late"))
            assert not (service.paid and error.retryable), "what was paid for is not asked for again by itself"
            assert len(service.paid) == (0 if waits else ends.paid)
        assert len(service.calls) == 1, "nothing asks twice behind our back"


MORE: list[tuple[str, Answer, str]] = [
    ("no access", openais(403, "invalid_request_error", "unsupported_country_region_territory"), "AuthConfig"),
    ("a limit of one's own", openais(429, "billing_limit", "billing_hard_limit_reached"), "QuotaExhausted"),
    ("too large", openais(413, "invalid_request_error", None), "Unsupported"),
    ("an older block", openais(400, "invalid_request_error", "content_policy_violation"), "ContentBlocked"),
    ("a block of the prompt", azures(400, "content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}), "ContentBlocked"),
    ("a block by its inner error", azures(400, "BadRequest", inner_error={"code": "ResponsibleAIPolicyViolation"}), "ContentBlocked"),
    ("resource blocked", AZURE["resource blocked"], "AuthConfig"),
    ("elsewhere", Answer(307, {}, {"Location": "https://169.254.169.254/"}), "BackendFault"),
    ("a conflict", openais(409, "server_error", None), "BackendFault"),
    ("a gateway that gave up", openais(504, "server_error", None), "AmbiguousSubmit"),
    ("a timeout", openais(408, "server_error", None), "AmbiguousSubmit"),
    ("asked to try again", Answer(500, {}, {"x-should-retry": "true"}), "Transient"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "reason"), [case[1:] for case in MORE], ids=[case[0] for case in MORE])
def test_other_refusals_have_a_name_too(service: Images, fault: Answer, reason: str) -> None:
    service.next.append(fault)
    error = refusal(lambda: made(setup(service)))
    assert error.reason == reason, str(error)
    assert len(service.calls) == 1
    if fault is AZURE["resource blocked"]:
        assert error.where == "spec.endpoint", "no prompt's fault, and a person must act"


def test_how_long_to_wait_is_told(service: Images) -> None:
    for headers, expected in (({"Retry-After": "17"}, 17.0), ({}, None), ({"Retry-After": "soon"}, None)):
        service.next.append(Answer(429, openais(429, "requests", "rate_limit_exceeded").error, headers))
        error = refusal(lambda: made(setup(service)))
        assert isinstance(error, Throttled)
        assert error.retry_after == expected


def test_nothing_was_sent_where_nobody_listens(service: Images) -> None:
    service.url = "https://127.0.0.1:9"
    error = refusal(lambda: made(setup(service)))
    assert (error.reason, error.retryable) == ("Transient", True)


def test_a_wrong_key_and_a_stranger_are_told_apart(service: Images) -> None:
    assert refusal(lambda: made(setup(service, key="another"))).reason == "AuthConfig"
    told = setup(service)
    assert refusal(lambda: made(replace(told, authority=None))).reason == "EnvironmentFault"
    assert refusal(lambda: made(setup(service, key=""))).reason == "AuthConfig"
    assert service.calls == []


def test_what_cannot_be_said_is_refused_before_the_call(service: Images) -> None:
    for wrong in (
        setup(service, resolved=Resolved(aspect_ratio="16:9")),
        setup(service, resolved=Resolved(tier="4K")),
        setup(service, "my-own", tasks=["text-to-image"], honours=["seed"]),
    ):
        assert refusal(lambda wrong=wrong: made(wrong)).reason == "Unsupported"
    with pytest.raises(Unsupported):
        made(setup(service), task=Task.OUTPAINT)
    for inputs, where in (
        (Inputs(), "image"),
        (Inputs(image=encoded()), "mask"),
        (Inputs(image=encoded(), mask=encoded("black")), "mask"),
        (Inputs(image=encoded(size=(80, 80)), mask=half()), "mask"),
        (Inputs(image=b"no picture", mask=half()), "image"),
        (Inputs(image=encoded()[:60], mask=half()), "image"),
    ):
        with pytest.raises(InvalidInput, match=rf"spec\.inputs\.{where}"):
            made(setup(service), inputs, task=Task.INPAINT)
    noise = np.random.default_rng(7).integers(0, 255, (2200, 2200, 3), np.uint8)
    heavy = io.BytesIO()
    Image.fromarray(np.where(noise > 0, noise, 1)).save(heavy, "PNG", compress_level=0)
    with pytest.raises(Unsupported, match="50 MiB"):
        made(setup(service), Inputs(image=heavy.getvalue() + b"\0" * 40 * 2**20), task=Task.IMAGE_TO_IMAGE)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client_of(setup(service)).generate(asked(), Inputs(), lambda _: None, stop)
    assert (service.calls, service.refused) == ([], [])


def test_a_deployment_is_called_by_its_name(azure: Images) -> None:
    azure.deployments["art-team"] = "gpt-image-2"
    made(setup(azure, deployment="art-team"))
    assert azure.paid == ["gpt-image-2"]
    assert refusal(lambda: made(setup(azure, deployment="another"))).reason == "ModelRetired"


@pytest.mark.parametrize("identity", ["application", "worker"])
def test_azure_takes_a_token_of_entra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: str) -> None:
    with entra(tmp_path) as authority, images(tmp_path, azure=True, entra=authority) as service:
        together = tmp_path / "both.crt"
        together.write_text(authority.authority.read_text() + service.authority.read_text())
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", authority.url)
        told = setup(service)
        (told.secret / "API_KEY").unlink()
        if identity == "application":
            for name, value in (
                ("AZURE_TENANT_ID", TENANT),
                ("AZURE_CLIENT_ID", CLIENT),
                ("AZURE_CLIENT_SECRET", SECRET),
            ):
                (told.secret / name).write_text(value)
        else:
            pod = tmp_path / "token"
            pod.write_text(authority.service_account_token())
            monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
            monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
            monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(pod))
            own = Credentials(workload_identity=WorkloadIdentity())
            told = replace(told, spec=told.spec.model_copy(update={"credentials": own}))
        told = replace(told, authority=str(together))
        client = client_of(told)
        for _ in range(2):
            result = client.generate(asked(), INPUTS, lambda _: None, threading.Event())
            assert result.billed is not None
        assert len(authority.given) == 1, "a token is kept"
        assert len(service.paid) == 2
        authority.given.clear()
        assert (
            refusal(lambda: client.generate(asked(), INPUTS, lambda _: None, threading.Event())).reason == "AuthConfig"
        )
        if identity == "application":
            (told.secret / "AZURE_CLIENT_SECRET").write_text("another")
            assert refusal(lambda: made(told)).found == "AADSTS7000215"
            (told.secret / "AZURE_CLIENT_SECRET").unlink()
            error = refusal(lambda: made(told))
            assert "API_KEY" in error.what
        assert len(service.paid) == 2


def test_tokens_of_the_catalogue_are_those_of_the_formula() -> None:
    """As the emulator has it; a row without a size holds for the dearest one."""
    for surface, model, name in (
        ("openai", "gpt-image-2", "gpt-image-2"),
        ("azure", "gpt-image-2", "gpt-image-2"),
        ("openai", "gpt-image-2.5-flare", "gpt-image-2.5"),
    ):
        row = next(row for row in surfaces()[surface].offers if row.model == model)
        assert row.sizes.free is not None
        words = {"Draft": "low", "Standard": "medium", "Exact": "high", "max": "max"}
        for price in row.prices:
            side = SIDES[name][words[str(price.quality)]]
            found = picture_tokens(side, 1024, 1024) if price.size else dearest(side, row.sizes.free)
            assert (price.tokens, price.amount) == (found, 30)
        assert len(row.prices) == 3 * (4 if "2.5" in model else 3)


def dearest(side: int, free: FreeSize) -> int:
    step, longest = free.multiple_of, free.max_side or 0
    return max(
        picture_tokens(side, width, height)
        for width in range(step, longest + 1, step)
        for height in range(step, width + 1, step)
        if width <= (free.max_ratio or 0) * height and free.min_pixels <= width * height <= free.max_pixels
    )


@pytest.mark.parametrize(
    ("quality", "resolved", "dollars"),
    [
        (None, SQUARE, "0.2108"),
        ("Draft", SQUARE, "0.0059"),
        ("Standard", Resolved(size=(1024, 1024)), "0.0527"),
        ("Exact", Resolved(size=(1024, 1024)), "0.2108"),
        ("Draft", NAMED, "0.0198"),
    ],
)
def test_there_is_a_price_before_the_call(
    openai: Images, quality: str | None, resolved: Resolved, dollars: str
) -> None:
    offer = offer_of(setup(openai).spec, "gpt-image-2")
    assert offer is not None
    told = Request(Task.TEXT_TO_IMAGE, quality=quality)
    assert estimate(offer, told, resolved) == Decimal(dollars)
    result = made(setup(openai, resolved=resolved), quality=quality and Quality(quality))
    assert result.billed is not None
    assert result.billed <= Decimal(dollars) + Decimal("0.0001"), "but for the words of the prompt"


USAGE = {"input_tokens_details": {"text_tokens": 10, "image_tokens": 100}, "output_tokens": 1000}


def test_money_is_counted_by_the_tokens_of_an_answer(openai: Images) -> None:
    known = Rates(Decimal(5), Decimal(8), Decimal(30))
    assert billed(USAGE, known) == Decimal("0.030850")
    assert billed(USAGE, Rates(Decimal(2), Decimal("2.50"), Decimal("8.000001"))) == Decimal("0.008271"), "rounded up"
    for unclear in (
        None,
        {},
        USAGE | {"output_tokens": None},
        USAGE | {"output_tokens": -1},
        USAGE | {"output_tokens": 10**12},
        USAGE | {"input_tokens_details": {"text_tokens": "10", "image_tokens": 0}},
        USAGE | {"input_tokens_details": []},
    ):
        assert billed(unclear, known) is None
    assert billed(USAGE, None) is None
    own = setup(openai, prices=[{"amount": "27", "per": "MillionTokens", "tokens": 7024}])
    assert rates("gpt-image-2", own.offer.prices) == Rates(Decimal(5), Decimal(8), Decimal(27))
    assert made(own).billed == openai.billed - 7024 * Decimal(3) / 10**6, "what the account says that it pays"
    for prices in ([{"amount": "0.05", "per": "Image"}], [{"amount": "27", "per": "MillionTokens", "currency": "EUR"}]):
        assert rates("gpt-image-2", setup(openai, prices=prices).offer.prices) is None
    assert rates("another", own.offer.prices) is None


def test_the_emulator_refuses_what_openai_would(openai: Images) -> None:
    from httpx2 import Client
    from openai import APIStatusError, OpenAI

    http = Client(verify=ssl.create_default_context(cafile=str(openai.authority)))
    official = OpenAI(api_key=KEY, base_url=f"{openai.url}/v1", max_retries=0, http_client=http)
    good: dict[str, Any] = {"model": "gpt-image-2", "prompt": PROMPT}
    answer = official.images.generate(**good, size="1024x1024", quality="low")
    assert answer.data is not None
    assert answer.data[0].b64_json
    assert answer.usage is not None
    assert (answer.quality, answer.usage.output_tokens) == ("low", 196)
    for wrong in (
        {"n": 50},
        {"n": 0},
        {"prompt": ""},
        {"prompt": "x" * 32001},
        {"extra_body": {"seed": 7}},
        {"extra_body": {"prompt": None}},
        {"extra_body": {"n": "1"}},
        {"size": "1000x1000"},
        {"size": "512x512"},
        {"size": "3840x1024"},
        {"size": "4096x2048"},
        {"model": "gpt-image-1.5", "size": "2048x2048"},
        {"quality": "max"},
        {"quality": "standard"},
        {"response_format": "b64_json"},
        {"output_format": "gif"},
    ):
        with pytest.raises(APIStatusError) as caught:
            official.images.generate(**(good | wrong))
        assert caught.value.status_code == 400, wrong
    for files in (
        {"image": b"no picture"},
        {"image": encoded(), "mask": encoded()},
        {"image": encoded(), "mask": encoded(size=(8, 8))},
        {"image": encoded(), "extra_body": {"strength": 0.5}},
    ):
        with pytest.raises(APIStatusError) as caught:
            official.images.edit(**good, **files)  # type: ignore[arg-type] # wrong on purpose
        assert caught.value.status_code == 400, files
    with pytest.raises(APIStatusError) as caught:
        official.images.generate(model="dall-e-3", prompt=PROMPT)
    assert (caught.value.status_code, caught.value.code) == (404, "model_not_found")
    assert http.post(f"{openai.url}/v1/images/generations", json=good).status_code == 401
    with pytest.raises(APIStatusError):
        official.with_options(api_key="another").images.generate(**good)
    assert openai.paid == ["gpt-image-2"]
