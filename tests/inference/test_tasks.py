"""Every task of the miniature, judged: what was asked for is in the picture, and what was not stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import Submit, opened, png, request, submitter
from PIL import Image
from scenes import clip_of, frames, overlap, rendered, seen, shapes_of

from easel_api.tasks import Quality, Task
from easel_inference.generation import AdapterUse, Expand, Failed, Finished
from easel_inference.miniature.judge import load_judge, pictures_of
from easel_inference.miniature.studio import SEGMENT_PALETTE

pytestmark = pytest.mark.engine

INK = (AdapterUse(name="ink"),)


def shown(running: Any) -> Image.Image:
    message = running.result()
    assert isinstance(message.event, Finished), message.event
    return opened(message.payload).convert("RGB")


def shift_of(picture: Image.Image) -> float:
    """How far right the product stands, from -1 to 1."""
    mask = load_judge().silhouettes(pictures_of([picture]))[0].float().numpy()
    line = np.linspace(-1, 1, mask.shape[1])
    return float((mask.sum(0) * line).sum() / max(mask.sum(), 1))


def test_a_segmentation_map_says_where_the_product_stands(submit: Submit) -> None:
    wishes = [
        {"product": "bottle", "colour": "blue", "environment": "studio", "shift": 0.35, "scale": 0.8},
        {"product": "mug", "colour": "red", "environment": "beach", "shift": -0.35, "scale": 1.1},
        {"product": "cone", "colour": "green", "environment": "grass", "shift": 0.2, "scale": 0.7},
        {"product": "chair", "colour": "yellow", "environment": "night", "shift": -0.2, "scale": 1.0},
    ]
    places = {"studio": "in a studio", "beach": "on a beach", "grass": "on grass", "night": "at night"}
    prompts = [f"a {wish['colour']} {wish['product']} {places[wish['environment']]}" for wish in wishes]
    running = [
        submit(
            request(prompt, Task.SEGMENTATION_TO_IMAGE, steps=20, seed=seed), control=shapes_of(**wish, view="front")
        )
        for seed, (wish, prompt) in enumerate(zip(wishes, prompts, strict=True))
    ]
    pictures = [shown(each) for each in running]
    sources = [rendered(**wish, view="front") for wish in wishes]
    overlaps = [overlap(one, other) for one, other in zip(pictures, sources, strict=True)]
    assert np.mean(overlaps) >= 0.75, overlaps
    assert seen(pictures, prompts).share("product", "colour", "environment") >= 0.9


def test_the_weight_of_a_controlnet_is_how_much_it_steers(submit: Submit) -> None:
    wish = {"product": "bottle", "colour": "blue", "environment": "studio", "view": "front", "shift": 0.4, "scale": 0.7}
    asked = request("a blue bottle in a studio", Task.CONTROL_TO_IMAGE, steps=12)
    without = asked.model_copy(update={"adapters": (AdapterUse(name="shapes", weight=0.0),)})
    followed, ignored = submit(asked, control=shapes_of(**wish)), submit(without, control=shapes_of(**wish))
    assert shift_of(shown(followed)) > shift_of(shown(ignored)) + 0.15


def test_a_lora_draws_in_its_style_and_leaves_others_alone(submit: Submit) -> None:
    """Ink is black on white. Requests with and without it run at once; each gets its own."""
    prompts = [
        "a red mug on a beach, front view",
        "a yellow chair at night, right view",
        "a green lamp on grass, left view",
    ]
    plain = [submit(request(prompt, steps=20, seed=seed)) for seed, prompt in enumerate(prompts)]
    inked = [submit(request(prompt, steps=20, seed=seed, adapters=INK)) for seed, prompt in enumerate(prompts)]
    drawings = [shown(each) for each in inked]
    assert seen([shown(each) for each in plain], prompts).share("product", "colour", "environment") == 1
    assert seen(drawings, prompts).share("product", "view") >= 0.8
    answers = load_judge().read(pictures_of(drawings))
    assert [(answer["colour"], answer["environment"]) for answer in answers] == [("black", "studio")] * 3
    assert inked[0].result().event.adapters["ink"].startswith("sha256:")


def test_a_style_is_transferred_to_a_picture(submit: Submit) -> None:
    """Image-to-image with a style's LoRA: the product stays where and as it was, in ink."""
    source = rendered(product="mug", colour="red", environment="beach", view="front")
    asked = request("a red mug on a beach, front view", Task.IMAGE_TO_IMAGE, steps=20, strength=0.7, adapters=INK)
    drawing = shown(submit(asked, png(source)))
    assert overlap(source, drawing) > 0.75
    (answer,) = load_judge().read(pictures_of([drawing]))
    assert (answer["product"], answer["colour"], answer["environment"]) == ("mug", "black", "studio")


