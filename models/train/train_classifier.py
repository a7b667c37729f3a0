"""Classifier: trains the judge on rendered scenes, never on anything the diffusion model drew; writes models/classifier.

    python models/train/train_classifier.py --minutes 2

Half of the pictures pass through the trained VAE. They are drawn once into a pool on the device; steps draw from it, shifted, turned,
scaled, recoloured, blurred and noisy, so that the judge looks at subjects, not at places and sharpness. Afterwards the written weights
are tried on fresh, unspoilt scenes: models/logs/classifier-test.json.
"""

import argparse
import collections
import json
import math
import time

import torch
import torch.nn.functional as F

from catalogue import CLASS_NAMES
from classifier import Classifier, load_classifier, save_classifier, shrink
from feed import Renderer, SceneFeed, labels, load_sprites
from fused import speed_up
from log import Log
from nets import load_vae
from paths import LOGS

TEST_SEED = 29_000_000


class Pictures:
    """Draws scenes at the judge's size; the first half of each batch passes through the VAE."""

    def __init__(self, device: torch.device):
        self.renderer = Renderer(load_sprites(), device, torch.float32)
        self.vae = speed_up(load_vae().to(device, memory_format=torch.channels_last))
        self.device = device

    @torch.no_grad()
    def __call__(self, scenes) -> torch.Tensor:
        pictures = self.renderer.render(scenes)
        half = len(pictures) // 2
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            rebuilt = self.vae.decode(self.vae.encode(pictures[:half].contiguous(memory_format=torch.channels_last)).latent_dist.sample()).sample
        return torch.cat([shrink(rebuilt.float().clamp(-1, 1)), shrink(pictures[half:])])


def spoil(pictures: torch.Tensor) -> torch.Tensor:
    """Another place, angle, size, brightness, contrast, tint and noise for each picture, and blur for a third of the batch."""
    count = len(pictures)
    factor = lambda low, high, *shape: torch.empty(count, *shape, device=pictures.device).uniform_(low, high)
    angle, scale = factor(-0.1, 0.1), factor(0.87, 1.15)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, -sin, factor(-0.08, 0.08), sin, cos, factor(-0.08, 0.08)], dim=1).view(count, 2, 3)
    pictures = F.grid_sample(pictures, F.affine_grid(matrix, list(pictures.shape), align_corners=False), padding_mode="reflection", align_corners=False)
    pictures = pictures * factor(0.8, 1.15, 3, 1, 1) * factor(0.85, 1.1, 1, 1, 1) + factor(-0.12, 0.12, 1, 1, 1)
    pictures = pictures + torch.randn_like(pictures) * factor(0.0, 0.12, 1, 1, 1)
    third = count // 3
    blurred = F.avg_pool2d(F.pad(pictures[:third], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.cat([blurred, pictures[third:]]).clamp(-1, 1)


def recognised(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """True where the strongest classes, as many as are shown, are exactly those shown."""
    number = present.sum(dim=1, keepdim=True)
    rank = logits.argsort(dim=1, descending=True).argsort(dim=1)
    return ((rank < number) == (present > 0)).all(dim=1)


@torch.no_grad()
def test(model, draw: Pictures, feed: SceneFeed, batch: int, batches: int) -> dict:
    """Shares of fresh scenes recognised: by subjects shown, without and with the VAE, and of each class where it is shown alone."""
    hits, by_class, confused = collections.defaultdict(list), collections.defaultdict(list), collections.defaultdict(collections.Counter)
    for scenes in feed.batches(TEST_SEED, batch, [(256, 256)], limit=batches):
        present = labels(scenes, len(CLASS_NAMES)).to(draw.device)
        logits = model(draw(scenes))
        good, number, first = recognised(logits, present).tolist(), present.sum(dim=1).int().tolist(), logits.argmax(dim=1).tolist()
        for row, right in enumerate(good):
            hits[number[row], row < len(good) // 2].append(right)
            if number[row] == 1:
                name = CLASS_NAMES[int(scenes.subjects[row, 0])]
                by_class[name].append(right)
                if not right:
                    confused[name][CLASS_NAMES[first[row]]] += 1
    share = lambda values: round(sum(values) / max(1, len(values)), 4)
    report = {}
    for number, title in ((1, "single"), (2, "pair"), (3, "triple")):
        drawn, rebuilt = hits[number, False], hits[number, True]
        report[title] = {"images": len(drawn + rebuilt), "recognised": share(drawn + rebuilt), "as_drawn": share(drawn), "through_vae": share(rebuilt)}
    report["classes"] = {name: {"images": len(by_class[name]), "recognised": share(by_class[name])} for name in CLASS_NAMES}
    report["confused"] = {name: counter.most_common(3) for name, counter in confused.items()}
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0, help="of training steps")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--pool", type=int, default=131_072, help="pictures to draw them from")
    parser.add_argument("--render-batch", type=int, default=256)
    parser.add_argument("--test-batches", type=int, default=64)
    parser.add_argument("--resume", action="store_true", help="start from models/classifier")
    parser.add_argument("--seed", type=int, default=20_000_000, help="of the first batch of scenes; another one for each resumed run, below 29,000,000")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    feed = SceneFeed()
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    draw = Pictures(device)
    model = (load_classifier() if arguments.resume else Classifier()).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02, fused=on_gpu)
    log = Log("classifier", append=arguments.resume)

    began, each = time.time(), min(arguments.render_batch, arguments.pool)
    pool, present = [], []
    for scenes in feed.batches(arguments.seed, each, [(256, 256)], limit=arguments.pool // each, by_sprite=True):
        pool.append(((draw(scenes) + 1) * 127.5).round().byte())
        present.append(labels(scenes, len(CLASS_NAMES)))
    pool, present = torch.cat(pool), torch.cat(present).to(device)
    print(f"{len(pool)} pictures after {time.time() - began:.1f} s", flush=True)

    started = time.time()
    step, sums = 0, torch.zeros(2, device=device)
    while True:
        rows = torch.randint(len(pool), (arguments.batch,), device=device)
        pictures, wanted = spoil(pool[rows].float() / 127.5 - 1).to(memory_format=torch.channels_last), present[rows]
        share = min(1.0, (time.time() - started) / (60 * arguments.minutes))
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            logits = model(pictures)
        loss = F.binary_cross_entropy_with_logits(logits.float(), wanted * 0.98 + 0.002, reduction="sum") / len(pictures)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        sums += torch.stack([loss.detach(), recognised(logits.detach(), wanted).float().mean()])
        if step % 100 == 0:
            mean = (sums / 100).tolist()
            log.write(step=step, loss=mean[0], recognised=mean[1])
            sums.zero_()
        if share >= 1:
            break

    save_classifier(model.eval())
    report = {"steps": step, "batch": arguments.batch, "minutes": arguments.minutes, "pool": len(pool)}
    report |= test(load_classifier(device), draw, feed, arguments.render_batch, arguments.test_batches)
    (LOGS / "classifier-test.json").write_text(json.dumps(report, indent=1) + "\n")
    log.write(step=step, **{f"test_{title}": report[title]["recognised"] for title in ("single", "pair", "triple")})
    feed.close()


if __name__ == "__main__":
    main()
