"""Evaluation: samples the shipped model with diffusers' own pipeline, lets the classifier judge, and writes sample sheets.

    python models/train/evaluate.py                 # figures to models/logs/evaluation.json, sheets to docs/images
    python models/train/evaluate.py --sheets only
"""

import argparse
import collections
import json
import random
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image, ImageDraw, ImageFont

from catalogue import CLASSES, CLASS_NAMES
from classifier import load_classifier, shrink
from paths import IMAGES, LOGS, MODEL
from scenes import COLORS, PLACES, _article

SHOWN = ["flowers, rabbit", "lone boat, willow trees", "a cat and a dog in a meadow", "three apples on a blue background", "a castle at sunset",
         "a rocket in space", "penguin, snowman", "sun, palm tree, crab", "a fish above an octopus", "a red heart and a gift on pink"]
OTHER_SIZES = ((256, 384), (384, 256), (512, 512))  # height, width
WIDE = ["flowers, rabbit", "lone boat, willow trees", "a house, a tree and a cow", "an elephant in the desert"]


def single_prompt(rng: random.Random, name: str) -> str:
    """A prompt for one subject, by its canonical name, on no, a plain or a scenic background."""
    text = name if name in ("flowers", "cherries", "grapes") or rng.random() < 0.5 else _article(name)
    return text + background(rng)


def pair_prompt(rng: random.Random, first: str, second: str) -> str:
    return f"{first}{rng.choice((', ', ' and '))}{second}" + background(rng)


