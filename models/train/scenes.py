"""Procedural scenes: a caption, and the picture it describes.

Two halves. `sample_scenes` runs on the CPU in worker processes and decides everything (caption, subjects, places, colours)
as plain arrays; `render` draws a whole batch of such arrays on whatever device the sprites live on. Knows no networks.
"""

import math
import random
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from catalogue import CLASSES, plural

SPRITE_SIDE = 128  # pixels of one square sprite
MAX_SPRITES = 6  # sprites one scene may hold
MAX_SUBJECTS = 3

# ---------------------------------------------------------------- backgrounds

COLORS = {
    "red": (224, 82, 76), "orange": (243, 156, 84), "yellow": (250, 218, 112), "green": (120, 190, 110), "blue": (98, 152, 224),
    "light blue": (178, 218, 244), "purple": (158, 120, 206), "pink": (246, 178, 200), "brown": (150, 112, 84),
    "gray": (168, 170, 174), "white": (250, 250, 248), "black": (34, 34, 40), "teal": (88, 178, 176), "cream": (250, 238, 212),
}


@dataclass(frozen=True)
class Place:
    """A sky from `sky[0]` (top) to `sky[1]`, and below `horizon` (share of the height) a ground from `ground[0]` to `ground[1]`."""

    phrases: tuple[str, ...]
    sky: tuple
    ground: tuple = ((0, 0, 0), (0, 0, 0))
    horizon: tuple = (2.0, 2.0)
    hills: float = 0.0  # largest height of the horizon's waves, as a share of the picture's height
    stars: float = 0.0


PLACES = {
    "meadow": Place(("in a meadow", "on the grass", "in a green field", "in the garden"), ((128, 196, 244), (214, 238, 252)), ((150, 206, 100), (104, 172, 76)), (0.52, 0.68), 0.03),
    "hills": Place(("on a hill", "in the hills", "in the valley"), ((150, 206, 240), (236, 244, 236)), ((128, 184, 96), (84, 146, 78)), (0.45, 0.62), 0.08),
    "sea": Place(("on the sea", "at sea", "on the ocean", "by the sea"), ((150, 208, 246), (232, 244, 250)), ((64, 142, 206), (34, 98, 170)), (0.5, 0.64), 0.006),
    "lake": Place(("by a lake", "on a lake", "by the river"), ((168, 216, 236), (240, 246, 226)), ((104, 178, 196), (70, 142, 168)), (0.5, 0.64), 0.012),
    "beach": Place(("on the beach", "on the sand", "at the shore"), ((120, 200, 236), (196, 236, 244)), ((244, 222, 170), (226, 192, 132)), (0.5, 0.66), 0.015),
    "desert": Place(("in the desert", "among the dunes"), ((246, 204, 140), (252, 234, 196)), ((230, 182, 112), (204, 144, 82)), (0.5, 0.66), 0.06),
    "snow": Place(("in the snow", "in winter", "on a snowy field"), ((166, 196, 226), (226, 236, 246)), ((248, 250, 254), (214, 226, 242)), (0.5, 0.66), 0.05),
    "night": Place(("at night", "under the stars", "on a starry night"), ((16, 20, 56), (52, 62, 118)), ((34, 62, 60), (20, 40, 44)), (0.66, 0.8), 0.04, 1.0),
    "sunset": Place(("at sunset", "at dusk", "in the evening"), ((116, 84, 156), (250, 170, 112)), ((86, 72, 98), (58, 50, 78)), (0.58, 0.72), 0.04),
    "sky": Place(("in the sky", "up in the air", "in a blue sky"), ((92, 168, 236), (206, 232, 250))),
    "underwater": Place(("under water", "underwater", "deep in the sea"), ((72, 176, 212), (22, 76, 146)), ((206, 190, 140), (170, 150, 110)), (0.84, 0.94), 0.03),
    "space": Place(("in space", "in outer space", "among the stars"), ((8, 8, 24), (30, 22, 60)), stars=1.0),
}
PLACE_NAMES = tuple(PLACES)


def _jitter(rng: random.Random, color, amount=10):
    shift = rng.uniform(-amount, amount)
    return [min(255.0, max(0.0, channel + shift + rng.uniform(-amount, amount) * 0.5)) / 255 for channel in color]


