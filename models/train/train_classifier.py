"""Classifier: trains the judge on rendered scenes, never on anything the diffusion model drew; writes models/classifier.

    python models/train/train_classifier.py --minutes 1.5

Half of the pictures pass through the trained VAE, and some are blurred or noisy, so that it judges subjects, not sharpness.
"""

import argparse
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


def spoil(pictures: torch.Tensor) -> torch.Tensor:
    """Random brightness, contrast and noise for each picture, and blur for a third of the batch."""
    count = len(pictures)
    factor = lambda low, high: torch.empty(count, 1, 1, 1, device=pictures.device).uniform_(low, high)
    pictures = pictures * factor(0.8, 1.15) + factor(-0.12, 0.12) + torch.randn_like(pictures) * factor(0.0, 0.12)
    third = count // 3
    blurred = F.avg_pool2d(F.pad(pictures[:third], (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return torch.cat([blurred, pictures[third:]]).clamp(-1, 1)


def recognised(logits: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """True where the strongest classes, as many as are shown, are exactly those shown."""
    number = present.sum(dim=1, keepdim=True)
    rank = logits.argsort(dim=1, descending=True).argsort(dim=1)
    return ((rank < number) == (present > 0)).all(dim=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--test-batches", type=int, default=16)
    parser.add_argument("--resume", action="store_true", help="start from models/classifier")
    parser.add_argument("--seed", type=int, default=20_000_000, help="of the first batch of scenes; another one for each resumed run, below 29,000,000")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    feed = SceneFeed()
    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    renderer = Renderer(load_sprites(), device, torch.float32)
    vae = speed_up(load_vae().to(device, memory_format=torch.channels_last))
    model = (load_classifier() if arguments.resume else Classifier()).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02, fused=on_gpu)
    log = Log("classifier", append=arguments.resume)

    def pictures_of(scenes):
        pictures = renderer.render(scenes)
        half = len(pictures) // 2
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            rebuilt = vae.decode(vae.encode(pictures[:half].contiguous(memory_format=torch.channels_last)).latent_dist.sample()).sample
        return torch.cat([shrink(rebuilt.float().clamp(-1, 1)), shrink(pictures[half:])])

    started = time.time()
    step, total, right = 0, 0.0, 0.0
    for scenes in feed.batches(arguments.seed, arguments.batch, [(256, 256)]):
        pictures = spoil(pictures_of(scenes)).to(memory_format=torch.channels_last)
        present = labels(scenes, len(CLASS_NAMES)).to(device)
        share = min(1.0, (time.time() - started) / (60 * arguments.minutes))
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            logits = model(pictures)
        loss = F.binary_cross_entropy_with_logits(logits.float(), present * 0.98 + 0.002, reduction="sum") / len(pictures)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        total, right = total + loss.detach(), right + recognised(logits.detach(), present).float().mean()
        if step % 50 == 0:
            log.write(step=step, loss=float(total) / 50, recognised=float(right) / 50)
            total, right = 0.0, 0.0
        if share >= 1:
            break

    model.eval()
    hits = {}
    with torch.no_grad():
        for scenes in feed.batches(29_000_000, arguments.batch, [(256, 256)], limit=arguments.test_batches):
            present = labels(scenes, len(CLASS_NAMES)).to(device)
            good = recognised(model(pictures_of(scenes)), present)
            for number in (1, 2, 3):
                hits.setdefault(number, []).append(good[present.sum(dim=1) == number])
    log.write(step=step, **{f"test_{number}": torch.cat(values).float().mean().item() for number, values in hits.items()})
    save_classifier(model)
    feed.close()


if __name__ == "__main__":
    main()
