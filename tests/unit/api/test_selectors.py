"""Namespaces by their labels, as Kubernetes' own selectors read them."""

from __future__ import annotations

from typing import Any

import pytest

from easel_api.selectors import NamespaceSelector

ART = {"team": "art", "tier": ""}


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({}, True),
        ({"matchLabels": {"team": "art"}}, True),
        ({"matchLabels": {"team": "art", "tier": ""}}, True),
        ({"matchLabels": {"team": "art", "site": ""}}, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["lab", "art"]}]}, True),
        ({"matchExpressions": [{"key": "site", "operator": "In", "values": [""]}]}, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["lab"]}]}, True),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["art"]}]}, False),
        ({"matchExpressions": [{"key": "site", "operator": "NotIn", "values": ["x"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "site", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "site", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"team": "art"}, "matchExpressions": [{"key": "site", "operator": "Exists"}]}, False),
    ],
)
def test_all_of_a_selector_must_be_so(selector: dict[str, Any], selects: bool) -> None:
    assert NamespaceSelector.model_validate(selector).selects(ART) is selects
