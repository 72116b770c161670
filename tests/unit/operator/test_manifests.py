"""When a rendered child and the observed one are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from easel_operator.core.manifests import digest, matches

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("observed", "rendered", "same"),
    [
        ({"a": 1, "defaulted": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": {}}, True),
        ({"l": [{"a": 1, "b": 2}]}, {"l": [{"a": 1}]}, True),
        ({"l": [{"a": 1}, {"a": 2}]}, {"l": [{"a": 1}]}, False),
        ({"cpu": "500m"}, {"cpu": "0.5"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1Gi"}, {"memory": "1G"}, False),
        ({"a": "text"}, {"a": "other"}, False),
        ({"a": [1]}, {"a": {"b": 1}}, False),
    ],
)
def test_what_counts_as_the_same(observed: Any, rendered: Any, same: bool) -> None:
    assert matches(observed, rendered) is same


@given(JSON)
def test_everything_matches_itself(value: Any) -> None:
    assert matches(value, value)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.text(max_size=3), JSON)
def test_an_added_field_does_not_matter(value: dict[str, Any], key: str, more: Any) -> None:
    if key not in value:
        assert matches(value | {key: more}, value)


@given(JSON, JSON)
def test_the_hash_follows_the_value(left: Any, right: Any) -> None:
    if left == right and str(left) == str(right):
        assert digest(left) == digest(right)