def background(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.4:
        return ""
    if draw < 0.7:
        return f" on {_article(rng.choice(tuple(COLORS)))} background"
    return " " + rng.choice(PLACES[rng.choice(tuple(PLACES))].phrases)


class Sampler:
    def __init__(self, device: str, dtype: torch.dtype, steps: int, guidance: float):
        self.pipeline = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=dtype).to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.pipeline.unet.to(memory_format=torch.channels_last)
        self.steps, self.guidance = steps, guidance

    def __call__(self, prompts: list[str], seeds: list[int], height=256, width=256) -> torch.Tensor:
        """float32 [n, 3, height, width] in [0, 1]; every picture has its own CPU generator."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        return self.pipeline(prompts, num_inference_steps=self.steps, guidance_scale=self.guidance, generator=generators,
                             height=height, width=width, output_type="pt").images.float()


def judge(sampler, classifier, cases, batch, size=(256, 256), misses=None):
    """cases are (prompt, class indexes, seed); per case (strongest classes are exactly those, each is ≥ 0.5 likely, strongest).

    Pictures not recognised are appended to `misses` with what the judge saw."""
    results = []
    for at in range(0, len(cases), batch):
        part = cases[at : at + batch]
        pictures = sampler([case[0] for case in part], [case[2] for case in part], *size)
        results += (found := verdicts(classifier, pictures, [case[1] for case in part]))
        if misses is not None:
            misses += [(to_image(picture), f"{case[0][:26]}: {', '.join(CLASS_NAMES[index] for index in top)}")
                       for picture, case, (good, _, top) in zip(pictures, part, found) if not good]
        print(f"{len(results)}/{len(cases)} at {size[1]}x{size[0]}: {share(results):.3f}", flush=True)
    return results


def verdicts(classifier, pictures, wanted):
    with torch.no_grad():
        likely = torch.sigmoid(classifier(shrink(pictures * 2 - 1)))
    rows = []
    for classes, row in zip(wanted, likely):
        top = row.topk(len(classes)).indices.tolist()
        rows.append((set(top) == set(classes), bool((row[list(classes)] >= 0.5).all()), top))
    return rows


def share(results, which=0) -> float:
    return round(sum(result[which] for result in results) / max(1, len(results)), 4)


def to_image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def sheet(path, rows: list[list[Image.Image]], labels: list[list[str]], thumb: int | None = None):
    font = ImageFont.load_default(13)
    shrunk = lambda image: image if thumb is None else image.resize((thumb, thumb), Image.Resampling.LANCZOS)
    rows = [[shrunk(image) for image in row] for row in rows]
    width = max(sum(image.width + 4 for image in row) for row in rows)
    height = sum(max(image.height for image in row) + 22 for row in rows)
    canvas = Image.new("RGB", (width, height), "white")
    draw, y = ImageDraw.Draw(canvas), 0
    for row, texts in zip(rows, labels):
        x = 0
        for image, text in zip(row, texts):
            canvas.paste(image, (x, y))
            draw.text((x + 2, y + image.height + 2), text, fill="black", font=font)
            x += image.width + 4
        y += max(image.height for image in row) + 22
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, quality=88)


def write_sheets(sampler, seeds, batch):
    rows = [[to_image(picture) for picture in sampler([prompt] * len(seeds), seeds)] for prompt in SHOWN]
    sheet(IMAGES / "tiny-sdxl-prompts.jpg", rows, [[prompt, *[""] * (len(seeds) - 1)] for prompt in SHOWN], thumb=192)
    rows = [[to_image(picture) for picture in sampler(WIDE, [233] * len(WIDE), *size)] for size in OTHER_SIZES]
    sheet(IMAGES / "tiny-sdxl-sizes.jpg", rows, [WIDE] * len(rows))
    pictures = [to_image(picture) for at in range(0, len(CLASS_NAMES), batch)
                for picture in sampler(list(CLASS_NAMES[at : at + batch]), [0] * len(CLASS_NAMES[at : at + batch]))]
    sheet(IMAGES / "tiny-sdxl-classes.jpg", [pictures[at : at + 12] for at in range(0, len(pictures), 12)],
          [list(CLASS_NAMES[at : at + 12]) for at in range(0, len(pictures), 12)], thumb=112)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--singles", type=int, default=30, help="pictures per class")
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--other-sizes", type=int, default=144, help="single and as many pair pictures for each other size")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=240)
    parser.add_argument("--sheet-seeds", type=int, default=6, help="pictures per prompt on the prompts' sheet")
    parser.add_argument("--sheets", choices=("yes", "no", "only"), default="yes")
    parser.add_argument("--misses", type=Path, help="write a sheet of pictures that were not recognised to this file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    dtype = torch.float16 if arguments.device == "cuda" else torch.float32
    sampler = Sampler(arguments.device, dtype, arguments.steps, arguments.guidance)
    if arguments.sheets != "no":
        write_sheets(sampler, list(range(233, 233 + arguments.sheet_seeds)), min(36, arguments.batch))
    if arguments.sheets == "only":
        return
    classifier = load_classifier(arguments.device)
    rng = random.Random(11)
    singles = [(single_prompt(rng, name), (index,), rng.getrandbits(31)) for index, name in enumerate(CLASS_NAMES) for _ in range(arguments.singles)]

    def pairs(count):
        chosen = [tuple(rng.sample(range(len(CLASSES)), 2)) for _ in range(count)]
        return [(pair_prompt(rng, CLASS_NAMES[a], CLASS_NAMES[b]), (a, b), rng.getrandbits(31)) for a, b in chosen]

    started = time.time()
    report = {"steps": arguments.steps, "guidance": arguments.guidance, "dtype": str(dtype)}

    def note(**values):
        report.update(values, seconds=round(time.time() - started, 1))
        LOGS.mkdir(exist_ok=True)
        (LOGS / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n")

    missed_one, missed_two = [], []
    one = judge(sampler, classifier, singles, arguments.batch, misses=missed_one)
    by_class, confused, pair_class = collections.defaultdict(list), collections.defaultdict(collections.Counter), collections.defaultdict(list)
    for (_, (index,), _), (good, _, top) in zip(singles, one):
        by_class[CLASS_NAMES[index]].append(good)
        if not good:
            confused[CLASS_NAMES[index]][CLASS_NAMES[top[0]]] += 1
    note(single={"images": len(one), "strongest": share(one), "likely": share(one, 1)},
         classes={name: share([(good,) for good in values]) for name, values in by_class.items()},
         confused={name: counter.most_common(3) for name, counter in confused.items()})
    cases = pairs(arguments.pairs)
    two = judge(sampler, classifier, cases, arguments.batch, misses=missed_two)
    for (_, both, _), (good, _, _) in zip(cases, two):
        for index in both:
            pair_class[CLASS_NAMES[index]].append(good)
    note(pair={"images": len(two), "strongest": share(two), "likely": share(two, 1)},
         pairs_with_class={name: share([(good,) for good in values]) for name, values in pair_class.items()},
         pair_misses=[case[0] for case, result in zip(cases, two) if not result[0]][:40])
    if arguments.misses:
        shown = missed_one[:24] + missed_two[:24]
        rows = [shown[at : at + 6] for at in range(0, len(shown), 6)]
        sheet(arguments.misses, [[image for image, _ in row] for row in rows], [[text for _, text in row] for row in rows])
    for size in OTHER_SIZES if arguments.other_sizes else ():
        subset, batch = rng.sample(singles, min(arguments.other_sizes, len(singles))), max(1, arguments.batch // 4)
        sized = [judge(sampler, classifier, part, batch, size) for part in (subset, pairs(arguments.other_sizes))]
        note(**{f"{size[1]}x{size[0]}": {"images": sum(map(len, sized)), "single": share(sized[0]), "pair": share(sized[1])}})
    worst = sorted(report["classes"].items(), key=lambda item: item[1])[:12]
    print(json.dumps({key: value for key, value in report.items() if key not in ("classes", "pairs_with_class", "confused", "pair_misses")}))
    print("worst:", ", ".join(f"{name} {value:.2f}" for name, value in worst))


if __name__ == "__main__":
    main()
