"""A tiny photo studio: renders simple products and writes captions for them.

Everything the miniature models know comes from this file.  A scene is one of
eight products in one of eight colours, standing in one of five environments,
seen from one of eight directions, in one of three sizes, still or moving.
:class:`Renderer` draws a batch of scenes by marching rays through signed
distance fields; :class:`CaptionWriter` describes them in varied English.

Axes: x to the image's right, y away from the camera, z up; the ground is z = 0.
A product's own front faces -y, its right side +x.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - everyone's name for it

PRODUCTS = ("mug", "bottle", "lamp", "chair", "box", "ball", "cone", "donut")
COLOURS = {
    "red": (0.82, 0.06, 0.08),
    "orange": (1.00, 0.47, 0.05),
    "yellow": (0.98, 0.87, 0.10),
    "green": (0.05, 0.50, 0.18),
    "blue": (0.07, 0.23, 0.85),
    "purple": (0.50, 0.13, 0.66),
    "white": (0.96, 0.96, 0.96),
    "black": (0.05, 0.05, 0.06),
}
ENVIRONMENTS = ("studio", "beach", "night", "wood", "grass")
VIEWS = ("front", "front right", "right", "back right", "back", "back left", "left", "front left")
SIZES = ("normal", "small", "large")
MOTIONS = ("static", "rotating", "sliding left", "sliding right", "bouncing")

#: A product that no model was trained on; for tests of fine-tuning.
HELD_OUT = ("teapot",)

#: Flat colours of a segmentation map (RGB, 0..255).
SEGMENT_PALETTE = {"product": (220, 20, 60), "ground": (152, 251, 152), "background": (70, 130, 180)}

BACKDROP_Y = 1.7  # the background is a wall this far behind the product
CAMERA_DISTANCE = 4.0
TAN_HALF_FOV = 0.27


# --------------------------------------------------------------------------- scenes
def sample_scenes(count: int, device="cpu", generator=None, *, motion: bool = False, frames: int = 1) -> dict:
    """Draw ``count`` random scenes as a dictionary of tensors.

    Without ``motion`` every scene is a still photograph.  With ``motion`` each
    scene is an animation of ``frames`` frames and the pose tensors (``azimuth``,
    ``shift``, ``lift``) have the shape (count, frames).
    """

    def integers(high, size=(count,)):
        return torch.randint(high, size, device=device, generator=generator)

    def uniform(low, high, size=(count,)):
        return low + (high - low) * torch.rand(size, device=device, generator=generator)

    scene = {
        "product": integers(len(PRODUCTS)),
        "colour": integers(len(COLOURS)),
        "environment": integers(len(ENVIRONMENTS)),
        "view": integers(len(VIEWS)),
        "size": (integers(4) - 1).clamp(min=0),  # half of all scenes are of normal size
        "motion": integers(len(MOTIONS)) if motion else torch.zeros(count, dtype=torch.long, device=device),
        "tint": uniform(-0.03, 0.03, (count, 3)),
        "elevation": uniform(math.radians(15), math.radians(25)),
        "light": uniform(-0.25, 0.25),
        "seed": uniform(0.0, 1.0),
    }
    if motion:  # large things would leave the picture
        scene["size"] = scene["size"] % 2
    scale = torch.tensor([0.95, 0.66, 1.24], device=device)[scene["size"]]
    scene["scale"] = scale * uniform(0.96, 1.04)
    azimuth = scene["view"] * (math.pi / 4) + uniform(math.radians(-13), math.radians(13))
    if not motion:
        scene.update(azimuth=azimuth, shift=uniform(-0.07, 0.07), lift=torch.zeros_like(azimuth))
        return scene

    clock = torch.arange(frames, device=device) / frames
    kind = scene["motion"][:, None]
    rotating, bouncing = kind == 1, kind == 4
    sliding = torch.where(kind == 2, -1.0, torch.where(kind == 3, 1.0, 0.0))
    # A product that slides left starts a little to the right and ends far to the
    # left, so a single frame already says something about the direction.
    start, end = uniform(-0.35, -0.22)[:, None], uniform(0.5, 0.66)[:, None]
    progress = clock * frames / max(frames - 1, 1)
    scene["azimuth"] = azimuth[:, None] + rotating * clock * 2 * math.pi
    scene["shift"] = sliding * (start + (end - start) * progress) + (sliding == 0) * uniform(-0.05, 0.05)[:, None]
    scene["lift"] = bouncing * uniform(0.38, 0.48)[:, None] * torch.sin(math.pi * clock)
    return scene


def single_frames(scene: dict, frame: torch.Tensor) -> dict:
    """Turn animated scenes into stills: take frame ``frame[i]`` of scene ``i``."""
    stills = dict(scene)
    for key in ("azimuth", "shift", "lift"):
        stills[key] = scene[key].gather(1, frame[:, None])[:, 0]
    return stills


def all_frames(scene: dict) -> dict:
    """Turn animated scenes into one long batch of stills, scene after scene."""
    frames = scene["azimuth"].shape[1]
    return {
        key: value.flatten()
        if value.shape[1:] == (frames,) and key in ("azimuth", "shift", "lift")
        else value.repeat_interleave(frames, 0)
        for key, value in scene.items()
    }


def describe(count: int = 1, device="cpu", **attributes) -> dict:
    """Scenes with chosen attributes, for example ``describe(product="mug", colour="red")``.

    Poses and lights are exact (no jitter), so that the result is deterministic.
    """
    scene = sample_scenes(count, device, torch.Generator(device).manual_seed(0))
    names = {
        "product": PRODUCTS + HELD_OUT,
        "colour": tuple(COLOURS),
        "environment": ENVIRONMENTS,
        "view": VIEWS,
        "size": SIZES,
    }
    for key, value in attributes.items():
        if key in names:
            scene[key] = torch.full_like(scene[key], names[key].index(value))
        else:
            scene[key] = torch.full_like(scene[key], float(value))
    fixed = {"elevation": math.radians(20), "light": 0.0, "seed": 0.5, "shift": 0.0}
    for key, value in fixed.items():
        if key not in attributes:
            scene[key] = torch.full_like(scene[key], value)
    scene["tint"] = torch.zeros_like(scene["tint"])
    if "size" not in attributes:
        scene["size"] = torch.zeros_like(scene["size"])
    if "scale" not in attributes:
        scene["scale"] = torch.tensor([0.95, 0.66, 1.24], device=device)[scene["size"]]
    if "azimuth" not in attributes:
        scene["azimuth"] = scene["view"] * (math.pi / 4)
    return scene


# --------------------------------------------------------------------------- shapes
def _hypot(a, b):
    return torch.sqrt(a * a + b * b + 1e-12)


def _slab(x, y, z, half_x, half_y, half_z):
    return torch.maximum(torch.maximum(x.abs() - half_x, y.abs() - half_y), z.abs() - half_z)


def _disc(radius, z, half_height):
    return torch.maximum(radius, z.abs() - half_height)


def _rod(x, y, z, start, end, radius):
    """A capsule in the plane x = 0 from ``start`` to ``end``, both (y, z)."""
    dy, dz = end[0] - start[0], end[1] - start[1]
    along = (((y - start[0]) * dy + (z - start[1]) * dz) / (dy * dy + dz * dz)).clamp(0, 1)
    return _hypot(_hypot(x, y - start[0] - along * dy), z - start[1] - along * dz) - radius


def _mug(x, y, z):
    r = _hypot(x, y)
    wall = torch.maximum(_disc(r - 0.34, z - 0.38, 0.38), -_disc(r - 0.275, z - 0.5, 0.43))
    handle = _hypot(_hypot(x - 0.36, z - 0.39) - 0.2, y) - 0.062
    return torch.minimum(wall, torch.maximum(handle, 0.3 - r))


def _bottle(x, y, z):
    r = _hypot(x, y)
    body = _disc(r - 0.25, z - 0.32, 0.32)
    neck = _disc(r - 0.09, z - 0.8, 0.26)
    blend = (0.5 + 0.5 * (neck - body) / 0.16).clamp(0, 1)
    return neck + (body - neck) * blend - 0.16 * blend * (1 - blend)


def _lamp_axis(x, y, z):
    """Distance along and around the lamp shade's axis, which points to the front and down."""
    along = (y + 0.06) * -0.64 + (z - 0.93) * -0.77
    around = torch.sqrt((x * x + (y + 0.06) ** 2 + (z - 0.93) ** 2 - along * along).clamp(min=1e-9))
    return along, around


