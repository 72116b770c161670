"""Label selectors as Kubernetes has them, for namespaces; the API server that takes one leaves it to us to read it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import PATTERN_WORDS, ApiModel, ListSet, Rule

LABEL_PATTERN = r"^([a-z0-9]([-.a-z0-9]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$"
PATTERN_WORDS.update(
    {
        LABEL_PATTERN: "A label's name, such as team or example.org/team.",
        LABEL_VALUE_PATTERN: "Letters, digits, -, _ and ., with a letter or digit at both ends, or nothing.",
    }
)

LabelName = Annotated[str, StringConstraints(pattern=LABEL_PATTERN, max_length=316)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE_PATTERN, max_length=63)]


class Operator(StrEnum):
    """How a label is looked at."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(ApiModel):
    """What must be so of one label."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            message="values go with In and NotIn",
            holds=lambda requirement: (
                (requirement.operator in (Operator.IN, Operator.NOT_IN)) == bool(requirement.values)
            ),
            path="values",
        ),
    )

    key: Annotated[LabelName, Field(description="Which label.")]
    operator: Annotated[
        Operator, Field(description="In and NotIn look at its value; NotIn holds without the label, too.")
    ]
    values: Annotated[list[LabelValue], ListSet(), Field(max_length=16, description="Of In and NotIn.")] = []

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether it is so of these labels."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class NamespaceSelector(ApiModel):
    """Namespaces by their labels: all of it must be so. An empty one selects every namespace."""

    match_labels: Annotated[
        dict[LabelName, LabelValue], Field(max_length=16, description="Labels that a namespace has.")
    ] = {}
    match_expressions: Annotated[
        list[LabelRequirement], Field(max_length=16, description="What else must be so of its labels.")
    ] = []

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            each.holds(labels) for each in self.match_expressions
        )
