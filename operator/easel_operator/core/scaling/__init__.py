"""How many replicas a ModelDeployment has: pure, called by the decisions about models and jobs.

    work    what a job still asks of its model, in GPU-seconds
    hours   the bounds of the number of replicas at a moment, by schedules
    query   what Prometheus is asked
    policy  from bounds, work, demand and what was recommended before to the number of replicas

It may import `easel_api` and the core's values; not the decisions that call it.
"""
