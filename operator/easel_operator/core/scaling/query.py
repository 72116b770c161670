"""What Prometheus is asked for the demand of a model.

Replicas that finish a backlog of B GPU-seconds in T seconds while work goes on coming in at a rate of r GPU-seconds a second
are B / T + r. An autoscaler divides what it is told by its target T, hence B + T × r. Without the rate, replicas that keep
up with a steady load would look idle, go, and come back when the backlog has grown.
"""

from __future__ import annotations

import json

from easel_api.scaling import Scaling

BACKLOG = "easel_backlog_gpu_seconds"
REQUESTED = "easel_requested_gpu_seconds_total"
DEMAND = "easel_demand_gpu_seconds"
"""The external metric of a HorizontalPodAutoscaler; an adapter makes it of the same expression."""
RATE_WINDOWS = "2m", "10m"
"""The lower rate counts: a burst that is over raises the longer one alone, and a steady load both alike."""


def demand_query(scaling: Scaling, namespace: str, name: str) -> str:
    """PromQL of the demand in GPU-seconds: the user's own, or ours. One element when there is data, else none.

    Without a backlog the rate counts for nothing: it still tells of work that is done. `max` and not `sum`, since for a moment the series of two leaders may be there; and the rate of a series that was
    seen once is not known yet, which must not hide the backlog.
    """
    if scaling.query is not None:
        return scaling.query
    labels = f"{{namespace={json.dumps(namespace)},deployment={json.dumps(name)}}}"
    backlog = f"max({BACKLOG}{labels})"
    short, long = (f"max(rate({REQUESTED}{labels}[{window}]))" for window in RATE_WINDOWS)
    rate = f"({short} < {long} or {long} or 0 * {backlog})"
    return f"{backlog} + {scaling.target_backlog_seconds} * {rate} * ({backlog} > bool 0)"