def _background(rng: random.Random, place: str | None):
    """(caption part or "", 16 floats for `render`) of a background; `place` None draws any and names it."""
    named = place is None
    if named:
        place = rng.choice(PLACE_NAMES) if rng.random() < 0.55 else "plain"
    if place == "plain":
        name = rng.choice(tuple(COLORS)) if named else rng.choice(("white", "cream", "light blue", "yellow", "pink", "blue", "green"))
        top = _jitter(rng, COLORS[name], 5)
        bottom = top
        phrase = rng.choice((f"on {_article(name)} background", f"{name} background", f"on {name}"))
        if rng.random() < 0.3:
            bottom = [channel * 0.8 for channel in top]
            phrase = rng.choice((phrase, f"{name} gradient background"))
        return (phrase if named else ""), [*top, *bottom, *top, *bottom, 3.0, 0.0, 0.0, 0.0]
    spec = PLACES[place]
    values = [*_jitter(rng, spec.sky[0]), *_jitter(rng, spec.sky[1]), *_jitter(rng, spec.ground[0]), *_jitter(rng, spec.ground[1])]
    values += [rng.uniform(*spec.horizon), spec.hills * rng.uniform(0.3, 1.0), rng.uniform(0, 2 * math.pi), spec.stars]
    return (rng.choice(spec.phrases) if named else ""), values


# ---------------------------------------------------------------- subjects and captions

SPRITE_OFFSETS = np.cumsum([0] + [len(subject.sprites) for subject in CLASSES])  # first sprite index of each class
SPRITES_EACH = [len(subject.sprites) for subject in CLASSES]
COUNT_WORDS = {2: ("two", "two", "a pair of"), 3: ("three",)}


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith(("one", "uni")) else "a ") + phrase


def _classes(rng: random.Random, number: int, by_sprite: bool) -> list[int]:
    """Different classes, drawn evenly or by how many sprites they have."""
    if not by_sprite:
        return rng.sample(range(len(CLASSES)), number)
    chosen = []
    while len(chosen) < number:
        (index,) = rng.choices(range(len(CLASSES)), SPRITES_EACH)
        if index not in chosen:
            chosen.append(index)
    return chosen


def _subject(rng: random.Random, class_index: int, many: float, precise: float):
    """(caption phrase, sprite indexes, size factor) for one subject; `many` is the chance of two or three of it, `precise` that of
    a word of the sprite's own where it has one."""
    subject = CLASSES[class_index]
    first = int(SPRITE_OFFSETS[class_index])
    picks = range(len(subject.sprites))
    pick = rng.choice(picks)
    sprite = subject.sprites[pick]
    specific = bool(sprite.words) and rng.random() < precise
    word = rng.choice(sprite.words) if specific else (subject.words[0] if rng.random() < 0.6 else rng.choice(subject.words))
    if sprite.group and not specific and rng.random() < 0.7:
        return plural(word), [first + pick], 1.0
    if rng.random() < many:
        count = rng.choice((2, 2, 3))
        sprites = [first + pick] * count if specific or rng.random() < 0.6 else [first + rng.choice(picks) for _ in range(count)]
        name = plural(word)
        form = rng.random()
        if form < 0.55:
            name = f"{rng.choice(COUNT_WORDS[count])} {name}"
        return name, sprites, 1.0
    form = rng.random()
    if word == "flowers":
        return word, [first + pick], 1.0
    if form < 0.35:
        return word, [first + pick], 1.0
    if form < 0.75:
        return _article(word), [first + pick], 1.0
    if form < 0.85:
        return rng.choice(("lone ", "a lone ", "a single ", "one ")) + word, [first + pick], 1.0
    if form < 0.9:
        return rng.choice(("a big ", "big ", "a large ")) + word, [first + pick], 1.22
    if form < 0.95:
        return rng.choice(("a small ", "small ", "a tiny ", "a little ")) + word, [first + pick], 0.72
    return f"the {word}", [first + pick], 1.0


def _join(rng: random.Random, phrases: list[str]) -> tuple[str, bool]:
    """(caption, whether the first subject stands above the second instead of to its left)."""
    if len(phrases) == 1:
        return phrases[0], False
    form = rng.random()
    if len(phrases) == 2:
        first, second = phrases
        if form < 0.45:
            return f"{first}, {second}", False
        if form < 0.92:
            return f"{first} {rng.choice(('and', 'and', 'and', 'with', 'next to', 'beside'))} {second}", False
        return f"{first} above {second}", True
    if form < 0.6:
        return ", ".join(phrases), False
    return f"{phrases[0]}, {phrases[1]} and {phrases[2]}", False


