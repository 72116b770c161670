"""What no schema and no rule can say: a GenerationJob's placeholders and number of items, a ModelDeployment's time zones."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, available_timezones

from easel_api.generationjob import MAX_ITEMS, MAX_PROMPT, PLACEHOLDER, GenerationJobSpec
from easel_api.modeldeployment import ModelDeploymentSpec

from .problems import Loc, Place, Problem
from .typed import closest


def spec_problems(spec: GenerationJobSpec, place: Place | None = None) -> list[Problem]:
    """Each such problem of a job's spec; the operator asks as well as `easel validate`."""
    at = place or Place()
    found = [*_unknown_variables(spec, at), *_broken_placeholders(spec, at), *_unused_variables(spec, at)]
    return [*found, *_too_many_items(spec, at), *_too_long_prompts(spec, at)]


def model_problems(spec: ModelDeploymentSpec, place: Place | None = None) -> list[Problem]:
    """Each such problem of a model's spec; the operator asks as well as `easel validate`."""
    at = place or Place()
    return list(_unknown_time_zones(spec, at))


def _unknown_time_zones(spec: ModelDeploymentSpec, place: Place) -> Iterator[Problem]:
    for number, schedule in enumerate(spec.scaling.schedules if spec.scaling else ()):
        try:
            ZoneInfo(schedule.time_zone)
        except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the database
            meant = closest(schedule.time_zone, sorted(available_timezones()))
            fix = f"Did you mean {meant}?" if meant else "Use a name of the IANA time zone database"
            loc = ("spec", "scaling", "schedules", number, "timeZone")
            yield place.problem(loc, "there is no such time zone", found=schedule.time_zone, fix=fix)


def _texts(spec: GenerationJobSpec) -> Iterator[tuple[Loc, str]]:
    for number, prompt in enumerate(spec.prompts):
        yield ("spec", "prompts", number, "text"), prompt.text
        yield ("spec", "prompts", number, "negative"), prompt.negative
        for name, text in (("end", prompt.end), ("search", prompt.search)):
            if text is not None:
                yield ("spec", "prompts", number, name), text


def _used(text: str) -> list[str]:
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def _unknown_variables(spec: GenerationJobSpec, place: Place) -> Iterator[Problem]:
    for loc, text in _texts(spec):
        for name in _used(text):
            if name not in spec.matrix:
                meant = closest(name, list(spec.matrix))
                fix = f"Did you mean {{{{{meant}}}}}?" if meant else f"Add spec.matrix.{name} with a list of values"
                yield place.problem(loc, "the matrix has no such variable", found=f"{{{{{name}}}}}", fix=fix)


def _broken_placeholders(spec: GenerationJobSpec, place: Place) -> Iterator[Problem]:
    for loc, text in _texts(spec):
        rest = PLACEHOLDER.sub("", text)
        if "{{" in rest or "}}" in rest:
            what = "{{ or }} that belongs to no variable"
            yield place.problem(loc, what, fix="A variable is {{name}}, with letters, digits and _ in its name")


def _unused_variables(spec: GenerationJobSpec, place: Place) -> Iterator[Problem]:
    used = {name for _, text in _texts(spec) for name in _used(text)}
    for name in spec.matrix:
        if name not in used:
            fix = f"Write {{{{{name}}}}} in a prompt, or remove the variable"
            yield place.problem(("spec", "matrix", name), "no prompt uses this variable", fix=fix)


def _too_many_items(spec: GenerationJobSpec, place: Place) -> Iterator[Problem]:
    if spec.item_count() <= MAX_ITEMS:
        return
    prompts, seeds = max(1, len(spec.prompts)), len(spec.parameters.seeds)
    found = f"{prompts} prompts × {spec.combinations()} combinations × {seeds} seeds = {spec.item_count()}"
    loc = ("spec", "matrix") if spec.matrix else ("spec", "parameters", "seeds")
    yield place.problem(loc, f"a job makes at most {MAX_ITEMS} items", found=found, fix="Split the job")


def _too_long_prompts(spec: GenerationJobSpec, place: Place) -> Iterator[Problem]:
    longest = {name: max(map(len, values)) for name, values in spec.matrix.items()}
    for loc, text in _texts(spec):
        filled = len(PLACEHOLDER.sub("", text)) + sum(longest.get(name, 0) for name in PLACEHOLDER.findall(text))
        if filled > MAX_PROMPT:
            what = f"has more than {MAX_PROMPT} characters once its variables are filled in"
            yield place.problem(loc, what, found=f"{filled} characters", fix="Shorten it or the matrix's values")