def test_an_attribute_is_edited_where_its_class_is(submit: Submit) -> None:
    """The product's colour by its class in a segmentation map; the world around it stays, pixel by pixel."""
    scene = {"product": "mug", "environment": "beach", "view": "front"}
    source, shapes = rendered(**scene, colour="red"), shapes_of(**scene, colour="red")
    product = "#{:02x}{:02x}{:02x}".format(*SEGMENT_PALETTE["product"])
    asked = request("a green mug on a beach, front view", Task.INPAINT, steps=20, mask_colours=(product,))
    edited = shown(submit(asked, png(source), shapes))
    assert seen([edited], [asked.prompt]).share("product", "colour", "environment") == 1
    outside = (np.asarray(opened(shapes).convert("RGB")) != SEGMENT_PALETTE["product"]).any(-1)
    assert np.array_equal(np.asarray(edited)[outside], np.asarray(source)[outside])


def test_an_attribute_is_edited_in_the_whole_picture(submit: Submit) -> None:
    source = rendered(product="chair", colour="yellow", environment="night", view="front")
    asked = request("a blue chair at night, back view", Task.IMAGE_TO_IMAGE, steps=20, strength=0.9)
    assert seen([shown(submit(asked, png(source)))], [asked.prompt]).share("product", "colour", "environment") == 1


def test_outpainting_keeps_the_picture_and_continues_it(submit: Submit) -> None:
    source = rendered(product="ball", colour="blue", environment="beach", view="front")
    asked = request("a blue ball on a beach", Task.OUTPAINT, steps=20, expand=Expand(left=32, right=32))
    grown = shown(submit(asked, png(source)))
    assert grown.size == (192, 128)
    assert np.array_equal(np.asarray(grown)[:, 32:160], np.asarray(source))
    # The new parts are sky above and sand below, as the old ones are.
    new, old = np.asarray(grown, np.float32)[:, :24], np.asarray(source, np.float32)[:, :24]
    assert np.abs(new[:32].mean((0, 1)) - old[:32].mean((0, 1))).max() < 40
    assert np.abs(new[-32:].mean((0, 1)) - old[-32:].mean((0, 1))).max() < 40


def test_upscaling_makes_more_pixels_of_the_same_picture(submit: Submit) -> None:
    source = rendered(product="box", colour="purple", environment="wood", view="front")
    large = shown(submit(request("a purple box on a wooden table", Task.UPSCALE, steps=20), png(source)))
    assert large.size == (256, 256)
    again = large.resize((128, 128), Image.Resampling.LANCZOS)
    assert overlap(again, source) > 0.8
    assert seen([again], ["a purple box on a wooden table"]).share("product", "colour", "environment") == 1


