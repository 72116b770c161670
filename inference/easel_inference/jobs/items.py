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
from dataclasses import dataclass, replace
from typing import cast

from easel_api.errors import InvalidInput
from easel_api.generationjob import MAX_ITEMS, MAX_PROMPT, PLACEHOLDER, GenerationJobSpec, Inputs
from easel_inference.generation import UNDECISIVE, AdapterUse, Encoding, Expand, GenerationRequest, PreviewOptions

_LEFT_OUT_UNSET = ("adapters", "mask_colours", "reproducible")
"""Left out of what defines an item while they say nothing: items that older releases made keep their ids."""


@dataclass(frozen=True, slots=True)
class Item:
    """One result to make."""

    request: GenerationRequest
    variables: Mapping[str, str]

    @property
    def id(self) -> str:
        """`0007-3f2a9c1b`."""
        return self.request.id

    def ranked(self, priority: int) -> Item:
        """The same, with what is no part of the result: how its steps rank in the engine."""
        return replace(self, request=self.request.model_copy(update={"priority": priority}))


def expand(spec: GenerationJobSpec) -> tuple[Item, ...]:
    """Every item of the job. `InvalidInput` names the field that cannot be expanded."""
    if spec.item_count() > MAX_ITEMS:
        raise InvalidInput(
            f"a job makes at most {MAX_ITEMS} items",
            where="spec.matrix" if spec.matrix else "spec.parameters.seeds",
            found=f"{max(1, len(spec.prompts))} prompts × {spec.combinations()} combinations × {len(spec.parameters.seeds)} seeds"
            f" = {spec.item_count()}",
            fix="Split the job",
        )
    sources = _input_uris(spec)
    return tuple(_item(spec, index, text, sources) for index, text in enumerate(_texts(spec)))


def spec_hash(spec: GenerationJobSpec) -> str:
    """Hash of what decides the results; how the job runs (suspend, attempts, deadline, store, …) is left out."""
    decisive = {"task", "backends", "prompts", "matrix", "inputs", "parameters"}
    # These came later: a job that says nothing of them keeps its hash.
    decisive |= {
        name
        for name in ("adapters", "quality", "reproducible", "generation_class_name", "on_unsupported")
        if getattr(spec, name)
    }
    content = spec.model_dump(mode="json", by_alias=True, include=decisive, exclude_none=True)
    content["format"] = spec.resolved_format()
    return _sha256(content)


@dataclass(frozen=True, slots=True)
class _Text:
    """What one item says in words, with its seed."""

    prompt: str
    negative: str
    end: str | None
    search: str | None
    variables: Mapping[str, str]
    seed: int


@dataclass(frozen=True, slots=True)
class _Template:
    """A prompt with its placeholders, and where it stands."""

    where: str
    texts: Mapping[str, str]

    def check(self, spec: GenerationJobSpec) -> None:
        """Raises `InvalidInput` for a placeholder that the matrix does not fill."""
        for field, text in self.texts.items():
            unknown = sorted(set(PLACEHOLDER.findall(text)) - set(spec.matrix))
            if unknown:
                raise InvalidInput(
                    "the prompt uses a variable that the matrix does not have",
                    where=f"{self.where}.{field}",
                    found="{{" + unknown[0] + "}}",
                    fix=f"Add spec.matrix.{unknown[0]}, or correct the name",
                )

    def filled(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Its texts with the variables in place."""
        return {field: _filled(text, variables, f"{self.where}.{field}") for field, text in self.texts.items()}


def _templates(spec: GenerationJobSpec) -> list[_Template]:
    """The prompts; one empty prompt when there are none, for some models read no words."""
    if not spec.prompts:
        return [_Template("spec.prompts", {"text": "", "negative": ""})]
    return [
        _Template(f"spec.prompts[{number}]", prompt.model_dump(exclude_none=True))
        for number, prompt in enumerate(spec.prompts)
    ]


def _texts(spec: GenerationJobSpec) -> Iterator[_Text]:
    names = sorted(spec.matrix)
    for template in _templates(spec):
        template.check(spec)
        for values in itertools.product(*(spec.matrix[name] for name in names)):
            variables = dict(zip(names, values, strict=True))
            filled = template.filled(variables)
            for seed in spec.parameters.seeds:
                yield _Text(
                    filled["text"], filled["negative"], filled.get("end"), filled.get("search"), variables, seed
                )


def _item(spec: GenerationJobSpec, index: int, text: _Text, sources: tuple[str, ...]) -> Item:
    unnamed = _request(spec, "unnamed", text)
    defining = unnamed.model_dump(mode="json", exclude=set(UNDECISIVE), exclude_none=True)
    for name in _LEFT_OUT_UNSET:
        if not defining[name]:
            del defining[name]
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
        end_prompt=text.end,
        end_seed=parameters.end_seed,
        search_prompt=text.search,
        # By name and in order, since neither a list map nor a set says anything by its order.
        adapters=tuple(
            AdapterUse(name=use.name, weight=use.weight) for use in sorted(spec.adapters, key=lambda use: use.name)
        ),
        mask_colours=tuple(sorted(parameters.mask_colours or ())),
        expand=None if parameters.expand is None else Expand(**parameters.expand.model_dump()),
        scale=parameters.scale,
        truncation=parameters.truncation,
        quality=spec.quality,
        reproducible=spec.reproducible,
        encoding=cast("Encoding", spec.resolved_format()),
        previews=None if previews is None else PreviewOptions(every_steps=previews.every_steps, size=previews.size),
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


def _input_uris(spec: GenerationJobSpec) -> tuple[str, ...]:
    """Of image and mask an empty text when there is none, for older ids have them; of the others only what there is."""
    files = {name: getattr(spec.inputs, name, None) for name in Inputs.model_fields}
    return tuple(
        file.uri if file else "" for name, file in files.items() if file is not None or name in {"image", "mask"}
    )


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
