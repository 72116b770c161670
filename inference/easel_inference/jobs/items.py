"""A job's items: prompts × matrix × seeds, in an order and with ids that never depend on a run.

Order: prompts as written; then the matrix by variable name (the API server sorts the keys of maps, a file does not) with
values as written; seeds innermost. An id is the item's place and eight digits of a hash over everything that defines it,
so that another item never takes over a key.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from easel_api.errors import InvalidInput
from easel_api.generationjob import MAX_ITEMS, PLACEHOLDER, GenerationJobSpec, Prompt
from easel_inference.generation import Encoding, GenerationRequest, PreviewOptions

MAX_PROMPT = 8000
"""Characters of a prompt once its variables are filled in; `GenerationRequest` takes no more."""


@dataclass(frozen=True, slots=True)
class Item:
    """One result to make."""

    request: GenerationRequest
    variables: Mapping[str, str]

    @property
    def id(self) -> str:
        """`0007-3f2a9c1b`."""
        return self.request.id


def expand(spec: GenerationJobSpec) -> tuple[Item, ...]:
    """Every item of the job. `InvalidInput` names the field that cannot be expanded."""
    if spec.item_count() > MAX_ITEMS:
        raise InvalidInput(
            f"a job makes at most {MAX_ITEMS} items",
            where="spec.matrix" if spec.matrix else "spec.parameters.seeds",
            found=f"{len(spec.prompts)} prompts × {spec.combinations()} combinations × {len(spec.parameters.seeds)} seeds"
            f" = {spec.item_count()}",
            fix="Split the job",
        )
    sources = _input_uris(spec)
    return tuple(_item(spec, index, text, sources) for index, text in enumerate(_texts(spec)))


def spec_hash(spec: GenerationJobSpec) -> str:
    """Hash of what decides the results; how the job runs (suspend, attempts, deadline, store, …) is left out."""
    decisive = {"task", "backends", "prompts", "matrix", "inputs", "parameters"}
    content = spec.model_dump(mode="json", by_alias=True, include=decisive, exclude_none=True)
    content["format"] = spec.resolved_format()
    return _sha256(content)


@dataclass(frozen=True, slots=True)
class _Text:
    prompt: str
    negative: str
    variables: Mapping[str, str]
    seed: int


def _texts(spec: GenerationJobSpec) -> Iterator[_Text]:
    names = sorted(spec.matrix)
    for number, prompt in enumerate(spec.prompts):
        _check_placeholders(prompt, number, spec)
        for values in itertools.product(*(spec.matrix[name] for name in names)):
            variables = dict(zip(names, values, strict=True))
            text = _filled(prompt.text, variables, f"spec.prompts[{number}].text")
            negative = _filled(prompt.negative, variables, f"spec.prompts[{number}].negative")
            for seed in spec.parameters.seeds:
                yield _Text(text, negative, variables, seed)


def _item(spec: GenerationJobSpec, index: int, text: _Text, sources: tuple[str, str]) -> Item:
    unnamed = _request(spec, "unnamed", text)
    defining = unnamed.model_dump(mode="json", exclude={"id", "previews"}, exclude_none=True)
    short = _sha256([defining, *sources])[:8]
    return Item(unnamed.model_copy(update={"id": f"{index:04d}-{short}"}), text.variables)


def _request(spec: GenerationJobSpec, item_id: str, text: _Text) -> GenerationRequest:
    parameters, previews = spec.parameters, spec.output.previews
    return GenerationRequest(
        id=item_id,
        task=spec.task,
        prompt=text.prompt,
        negative_prompt=text.negative,
        seed=text.seed,
        width=parameters.width,
        height=parameters.height,
        steps=parameters.steps,
        guidance_scale=parameters.guidance_scale,
        strength=parameters.strength,
        frames=parameters.frames,
        fps=parameters.fps,
        encoding=cast("Encoding", spec.resolved_format()),
        previews=None if previews is None else PreviewOptions(every_steps=previews.every_steps, size=previews.size),
    )


def _check_placeholders(prompt: Prompt, number: int, spec: GenerationJobSpec) -> None:
    for field, text in (("text", prompt.text), ("negative", prompt.negative)):
        unknown = sorted(set(PLACEHOLDER.findall(text)) - set(spec.matrix))
        if unknown:
            raise InvalidInput(
                "the prompt uses a variable that the matrix does not have",
                where=f"spec.prompts[{number}].{field}",
                found="{{" + unknown[0] + "}}",
                fix=f"Add spec.matrix.{unknown[0]}, or correct the name",
            )


def _filled(text: str, variables: Mapping[str, str], where: str) -> str:
    filled = PLACEHOLDER.sub(lambda match: variables[match[1]], text)
    if len(filled) > MAX_PROMPT:
        raise InvalidInput(
            f"with its variables filled in a prompt has at most {MAX_PROMPT} characters",
            where=where,
            found=f"{len(filled)} characters",
            fix="Shorten the prompt or the values of the matrix",
        )
    return filled


def _input_uris(spec: GenerationJobSpec) -> tuple[str, str]:
    inputs = spec.inputs
    if inputs is None:
        return "", ""
    return (inputs.image.uri if inputs.image else "", inputs.mask.uri if inputs.mask else "")


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