def test_interpolation_leads_from_one_prompt_to_another(submit: Submit) -> None:
    """The ends show their prompts and the way is smooth: no step is much larger than the mean one."""
    asked = request(
        "a red mug on a beach, front view",
        Task.INTERPOLATION,
        steps=12,
        frames=7,
        end_prompt="a blue mug on a beach, front view",
        encoding="gif",
    )
    path = frames(submit(asked))
    pictures = [Image.fromarray(frame.astype(np.uint8)) for frame in path]
    ends = seen([pictures[0], pictures[-1]], [asked.prompt, str(asked.end_prompt)])
    assert ends.share("product", "colour", "environment") == 1
    answers = [answer["product"] for answer in load_judge().read(pictures_of(pictures))]
    assert answers.count("mug") >= 6
    changes = np.abs(np.diff(path, axis=0)).mean((1, 2, 3))
    assert changes.max() < 4 * changes.mean()


def test_the_ends_of_a_path_between_seeds_are_the_pictures_of_the_seeds(submit: Submit) -> None:
    prompt = "a green box on grass, front view"
    path = frames(submit(request(prompt, Task.INTERPOLATION, frames=3, seed=1, end_seed=2, encoding="webp")))
    for frame, seed in ((path[0], 1), (path[-1], 2)):
        alone = np.asarray(shown(submit(request(prompt, seed=seed))), np.int16)
        assert np.abs(frame - alone).mean() < 4, f"the end of seed {seed} is another picture"


def test_a_picture_starts_to_move(submit: Submit) -> None:
    source = rendered(product="ball", colour="blue", environment="studio", view="front")
    asked = request(
        "a blue ball sliding left in a studio", Task.IMAGE_TO_VIDEO, steps=12, frames=8, strength=0.9, encoding="webp"
    )
    clip = [Image.fromarray(frame.astype(np.uint8)) for frame in frames(submit(asked, png(source)))]
    assert len(clip) == 8
    assert seen(clip, ["a blue ball in a studio"] * 8).share("product", "colour", "environment") > 0.8
    assert shift_of(clip[-1]) < shift_of(clip[0]) - 0.1


def test_a_clip_changes_its_product_and_keeps_its_motion(submit: Submit) -> None:
    clip = clip_of(product="ball", colour="blue", environment="studio", view="front")
    asked = request("a red ball in a studio", Task.VIDEO_TO_VIDEO, steps=20, frames=4, strength=0.35, encoding="webp")
    changed = [Image.fromarray(frame.astype(np.uint8)) for frame in frames(submit(asked, clip=clip))]
    assert seen(changed, [asked.prompt] * 4).share("product", "colour") > 0.7
    assert shift_of(changed[-1]) > shift_of(changed[0]) + 0.2


@pytest.mark.parametrize(("quality", "computed", "decibels"), [(Quality.STANDARD, 14, 22), (Quality.DRAFT, 10, 18)])
def test_a_lower_quality_computes_fewer_steps_of_the_same_picture(
    submit: Submit, quality: Quality, computed: int, decibels: float
) -> None:
    prompts = ["a red mug on a beach, front view", "a green lamp on grass, left view"]
    exact = [submit(request(prompt, steps=20, seed=seed)) for seed, prompt in enumerate(prompts)]
    quick = [submit(request(prompt, steps=20, seed=seed, quality=quality)) for seed, prompt in enumerate(prompts)]
    for one, other in zip(exact, quick, strict=True):
        event = other.result().event
        assert (event.steps, event.computed_steps, event.quality) == (20, computed, quality)
        difference = np.asarray(shown(one), np.float64) - np.asarray(shown(other), np.float64)
        assert 10 * np.log10(255**2 / (difference**2).mean()) > decibels
    # Draft may take a colour for another.
    assert seen([shown(each) for each in quick], prompts).share("product", "environment") == 1


def test_reproducible_bytes_do_not_depend_on_the_neighbours(submit: Submit) -> None:
    asked = request(seed=3, steps=10, reproducible=True)
    alone = submit(asked).result().payload
    neighbours = [submit(request(seed=seed, steps=14)) for seed in range(3)]
    neighbours[0].until("step")
    among = submit(asked).result()
    assert among.payload == alone
    assert among.event.reproducible
    for each in neighbours:
        each.result()