def _cell_places(rng, count, center, cell, side):
    """Sprite centres and sides inside one cell: `center` and `cell` in pixels (x, y), `side` the side of a lone sprite."""
    cx, cy = center
    if count == 1:
        return [(cx, cy, side)]
    step = min(cell[0], side * 1.25)
    if count == 2:
        small = side * 0.58
        dy = rng.uniform(-0.12, 0.12) * side
        return [(cx - step * 0.25, cy - dy, small), (cx + step * 0.25, cy + dy, small)]
    small = side * 0.53
    return [(cx, cy - side * 0.27, small), (cx - step * 0.25, cy + side * 0.25, small), (cx + step * 0.25, cy + side * 0.25, small)]


@dataclass
class Scenes:
    """A batch of undrawn scenes, all of one picture size."""

    height: int
    width: int
    sprites: np.ndarray  # int64 [n, MAX_SPRITES], −1 for none
    places: np.ndarray  # float32 [n, MAX_SPRITES, 4]: centre x, centre y, side (pixels), rotation (radians)
    backgrounds: np.ndarray  # float32 [n, 16]
    subjects: np.ndarray  # int64 [n, MAX_SUBJECTS] class indexes, −1 for none
    captions: list[str] = field(default_factory=list)


def sample_scenes(seed: int, count: int, height: int, width: int, by_sprite: bool = False) -> Scenes:
    """`by_sprite` shows classes of many sprites (flowers, hearts) more often, and more often by the sprites' own words."""
    rng = random.Random(seed)
    sprites = np.full((count, MAX_SPRITES), -1, np.int64)
    places = np.zeros((count, MAX_SPRITES, 4), np.float32)
    backgrounds = np.zeros((count, 16), np.float32)
    subjects = np.full((count, MAX_SUBJECTS), -1, np.int64)
    captions = []
    short = min(height, width)
    growth = 1.0 if short <= 256 else 0.78  # larger pictures show their subjects a little smaller, nearer to the native scale
    for row in range(count):
        draw = rng.random()
        number = 1 if draw < 0.5 else 2 if draw < 0.87 else 3
        classes = _classes(rng, number, by_sprite)
        subjects[row, :number] = classes
        parts = [_subject(rng, index, 0.2 if number < 3 else 0.0, 0.55 if by_sprite else 0.4) for index in classes]
        caption, vertical = _join(rng, [part[0] for part in parts])
        named = rng.random() < 0.5
        home = None if named else rng.choice(CLASSES[rng.choice(classes)].places)
        phrase, backgrounds[row] = _background(rng, home)
        if phrase:
            caption += (", " if phrase.endswith("background") and not phrase.startswith("on") or rng.random() < 0.25 else " ") + phrase
        if rng.random() < 0.12:
            caption = rng.choice(("a picture of ", "a drawing of ", "an illustration of ", "an image of ")) + caption
        captions.append(caption)
        if number == 1:
            count_here = len(parts[0][1])
            side = rng.uniform(0.56, 0.76) * short * growth * (1.2 if count_here > 1 else 1.0)
            cells = [((width * (0.5 + rng.uniform(-0.07, 0.07)), height * (0.53 + rng.uniform(-0.06, 0.06))), (width, height), side)]
        elif number == 2:
            side = rng.uniform(0.42, 0.5) * short * growth
            if vertical:
                centers = [(width * (0.5 + rng.uniform(-0.08, 0.08)), height * y) for y in (0.27, 0.74)]
            else:
                spread = 0.25 if rng.random() < 0.9 else -0.25
                centers = [(width * (0.5 + sign * spread + rng.uniform(-0.02, 0.02)), height * (0.54 + rng.uniform(-0.08, 0.08))) for sign in (-1, 1)]
            cells = [(center, (width / 2, height), side) for center in centers]
        else:
            side = rng.uniform(0.3, 0.35) * short * growth
            cells = [((width * (x + rng.uniform(-0.015, 0.015)), height * (0.54 + rng.uniform(-0.12, 0.12))), (width / 3, height), side) for x in (0.18, 0.5, 0.82)]
        slot = 0
        for (phrase, chosen, factor), (center, cell, side) in zip(parts, cells):
            side = side * factor if number == 1 else side * (1 + (factor - 1) * 0.6)
            for sprite, (x, y, extent) in zip(chosen, _cell_places(rng, len(chosen), center, cell, side)):
                if slot == MAX_SPRITES:
                    break
                sprites[row, slot] = sprite
                places[row, slot] = (x, y, extent, rng.uniform(-0.08, 0.08))
                slot += 1
    return Scenes(height, width, sprites, places, backgrounds, subjects, captions)


