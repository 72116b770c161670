"""YAML is read as Kubernetes reads it, and what is wrong with it is told with its line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from easel_api.validation.source import read

VALUES = [
    ("y", True),
    ("No", False),
    ("on", True),
    ("true", True),
    ("~", None),
    ("", None),
    ("2024-01-01", "2024-01-01"),
    ("1:30", "1:30"),
    ("010", 8),
    ("0x10", 16),
    ("1e3", 1000),
    ("20.0", 20),
    ("2.5", 2.5),
    ("1_0", 10),
    ("red", "red"),
    ("'y'", "y"),
    ('"\\ud83d\\ude00"', "😀"),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_scalars(text: str, value: object) -> None:
    documents, problems = read(f"a: {text}\n", "f")
    assert problems == []
    assert documents[0].data == {"a": value}
    assert type(documents[0].data["a"]) is type(value)


BROKEN = [
    ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
    ("a: b\n\tc: d\n", 2, "not valid YAML"),
    ("a: {{x}} mug\n", 1, "Put text that starts with {{"),
    ("a: {{x}}\n", 1, "Put text that starts with {{"),
    ("a: 1\nb: 2\na: 3\n", 1, "a: this name stands twice"),
    ("a: *b\n", 1, "not valid YAML"),
    ("a: !!python/object:os.system {}\n", 1, ""),
    ("a: !!binary aGk=\n", 1, "a YAML tag"),
    ("a: .nan\n", 1, "not a finite number"),
    ("y: 1\n", 1, 'y: YAML reads this name as true or false. Quote it: "y"'),
    ("a: &x [*x]\n", 1, "more than 100000 values"),
    ('a: "\\ud83d"\n', 1, "half a character"),
    ("a: \x07\n", 0, "not valid YAML"),
]


@pytest.mark.parametrize(
    ("text", "line", "says"), BROKEN, ids=[text.encode("unicode_escape").decode() for text, *_ in BROKEN]
)
def test_what_is_wrong_with_the_yaml(text: str, line: int, says: str) -> None:
    documents, problems = read(text, "job.yaml")
    if not says:  # a tag on a mapping is no business of ours: the mapping is read as one
        assert documents[0].data == {"a": {}}
        return
    assert documents == []
    assert problems[0].line == line
    assert says in str(problems[0])


def test_aliases_and_merges_are_followed() -> None:
    documents, _ = read("base: &b {x: 1, z: 3}\nuse: {<<: *b, x: 2}\nagain: *b\n", "f")
    assert documents[0].data == {"base": {"x": 1, "z": 3}, "use": {"x": 2, "z": 3}, "again": {"x": 1, "z": 3}}


def test_a_few_lines_that_stand_for_billions_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    documents, problems = read("\n".join(lines), "f")
    assert documents == []
    assert "more than 100000 values" in str(problems[0])


def test_a_file_of_megabytes_is_refused() -> None:
    assert "at most 1024 KiB" in str(read("a: " + "x" * 2**20, "f")[1][0])


def test_deep_nesting_is_refused() -> None:
    assert "nested too deep" in str(read("[" * 5000 + "]" * 5000, "f")[1][0])


def test_a_syntax_error_does_not_repeat_the_text() -> None:
    for text in (
        "- text: *zebra stripes\n",
        "a: 'zebra\n",
        "a: zebra: stripes\n",
        "- zebra\nstripes: {\n",
        '"\\zebra"',
    ):
        (problem,) = read(text, "f")[1]
        assert "zebra" not in str(problem)


def test_lines_point_at_the_field() -> None:
    documents, _ = read("a:\n  b:\n  - c: 1\n    d: 2\n---\ne: 1\n", "f")
    assert documents[0].place.lines["a", "b", 0, "d"] == 4
    assert (documents[1].place.document, documents[1].place.lines["e",]) == (2, 6)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc<", min_size=1), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), plain, max_size=3))
def test_json_is_read_as_json(data: object) -> None:
    documents, problems = read(json.dumps(data, indent=1), "f")
    assert problems == []
    assert [document.data for document in documents] == [data]
