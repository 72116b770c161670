"""Which denoising steps a request computes: pure.

A step that the plan skips is answered with a straight line through the last two computed outputs and takes part in no
forward pass. The plan depends on the step's index alone, so it needs no look at the numbers (which on a GPU would wait
for it) and a request that skips a step costs its neighbours nothing.

The first steps decide what stands where and the last ones the fine detail, so both are always computed.
"""

from __future__ import annotations

from easel_api.tasks import Quality

HEAD_SHARE = {Quality.STANDARD: 0.4, Quality.DRAFT: 0.25}
"""Share of the steps at the start that are all computed."""

STRIDE = {Quality.STANDARD: 2, Quality.DRAFT: 3}
"""Of the others, one of so many is computed."""

SHORTEST = 6
"""Fewer steps than this are all computed: there is nothing to leave out of a distilled model's four."""


def computed(steps: int, quality: Quality) -> tuple[bool, ...]:
    """For each of `steps` steps whether the denoiser computes it."""
    if quality is Quality.EXACT or steps < SHORTEST:
        return (True,) * steps
    head = max(2, round(HEAD_SHARE[quality] * steps))
    stride = STRIDE[quality]
    return tuple(step < head or step == steps - 1 or (step - head) % stride == stride - 1 for step in range(steps))