def _lamp(x, y, z):
    foot = _disc(_hypot(x, y) - 0.27, z - 0.04, 0.04)
    arm = torch.minimum(
        _rod(x, y, z, (0.0, 0.05), (0.26, 0.55), 0.042), _rod(x, y, z, (0.26, 0.55), (-0.02, 0.95), 0.042)
    )
    along, around = _lamp_axis(x, y, z)
    shade = torch.maximum((around - 0.14 - 0.5 * along) * 0.88, (along - 0.1).abs() - 0.16)
    return torch.minimum(torch.minimum(foot, arm), shade)


def _chair(x, y, z):
    seat = _slab(x, y, z - 0.45, 0.31, 0.31, 0.05)
    back = _slab(x, y - 0.27, z - 0.78, 0.31, 0.04, 0.32)
    legs = _slab(x.abs() - 0.26, y.abs() - 0.26, z - 0.21, 0.05, 0.05, 0.21)
    return torch.minimum(torch.minimum(seat, back), legs)


def _box(x, y, z):
    return _slab(x, y, z - 0.34, 0.41, 0.29, 0.34)


def _ball(x, y, z):
    return _hypot(_hypot(x, y), z - 0.42) - 0.42


def _cone(x, y, z):
    plate = _slab(x, y, z - 0.04, 0.37, 0.37, 0.04)
    body = _disc((_hypot(x, y) - 0.295 + 0.26 * (z - 0.05)) * 0.96, z - 0.5, 0.46)
    return torch.minimum(plate, body)