# ---------------------------------------------------------------- rendering


def star_maps(count: int = 8, side: int = 512) -> torch.Tensor:
    """[count, side, side] maps of small bright dots, the same ones on every call."""
    generator = torch.Generator().manual_seed(7)
    maps = torch.zeros(count, 1, side, side)
    for index in range(count):
        points = torch.randint(0, side, (110, 2), generator=generator)
        maps[index, 0, points[:, 0], points[:, 1]] = torch.rand(110, generator=generator) * 0.6 + 0.4
    axis = torch.arange(-3, 4).float()
    dot = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 2.2)
    return F.conv2d(maps, dot[None, None], padding=3)[:, 0].clamp(0, 1)


class Renderer:
    """Draws scenes with one set of sprites: float32 premultiplied RGBA in [0, 1], [sprites, 4, 128, 128]."""

    def __init__(self, sprites: torch.Tensor, device: torch.device | str, dtype=torch.float32):
        self.sprites = sprites.to(device, dtype)
        self.stars = star_maps().to(device, dtype)
        self.device, self.dtype = device, dtype

    @torch.no_grad()
    def render(self, scenes: Scenes) -> torch.Tensor:
        """[n, 3, height, width] in [−1, 1]."""
        height, width = scenes.height, scenes.width
        tensor = lambda array: torch.from_numpy(array).to(self.device, non_blocking=True)
        background = tensor(scenes.backgrounds)
        count = background.shape[0]
        ys = torch.arange(height, device=self.device) + 0.5
        xs = torch.arange(width, device=self.device) + 0.5
        sky_top, sky_low, ground_top, ground_low = (background[:, i : i + 3, None, None] for i in (0, 3, 6, 9))
        horizon, hills, phase, stars = (background[:, i, None, None] for i in (12, 13, 14, 15))
        x = (xs / width)[None, None]
        y = (ys / height)[None, :, None]
        line = horizon - hills * (torch.sin(x * 6.0 + phase) + 0.6 * torch.sin(x * 13.0 + 2.1 * phase)) / 1.6
        sky_share = (y / line.clamp(max=1.0)).clamp(0, 1)[:, None]
        ground_share = ((y - line) / (1 - line).clamp(min=0.05)).clamp(0, 1)[:, None]
        ground = (((y - line) * height) + 0.5).clamp(0, 1)[:, None]
        picture = torch.lerp(sky_top, sky_low, sky_share)
        if bool((stars > 0).any()):
            index = (phase[:, 0, 0] * 1000).long()
            top, left = (index * 7 % (513 - height)).tolist(), (index * 13 % (513 - width)).tolist()
            which = (index % len(self.stars)).tolist()
            for row in torch.nonzero(stars[:, 0, 0]).flatten().tolist():
                window = self.stars[which[row], top[row] : top[row] + height, left[row] : left[row] + width]
                picture[row] = picture[row] + (1 - picture[row]) * window
        picture = torch.lerp(picture, torch.lerp(ground_top, ground_low, ground_share), ground).to(self.dtype)
        indexes, places = tensor(scenes.sprites), tensor(scenes.places)
        for slot in range(MAX_SPRITES):
            rows = np.flatnonzero(scenes.sprites[:, slot] >= 0)
            if rows.size == 0:
                break
            rows = tensor(rows)
            cx, cy, side, angle = (places[rows, slot, i, None, None] for i in range(4))
            dx, dy = xs[None, None] - cx, ys[None, :, None] - cy
            cos, sin = torch.cos(angle) * 2 / side, torch.sin(angle) * 2 / side
            grid = torch.stack((dx * cos + dy * sin, dy * cos - dx * sin), dim=-1).to(self.dtype)
            layer = F.grid_sample(self.sprites[indexes[rows, slot]], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            picture[rows] = picture[rows] * (1 - layer[:, 3:]) + layer[:, :3]
        return (picture * 2 - 1).clamp_(-1, 1)
