"""How many replicas a ModelDeployment has, by demand: `spec.scaling`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .base import PATTERN_WORDS, ApiModel, ListMap, ListSet, Name, Rule

CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
TIME_ZONE_PATTERN = r"^[A-Z][A-Za-z]*(/[A-Za-z0-9_+-]+)*$"
PATTERN_WORDS.update(
    {
        CLOCK_PATTERN: 'A time of day from "00:00" to "23:59", in quotes.',
        TIME_ZONE_PATTERN: "A name of the IANA time zone database, such as Europe/Berlin.",
    }
)


class ScalingEngine(StrEnum):
    """Who writes the number of replicas."""

    OPERATOR = "Operator"
    KEDA = "KEDA"
    HPA = "HPA"


class Weekday(StrEnum):
    """Days as people write them."""

    MONDAY = "Mon"
    TUESDAY = "Tue"
    WEDNESDAY = "Wed"
    THURSDAY = "Thu"
    FRIDAY = "Fri"
    SATURDAY = "Sat"
    SUNDAY = "Sun"


ReplicaBound = Annotated[int, Field(ge=0, le=64)]
ClockTime = Annotated[str, StringConstraints(pattern=CLOCK_PATTERN, max_length=5)]


def _cel_least(field: str) -> str:
    return f"(has({field}.minReplicas) ? {field}.minReplicas : 0)"


class Schedule(ApiModel):
    """Hours with replicas of their own, such as those of an office."""

    name: Annotated[Name, Field(description="Unique in this ModelDeployment.")]
    days: Annotated[
        list[Weekday],
        ListSet(),
        Field(min_length=1, max_length=7, description="Days on which it starts. Default: every day."),
    ] = list(Weekday)
    start: Annotated[ClockTime, Field(description="When it starts, on the clocks of timeZone.")]
    end: Annotated[
        ClockTime, Field(description="When it ends; at or before start it is on the next day, and a whole day at most.")
    ]
    time_zone: Annotated[
        str, Field(max_length=64, pattern=TIME_ZONE_PATTERN, description="Whose clocks are meant. Default: Etc/UTC.")
    ] = "Etc/UTC"
    min_replicas: Annotated[
        ReplicaBound, Field(description="At least so many replicas meanwhile; never more than scaling.maxReplicas.")
    ]


class ScalingRules(ApiModel):
    """How soon a direction is followed."""

    stabilization_window_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=3600,
            description="The most cautious recommendation of so many seconds counts. Default: 0 up, 120 down.",
        ),
    ]


class ScalingBehavior(ApiModel):
    """How soon the number of replicas follows the demand, in the words of a HorizontalPodAutoscaler."""

    scale_up: Annotated[ScalingRules, Field(description="When demand rises.")] = ScalingRules(
        stabilization_window_seconds=0
    )
    scale_down: Annotated[ScalingRules, Field(description="When demand falls.")] = ScalingRules(
        stabilization_window_seconds=120
    )


class Scaling(ApiModel):
    """How many replicas there are, by demand. A queued job wakes its model from zero whatever Prometheus says."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"{_cel_least('self')} <= self.maxReplicas",
            message="minReplicas is at most maxReplicas",
            holds=lambda scaling: scaling.min_replicas <= scaling.max_replicas,
            path="minReplicas",
        ),
        Rule(
            cel="!has(self.schedules) || self.schedules.all(s, s.minReplicas <= self.maxReplicas)",
            message="minReplicas of a schedule is at most maxReplicas",
            holds=lambda scaling: all(each.min_replicas <= scaling.max_replicas for each in scaling.schedules),
            path="schedules",
        ),
        Rule(
            cel=f"!has(self.engine) || self.engine != 'HPA' || {_cel_least('self')} > 0",
            message="engine HPA needs minReplicas of at least 1, since a HorizontalPodAutoscaler wakes no model from zero",
            holds=lambda scaling: scaling.engine is not ScalingEngine.HPA or scaling.min_replicas > 0,
            path="minReplicas",
        ),
        Rule(
            cel="!has(self.engine) || self.engine != 'HPA' || !has(self.idleSeconds)",
            message="engine HPA takes no idleSeconds, since it never scales to zero",
            holds=lambda scaling: (
                scaling.engine is not ScalingEngine.HPA or "idle_seconds" not in scaling.model_fields_set
            ),
            path="idleSeconds",
        ),
        Rule(
            cel="!has(self.engine) || self.engine != 'HPA' || !has(self.query)",
            message="engine HPA takes no query; its external metric is easel_demand_gpu_seconds",
            holds=lambda scaling: scaling.engine is not ScalingEngine.HPA or scaling.query is None,
            path="query",
        ),
    )

    engine: Annotated[
        ScalingEngine,
        Field(
            description="Who writes the number of replicas. Operator: the operator, by what Prometheus says. KEDA: a ScaledObject that "
            "the operator renders. HPA: a HorizontalPodAutoscaler with an external metric."
        ),
    ] = ScalingEngine.OPERATOR
    min_replicas: Annotated[ReplicaBound, Field(description="At least so many replicas; 0 lets the model sleep.")] = 0
    max_replicas: Annotated[int, Field(ge=1, le=64, description="At most so many replicas.")]
    target_backlog_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=86400,
            description="There are as many replicas as finish the present backlog in so many seconds while work comes in as it did "
            "in the last minutes.",
        ),
    ] = 60
    idle_seconds: Annotated[
        int, Field(ge=0, le=604800, description="A model without work sleeps after so many seconds.")
    ] = 600
    behavior: Annotated[ScalingBehavior, Field(description="How soon the number of replicas follows the demand.")] = (
        ScalingBehavior()
    )
    schedules: Annotated[
        list[Schedule],
        ListMap(("name",)),
        Field(
            max_length=16, description="Hours with more replicas at the least; of several the highest number counts."
        ),
    ] = []
    query: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=2048,
            description="PromQL for the demand in GPU-seconds, one element; it is divided by targetBacklogSeconds. Default: the backlog "
            "of queued and running work, and the work that came in during targetBacklogSeconds at the rate of the last 2 or 10 minutes, the lower one, while there is a backlog.",
        ),
    ] = None


class ScalingStatus(ApiModel):
    """What scaling remembers."""

    engine: Annotated[
        ScalingEngine | None, Field(description="Who else writes the number of replicas, when the operator does not.")
    ] = None

    idle_since: Annotated[
        str | None, Field(max_length=40, description="When the last job of this model ended, RFC 3339 in UTC.")
    ] = None