def _donut(x, y, z):
    return _hypot(_hypot(x, y) - 0.31, z - 0.18) - 0.18


def _teapot(x, y, z):
    body = (_hypot(_hypot(x, y), 1.15 * (z - 0.32)) - 0.35) * 0.87
    knob = _hypot(_hypot(x, y), z - 0.67) - 0.07
    handle = torch.maximum(_hypot(_hypot(x - 0.36, z - 0.36) - 0.18, y) - 0.05, 0.28 - _hypot(x, y))
    spout = _rod(y, x, z, (-0.25, 0.24), (-0.57, 0.58), 0.065)
    return torch.minimum(torch.minimum(body, knob), torch.minimum(handle, spout))


_SHAPES = (_mug, _bottle, _lamp, _chair, _box, _ball, _cone, _donut, _teapot)


def _pick(product, values):
    """``values[product]`` where ``product`` is one number or a column of numbers."""
    if isinstance(product, int):
        return values[product]
    result = values[0]
    for index, value in enumerate(values[1:], 1):
        result = torch.where(product == index, value, result)
    return result


def _distance(product, x, y, z):
    if isinstance(product, int):
        return _SHAPES[product](x, y, z)
    return _pick(product, [shape(x, y, z) for shape in _SHAPES])


def _marks(product, x, y, z):
    """Where a product carries its front label, its right-hand mark, a dark part and a glow."""
    turn = torch.atan2(x, -y)  # 0 at the front, pi/2 on the right
    front, right, none = y < 0, x > 0, torch.zeros_like(x, dtype=torch.bool)
    from_right = turn - math.pi / 2
    label = _pick(
        product,
        [
            front & (x * x + (z - 0.38) ** 2 < 0.19**2),
            front & (x.abs() < 0.19) & ((z - 0.33).abs() < 0.17),
            none,
            none,
            (y < -0.285) & (x.abs() < 0.25) & ((z - 0.38).abs() < 0.16),
            front & (x * x + (z - 0.45) ** 2 < 0.25**2),
            (turn.abs() < 0.7) & ((z - 0.42).abs() < 0.14),
            (turn.abs() < 0.5) & (_hypot(x, y) > 0.31),
            none,
        ],
    )
    mark = _pick(
        product,
        [
            none,
            right & (y.abs() < 0.09) & ((z - 0.33).abs() < 0.26),
            none,
            none,
            (x > 0.405) & (y.abs() < 0.1),
            right & (y.abs() < 0.12) & ((z - 0.42).abs() < 0.3),
            (from_right.abs() < 0.4) & ((z - 0.4).abs() < 0.26),
            (from_right.abs() < 0.28) & (_hypot(x, y) > 0.31),
            none,
        ],
    )
    along, around = _lamp_axis(x, y, z)
    arm = (_hypot(x, y) < 0.6) & (z > 0.085) & ~((along > -0.065) & (along < 0.27) & (around < 0.15 + 0.5 * along))
    dark = _pick(product, [none, z > 0.93, arm, none, none, none, none, none, none])
    glow = _pick(product, [none, none, (along > 0.25) & (around < 0.245), none, none, none, none, none, none])
    return label, mark, dark, glow


