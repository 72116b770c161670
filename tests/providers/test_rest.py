"""Where a provider may have a result fetched from, and where a key may go."""

from __future__ import annotations

from pathlib import Path

import pytest
from easel_emulators.bedrock import bedrock

from easel_api.errors import BilledBadOutput, Transient
from easel_inference.backends.base import GAVE_UP, Expired
from easel_inference.backends.rest import Answer, Rest, refused

API = "https://api.example.org"


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.example.org/v1/x?y=1", True),
        ("https://API.example.org:443/v1", True),
        ("https://api.example.org:8443/v1", False),
        ("http://api.example.org/v1", False),
        ("https://api.example.org.evil.example/v1", False),
        # What one reader takes for a host, another takes for a user or a path.
        ("https://evil.example\\@api.example.org/x", False),
        ("https://api.example.org\\@evil.example/x", False),
        ("https://evil.example@api.example.org/x", False),
        ("https://api.example.org@evil.example/x", False),
        ("https://api.example.org\t.evil.example/x", False),
        ("https://аpi.example.org/x", False),  # a Cyrillic letter
        ("https://[/x", False),
        ("https://api.example.org:x/", False),
        ("", False),
    ],
)
def test_a_key_goes_to_the_api_alone(url: str, own: bool) -> None:
    assert Rest("it", API, {}).owns(url) is own


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:9/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://localhost/x",
        "https://[::ffff:169.254.169.254]/x",
        "http://example.org/x",
        "https://[/x",
        "https://h:x/",
        "https://evil.example\\@api.example.org/x",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "/relative",
    ],
)
def test_a_result_is_never_within_the_network_of_whoever_asks(url: str) -> None:
    with pytest.raises(BilledBadOutput, match="names a result where none can be"):
        Rest("it", API, {}).fetch(url, "model")


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    with pytest.raises(Transient):
        Rest("it", API, {}).fetch("https://no-such-host.invalid/x", "model")


@pytest.mark.parametrize("status", sorted(GAVE_UP))
def test_a_gateway_that_gave_up_may_have_passed_a_paid_call_on(status: int) -> None:
    """And says nothing of money behind a question."""
    paid, free = (refused("it", Answer(status, {}, b""), "model", free=each) for each in (False, True))
    assert (paid.reason, paid.retryable) == ("AmbiguousSubmit", False)
    assert (free.reason, free.retryable) == ("Transient", True)


@pytest.mark.parametrize("status", [500, 501, 503, 525, 526, 529])
def test_other_failures_of_a_server_are_no_call(status: int) -> None:
    assert refused("it", Answer(status, {}, b""), "model").reason == "Transient"


def test_what_is_gone_is_told_apart(tmp_path: Path) -> None:
    with bedrock(tmp_path) as service:
        api = Rest("it", service.url, {}, str(service.authority))
        with pytest.raises(Transient) as caught:
            api.fetch(f"{service.url}/nothing", "model")
    assert not isinstance(caught.value, Expired)  # the emulator knows no GET: 501