def test_equal_prompts_are_encoded_once(submit: Submit, engine: Any) -> None:
    submit(request("a white donut at night", steps=1)).result()
    before = engine.counts.embeddings
    submit(request("a white donut at night", steps=1, seed=5)).result()
    after = engine.counts.embeddings
    assert (after["hit"] - before["hit"], after["miss"] - before["miss"]) == (2, 0)


def test_what_cannot_fit_is_refused_with_the_numbers(submit: Submit, engine: Any) -> None:
    memory, steps = engine._model._memory, engine.counts.steps
    capacity, peaks = memory.capacity, memory.peaks
    assert peaks[128, 128, 1] > 0
    # Two shapes were measured, in a process where other things come and go: how they compare says nothing here.
    memory.peaks = {(128, 128, 1): peaks[128, 128, 1]}
    memory.capacity = memory.weights + 2 * peaks[128, 128, 1]
    try:
        error = submit(request(width=256, height=256)).result().event.error
        assert isinstance(submit(request(steps=1)).result().event, Finished)
    finally:
        memory.capacity, memory.peaks = capacity, peaks
    assert (error.reason, error.where) == ("Unsupported", "width")
    assert "256x256" in error.found
    assert "MiB" in error.found
    assert engine.counts.steps == steps + 1


def test_a_lora_that_changes_a_text_encoder_too_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from easel_api.errors import Unsupported
    from easel_inference.engine.loras import Loras

    file = tmp_path / "both.safetensors"
    save_file({"unet.a.lora_A.weight": torch.ones(1, 1), "text_encoder.b.lora_A.weight": torch.ones(1, 1)}, file)
    with pytest.raises(Unsupported, match="text encoder"):
        Loras({"both": file}, [object()])


def test_weights_kept_in_float8_take_less_memory_and_draw_what_is_asked() -> None:
    from easel_api.modeldeployment import ModelDeploymentSpec
    from easel_inference.engine.engine import Engine

    spec = ModelDeploymentSpec.model_validate(
        {"model": {"source": "builtin://miniature"}, "engine": {"dtype": "bfloat16", "weightsDtype": "float8"}}
    )
    engine = Engine(spec, claims=Path("/nowhere"), threads=1)
    try:
        kept = {weight.dtype for weight in engine._model._shared.model.parts["unet"].parameters()}
        prompt = "a red mug on a beach, front view"
        picture = shown(submitter(engine)(request(prompt, steps=20)))
    finally:
        engine.close()
    assert torch.float8_e4m3fn in kept
    assert seen([picture], [prompt]).share("product", "colour", "environment") == 1


def test_an_unknown_adapter_is_refused_with_those_there_are(submit: Submit) -> None:
    event = submit(request(adapters=(AdapterUse(name="oil"),))).result().event
    assert isinstance(event, Failed)
    assert (event.error.reason, event.error.where, event.error.found) == ("Unsupported", "adapters", "oil")
    assert "ink" in event.error.fix


@pytest.fixture
def another_base(tmp_path: Path) -> Path:
    """The miniature with one weight changed: another model, with another digest."""
    import shutil

    from safetensors.torch import load_file, save_file

    from easel_inference.engine.sources import BUILTINS

    folder = Path(shutil.copytree(BUILTINS["builtin://miniature"], tmp_path / "model"))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.bias"] += 1
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def test_a_lora_of_another_model_is_refused_with_both_digests(another_base: Path) -> None:
    from easel_api.errors import InvalidInput
    from easel_api.modeldeployment import ModelDeploymentSpec
    from easel_inference.engine.engine import Engine

    spec = ModelDeploymentSpec.model_validate(
        {
            "model": {"source": f"file://{another_base}", "family": "StableDiffusion"},
            "adapters": [{"name": "ink", "kind": "LoRA", "source": "builtin://miniature/lora-ink"}],
        }
    )
    with pytest.raises(InvalidInput, match="trained on another model") as caught:
        Engine(spec, claims=Path("/nowhere"), threads=1)
    assert caught.value.found.count("sha256:") == 2