# --------------------------------------------------------------------------- ray marching
def _to_product(scene, x, y, z):
    """World coordinates to the product's own, in units of its scale."""
    x, z = (x - scene["shift"]) / scene["scale"], (z - scene["lift"]) / scene["scale"]
    y = y / scene["scale"]
    cos, sin = torch.cos(scene["azimuth"]), torch.sin(scene["azimuth"])
    return cos * x - sin * y, sin * x + cos * y, z


def _rays(scene, u, v):
    cos, sin = torch.cos(scene["elevation"]), torch.sin(scene["elevation"])
    x, y, z = u * TAN_HALF_FOV, cos + v * TAN_HALF_FOV * sin, v * TAN_HALF_FOV * cos - sin
    length = torch.sqrt(x * x + y * y + z * z)
    return -CAMERA_DISTANCE * cos, 0.44 + CAMERA_DISTANCE * sin, x / length, y / length, z / length


def _light(scene):
    x, y, z = -0.5 + scene["light"], torch.full_like(scene["light"], -0.55), torch.full_like(scene["light"], 0.8)
    length = torch.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def _march_step(scene, u, v, travelled):
    oy, oz, dx, dy, dz = _rays(scene, u, v)
    x, y, z = travelled * dx, oy + travelled * dy, oz + travelled * dz
    step = _distance(scene["product"], *_to_product(scene, x, y, z)) * scene["scale"]
    return (travelled + 0.92 * step).clamp(max=7.0)


def _surface(scene, u, v):
    """Ground point behind every pixel, and whether the pixel shows ground or backdrop."""
    oy, oz, dx, dy, dz = _rays(scene, u, v)
    to_ground = torch.where(dz < -1e-4, -oz / dz.clamp(max=-1e-4), torch.full_like(dz, 99.0))
    to_wall = (BACKDROP_Y - oy) / dy
    reach = torch.minimum(to_ground, to_wall)
    return to_ground < to_wall, reach, reach * dx, oy + reach * dy, oz + reach * dz


def _shadow_step(scene, u, v, along, light_left):
    """One step from the ground to the lamp; the smaller the ratio, the darker the shadow."""
    _, _, x, y, z = _surface(scene, u, v)
    lx, ly, lz = _light(scene)
    gap = (
        _distance(scene["product"], *_to_product(scene, x + along * lx, y + along * ly, z + along * lz))
        * scene["scale"]
    )
    light_left = torch.minimum(light_left, (7.0 * gap / along).clamp(0, 1))
    return along + gap.clamp(0.03, 0.16), light_left


def _mix(a, b, weight):
    return a + (b - a) * weight


