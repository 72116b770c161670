"""Whether a model's weights can fit: numbers in, a refusal with the numbers out."""

from __future__ import annotations

import pytest

from easel_api.modeldeployment import ModelDeploymentSpec
from easel_api.weights import Weights, declared, said, size_of, too_large

SDXL = Weights(denoisers=2_567_463_684, others=902_000_000)


def spec_of(**changes: object) -> ModelDeploymentSpec:
    return ModelDeploymentSpec.model_validate({"model": {"source": "pvc://models/sdxl"}} | changes)


GPU = {"gpus": 1, "gpuMemory": "22Gi"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 4 * (2_567_463_684 + 902_000_000)),
        ({"resources": GPU}, 2 * (2_567_463_684 + 902_000_000)),
        ({"resources": GPU, "engine": {"dtype": "float32"}}, 4 * (2_567_463_684 + 902_000_000)),
        ({"resources": GPU, "engine": {"weightsDtype": "float8"}}, 2_567_463_684 + 2 * 902_000_000),
    ],
)
def test_each_part_counts_in_the_format_that_it_is_kept_in(changes: dict[str, object], expected: int) -> None:
    assert size_of(spec_of(**changes), SDXL) == expected


def test_what_a_replica_has_is_the_gpus_memory_or_the_containers() -> None:
    assert declared(spec_of()) == ("spec.resources.memory", 4 * 2**30)
    assert declared(spec_of(resources=GPU)) == ("spec.resources.gpuMemory", 22 * 2**30)
    assert declared(spec_of(resources={"gpus": 1})) is None


def test_a_model_that_cannot_fit_is_refused_with_the_numbers() -> None:
    error = too_large(spec_of(), SDXL, *(declared(spec_of()) or ("", 0)))
    assert error is not None
    assert error.where == "spec.resources.memory"
    assert error.found == "13,235 MiB of weights in float32, of 4,096 MiB"
    in_float8 = spec_of(resources=GPU, engine={"weightsDtype": "float8"})
    assert "in float8 and bfloat16" in str(too_large(in_float8, SDXL, "x", 1))
    size = size_of(in_float8, SDXL)
    assert too_large(in_float8, SDXL, "x", size) is None
    assert too_large(in_float8, SDXL, "x", size - 1) is not None


def test_a_fetch_jobs_last_words_are_read_as_they_were_said() -> None:
    assert said(f"{SDXL}\n") == SDXL
    for other in ("", "NotFound: no such bucket", "Weights: denoisers=-1 others=0", f"{SDXL} more"):
        assert said(other) is None
