"""What is wrong with a job's specification beyond what a schema can say."""

from __future__ import annotations

from collections.abc import Iterable

from easel_api.generationjob import GenerationJobSpec


def spec_problems(spec: GenerationJobSpec) -> Iterable[str]:
    """Sentences with the field's path in front."""
    return ()