def _paint_set(scene, ground, x, y, z, shade):
    """Colours of ground and backdrop, three channels."""
    env, seed = scene["environment"], scene["seed"] * 6.28
    ripple = torch.sin(9 * x + 3 * y + seed) * torch.sin(7 * y - 4 * x + 2 * seed)
    planks = torch.sin(torch.floor((x + 3) * 2.2 + scene["seed"]) * 12.9898 + seed)
    grain = torch.sin(38 * x + 2.5 * torch.sin(2.2 * y + seed))
    blades = torch.sin(26 * x + 4 * ripple + seed) * torch.sin(21 * y - 9 * x)
    height = (z / 1.5).clamp(0, 1)
    pool = torch.exp(-0.55 * (x * x + (y + 0.1) ** 2))  # the warm lamp's circle at night
    one = torch.ones_like(x)

    def floor(env_values):
        return [
            torch.where(env == 0, a, torch.where(env == 1, b, torch.where(env == 2, c, torch.where(env == 3, d, e))))
            for a, b, c, d, e in zip(*env_values, strict=True)
        ]

    sweep = 0.90 - 0.05 * (x * x + 0.3 * y * y).clamp(0, 2)
    sand = 1 + 0.05 * ripple
    wood = 1 + 0.10 * planks + 0.05 * grain
    lawn = 1 + 0.10 * blades + 0.06 * ripple
    below = floor(
        [
            (sweep, sweep, sweep * 1.01),
            (0.93 * sand, 0.80 * sand, 0.56 * sand),
            (0.06 + 0.42 * pool, 0.07 + 0.29 * pool, 0.17 + 0.10 * pool),
            (0.60 * wood, 0.37 * wood, 0.19 * wood),
            (0.42 * lawn, 0.66 * lawn, 0.22 * lawn),
        ]
    )
    sea = (z < 0.28).to(x.dtype)
    hedge = torch.sigmoid((0.42 + 0.06 * torch.sin(5 * x + seed) - z) * 30)
    stars = ((torch.sin(23.1 * x + seed) * torch.sin(29.3 * z + 2 * seed)) > 0.985).to(x.dtype) * (z > 0.4)
    behind = floor(
        [
            (0.85 + 0.05 * height, 0.85 + 0.05 * height, 0.865 + 0.05 * height),
            (
                _mix(_mix(0.80, 0.42, height), 0.12, sea),
                _mix(_mix(0.91, 0.72, height), 0.50, sea),
                _mix(0.97 * one, 0.70, sea),
            ),
            (0.05 + 0.5 * stars, 0.06 + 0.5 * stars, 0.20 - 0.08 * height + 0.45 * stars),
            (0.88 - 0.08 * height, 0.83 - 0.09 * height, 0.74 - 0.10 * height),
            (
                _mix(_mix(0.86, 0.60, height), 0.16, hedge),
                _mix(_mix(0.93, 0.80, height), 0.40, hedge),
                _mix(0.98 * one, 0.16, hedge),
            ),
        ]
    )
    blend = (z / 0.25).clamp(0, 1)  # a studio has no edge between floor and wall
    seamless = [_mix(a, b, blend) for a, b in zip(below, behind, strict=True)]
    behind = [torch.where(env == 0, s, b) for s, b in zip(seamless, behind, strict=True)]
    return [torch.where(ground, a * shade, b) for a, b in zip(below, behind, strict=True)]


def _shade(scene, u, v, travelled, light_left):
    """Final colours (three planes) and the masks of product and ground."""
    product = scene["product"]
    oy, oz, dx, dy, dz = _rays(scene, u, v)
    ground, reach, gx, gy, gz = _surface(scene, u, v)
    x, y, z = _to_product(scene, travelled * dx, oy + travelled * dy, oz + travelled * dz)
    hit = (_distance(product, x, y, z) < 0.012) & (travelled < reach + 0.02) & (travelled < 6.9)

    eps = 0.006  # surface normal from four samples on a tetrahedron
    nx = ny = nz = 0.0
    for sx, sy, sz in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        value = _distance(product, x + sx * eps, y + sy * eps, z + sz * eps)
        nx, ny, nz = nx + sx * value, ny + sy * value, nz + sz * value
    length = torch.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    nx, ny, nz = nx / length, ny / length, nz / length
    cos, sin = torch.cos(scene["azimuth"]), torch.sin(scene["azimuth"])
    nx, ny = cos * nx + sin * ny, cos * ny - sin * nx  # back to world axes
    lx, ly, lz = _light(scene)
    facing = (nx * lx + ny * ly + nz * lz).clamp(min=0)
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    half = torch.sqrt(hx * hx + hy * hy + hz * hz)
    gleam = ((nx * hx + ny * hy + nz * hz) / half).clamp(min=0) ** 24 * 0.22
    contact = 0.72 + 0.28 * (z / 0.25).clamp(0, 1)
    lit = (0.50 + 0.08 * nz + 0.52 * facing) * contact

    night = scene["environment"] == 2
    label, mark, dark, glow = _marks(product, x, y, z)
    pale = scene["paint"].sum(0) > 2.3
    deep = scene["paint"].sum(0) < 0.5
    label_paint = torch.where(pale, 0.32, 0.97)
    mark_paint = torch.where(deep, 0.60, 0.07)
    warm = (torch.where(night, 0.98, 1.0), torch.where(night, 0.86, 1.0), torch.where(night, 0.72, 1.0))
    shade = 0.42 + 0.58 * light_left
    gap = _distance(product, *_to_product(scene, gx, gy, gz)) * scene["scale"]
    shade = shade * (0.70 + 0.30 * (gap / 0.22).clamp(0, 1))
    surroundings = _paint_set(scene, ground, gx, gy, gz, shade)
    colours = []
    for channel in range(3):
        albedo = torch.where(label, label_paint, scene["paint"][channel] + torch.zeros_like(x))
        albedo = torch.where(mark, mark_paint, albedo)
        albedo = torch.where(dark, torch.where(deep, 0.45, 0.20), albedo)
        colour = (albedo * lit + gleam) * warm[channel]
        colour = torch.where(glow, (1.0, 0.93, 0.62)[channel], colour)
        colours.append(torch.where(hit, colour, surroundings[channel]).clamp(0, 1))
    return (*colours, hit, ground)


class Renderer:
    """Draws scenes.

    ``compiled=True`` fuses every ray-marching step into one kernel with
    ``torch.compile``; that pays off for many thousand pictures on a GPU.
    ``supersample`` is the anti-aliasing factor per axis.
    """

    def __init__(self, resolution: int = 128, supersample: int = 2, compiled: bool = False, steps: int = 44):
        self.resolution, self.supersample, self.steps, self.compiled = resolution, supersample, steps, compiled
        wrap = torch.compile if compiled else (lambda function, **_: function)
        self._march = wrap(_march_step, dynamic=False)
        self._shadow = wrap(_shadow_step, dynamic=False)
        self._finish = wrap(_shade, dynamic=False)

    def _pixels(self, device):
        side = self.resolution * self.supersample
        line = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
        v, u = torch.meshgrid(-line, line, indexing="ij")
        return u.reshape(1, -1), v.reshape(1, -1)

    def _travel(self, scene, u, v):
        """How far each ray goes until it meets the product."""
        travelled = torch.full((scene["shift"].shape[0], u.shape[1]), CAMERA_DISTANCE - 1.45, device=u.device)
        for _ in range(self.steps):
            travelled = self._march(scene, u, v, travelled)
        return travelled

    def _sunlight(self, scene, u, v):
        """How much light reaches the ground that each ray ends on."""
        shape = (scene["shift"].shape[0], u.shape[1])
        along, light_left = torch.full(shape, 0.02, device=u.device), torch.ones(shape, device=u.device)
        for _ in range(14):
            along, light_left = self._shadow(scene, u, v, along, light_left)
        return light_left

    def _draw(self, scene):
        """Colours and masks of a batch; every ray of every scene is followed."""
        u, v = self._pixels(scene["shift"].device)
        return self._develop(scene, u, v, self._travel(scene, u, v), self._sunlight(scene, u, v))

    def _draw_one(self, scene):
        """The same for one scene, following only rays that come near the product or its shadow."""
        u, v = self._pixels(scene["shift"].device)
        oy, oz, dx, dy, dz = _rays(scene, u, v)
        cx, cy, cz = scene["shift"], -oy, scene["lift"] + 0.52 * scene["scale"] - oz
        ahead = cx * dx + cy * dy + cz * dz
        near = (cx * cx + cy * cy + cz * cz - ahead * ahead < (0.8 * scene["scale"]) ** 2)[0]
        travelled = torch.full_like(dx, 7.0)
        travelled[:, near] = self._travel(scene, u[:, near], v[:, near])
        ground, _, x, y, _ = _surface(scene, u, v)
        near = (ground & ((x - scene["shift"] - 0.4) ** 2 + (y - 0.4) ** 2 < 1.7**2))[0]
        light_left = torch.ones_like(dx)
        light_left[:, near] = self._sunlight(scene, u[:, near], v[:, near])
        return self._develop(scene, u, v, travelled, light_left)

    def _develop(self, scene, u, v, travelled, light_left):
        red, green, blue, hit, ground = self._finish(scene, u, v, travelled, light_left)
        side = self.resolution * self.supersample
        planes = torch.stack([red, green, blue, hit.float(), ground.float()], 1).view(-1, 5, side, side)
        return F.avg_pool2d(planes, self.supersample)

    @torch.no_grad()
    def __call__(self, scene: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures (B, 3, H, W) in 0..1 and class maps (B, H, W): 0 product, 1 ground, 2 background.

        A scene may carry its own ``paint`` (B, 3) instead of one of the eight colours.
        """
        table = torch.tensor(list(COLOURS.values()), device=scene["colour"].device)
        paint = scene["paint"] if "paint" in scene else table[scene["colour"]]
        paint = (paint * (1 + scene["tint"]) + scene["tint"] * 0.4).clamp(0.02, 1.0)
        columns = {
            key: scene[key][:, None]
            for key in ("environment", "elevation", "light", "seed", "scale", "azimuth", "shift", "lift")
        }
        if self.compiled:
            planes = self._draw(
                columns | {"product": scene["product"][:, None], "paint": paint.T[:, :, None].contiguous()}
            )
        else:
            planes = torch.cat(
                [
                    self._draw_one(
                        {key: value[i : i + 1] for key, value in columns.items()}
                        | {"product": scene["product"][i].item(), "paint": paint[i : i + 1].T[:, :, None]}
                    )
                    for i in range(len(paint))
                ]
            )
        hit, ground = planes[:, 3] > 0.5, planes[:, 4] > 0.5
        classes = torch.where(hit, 0, torch.where(ground, 1, 2)).to(torch.uint8)
        return planes[:, :3], classes


def segmentation_picture(classes: torch.Tensor) -> torch.Tensor:
    """Class maps (B, H, W) to flat colours (B, 3, H, W) in 0..1."""
    palette = torch.tensor(list(SEGMENT_PALETTE.values()), device=classes.device) / 255.0
    return palette[classes.long()].permute(0, 3, 1, 2)


# --------------------------------------------------------------------------- captions
PREFIXES = (
    "",
    "",
    "",
    "a photo of",
    "photo of",
    "product photo of",
    "a product photo of",
    "a picture of",
    "an image of",
    "a render of",
    "studio photo of",
)
SIZE_WORDS = {"normal": ("", "", ""), "small": ("small", "small", "tiny"), "large": ("large", "large", "big")}
PRODUCT_WORDS = {
    "mug": ("mug", "mug", "coffee mug"),
    "bottle": ("bottle",) * 3,
    "lamp": ("lamp", "lamp", "desk lamp"),
    "chair": ("chair",) * 3,
    "box": ("box", "box", "package"),
    "ball": ("ball", "ball", "toy ball"),
    "cone": ("cone", "cone", "traffic cone"),
    "donut": ("donut", "donut", "doughnut"),
}
ENVIRONMENT_WORDS = {
    "studio": ("in a studio", "in a studio", "in the studio", "in a photo studio", "studio background"),
    "beach": ("on a beach", "on a beach", "on the beach", "at the beach", "on sand"),
    "night": ("at night", "at night", "in the night", "at night in warm light", "night scene"),
    "wood": ("on a wooden table", "on a wooden table", "on a table", "on wood", "on the wooden table"),
    "grass": ("on grass", "on the grass", "on grass", "on a lawn", "in the grass"),
}
VIEW_FORMS = ("{} view", "{} view", "seen from the {}", "from the {}", "viewed from the {}")
MOTION_WORDS = {
    "static": ("", "", "", "static", "standing still"),
    "rotating": ("rotating", "rotating", "spinning", "turning around", "rotating slowly"),
    "sliding left": ("sliding left", "sliding left", "sliding to the left", "moving left", "moving to the left"),
    "sliding right": ("sliding right", "sliding right", "sliding to the right", "moving right", "moving to the right"),
    "bouncing": ("bouncing", "bouncing", "bouncing up", "jumping", "bouncing up and down"),
}
EXTRAS = (
    "",
    "",
    "",
    "",
    "high quality",
    "sharp focus",
    "8k",
    "highly detailed",
    "best quality",
    "professional lighting",
    "soft light",
    "4k photo",
    "beautiful",
    "product photography",
    "clean",
)
#: Words that mean nothing to the models; they appear in some captions so that unknown words do no harm.
STRANGE_WORDS = tuple(
    """
    sks zwx ohwx vase teapot pink brown grey teal plate spoon table car dog cat tree house shoe watch bag phone
    kettle guitar hat apple banana cake bird fish boat train plane flower city mountain river snow desert forest
    kitchen office old new shiny matte metal glass plastic ceramic modern vintage cute bright dark blurry noisy
    ugly low bad quality cartoon painting sketch style art video animation clip camera movie loop smooth slow fast
    """.split()  # noqa: SIM905 - eighty words read better so
)


class CaptionWriter:
    """Writes varied captions for scenes.

    A caption is a row of phrases, one for each slot, in one of three orders.
    :meth:`choose` picks phrases for a whole batch on any device, :meth:`text`
    spells them; the same choice can be turned into token ids by a table look-up.
    """

    def __init__(self):
        self.phrases: list[str] = [""]
        self._number = {"": 0}
        self._prefix = self._table([PREFIXES])
        self._article = self._table([("a",), ("an",), ("the",)])
        self._size = self._table([SIZE_WORDS[s] for s in SIZES])
        self._colour = self._table([(c,) for c in COLOURS])
        self._product = self._table([PRODUCT_WORDS[p] for p in PRODUCTS])
        self._motion = self._table([MOTION_WORDS[m] for m in MOTIONS])
        self._environment = self._table([ENVIRONMENT_WORDS[e] for e in ENVIRONMENTS])
        self._view = self._table([[form.format(v) for form in VIEW_FORMS] for v in VIEWS])
        self._extra = self._table([EXTRAS])
        self._strange = self._table([STRANGE_WORDS])
        self._comma = self._table([(",",)])

    def _table(self, rows):
        table = []
        for row in rows:
            for phrase in row:
                if phrase not in self._number:
                    self._number[phrase] = len(self.phrases)
                    self.phrases.append(phrase)
            table.append([self._number[phrase] for phrase in row])
        return torch.tensor(table)

    def choose(self, scene: dict, generator=None, *, with_motion: bool = False, drop: float = 1.0) -> torch.Tensor:
        """Phrase numbers (B, slots) for scenes.  ``drop`` scales how often attributes go unmentioned."""
        device, count = scene["product"].device, len(scene["product"])

        def chance(p):
            return torch.rand(count, device=device, generator=generator) < p

        def word(table, row=None):
            table = table.to(device)
            row = torch.zeros(count, dtype=torch.long, device=device) if row is None else row
            return table[row, torch.randint(table.shape[1], (count,), device=device, generator=generator)]

        def unless(condition, phrase):
            return torch.where(condition, 0, phrase)

        size = unless(chance(0.1 * drop), word(self._size, scene["size"]))
        colour = unless(chance(0.06 * drop), word(self._colour, scene["colour"]))
        names = list(COLOURS)
        vowel = ((size == 0) & (colour == self._colour[names.index("orange"), 0].item())).long()
        article = unless(chance(0.25), word(self._article, torch.where(chance(0.1), 2, vowel)))
        product = word(self._product, scene["product"])
        environment = unless(chance(0.10 * drop), word(self._environment, scene["environment"]))
        no_view = chance(0.15 * drop)
        motion = torch.zeros_like(product)
        if with_motion:
            motion = word(self._motion, scene["motion"])
            no_view = no_view | (scene["motion"] == 1)
        view = unless(no_view, word(self._view, scene["view"]))
        extra = word(self._extra)
        comma = self._comma[0, 0].to(device)

        def before(phrase, p=0.7):
            return torch.where((phrase > 0) & chance(p), comma, 0)

        strange = unless(~chance(0.08), word(self._strange))
        strange_too = unless(~chance(0.04), word(self._strange))
        subject = [word(self._prefix), article, size, strange_too, colour, product]
        view_comma, extra_comma, scene_comma = before(view), before(extra, 0.9), before(environment, 0.25)
        orders = torch.stack(
            [
                torch.stack(
                    [*subject, motion, scene_comma, environment, view_comma, view, extra_comma, extra, strange], 1
                ),
                torch.stack(
                    [*subject, view_comma, view, motion, scene_comma, environment, extra_comma, extra, strange], 1
                ),
                torch.stack(
                    [*subject, scene_comma, environment, motion, view_comma, view, strange, extra_comma, extra], 1
                ),
            ]
        )
        order = torch.randint(3, (count,), device=device, generator=generator)
        return orders[order, torch.arange(count, device=device)]

    def text(self, choice: torch.Tensor) -> list[str]:
        """The captions in words."""
        rows = [" ".join(filter(None, (self.phrases[i] for i in row))) for row in choice.tolist()]
        return [row.replace(" ,", ",") for row in rows]


def plain_prompt(
    product: str, colour: str, environment: str = "", view: str = "", size: str = "", motion: str = ""
) -> str:
    """The plainest caption of a scene, for tests: ``a red mug on a beach, front view``."""
    words = [size if size != "normal" else "", colour, product]
    subject = " ".join(filter(None, words))
    article = "an" if subject[0] in "aeiou" else "a"
    place = ENVIRONMENT_WORDS[environment][0] if environment else ""
    motion = motion if motion != "static" else ""
    sentence = " ".join(filter(None, (article, subject, motion, place)))
    return f"{sentence}, {view} view" if view else sentence
