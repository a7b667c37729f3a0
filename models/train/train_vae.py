"""VAE: trains the autoencoder on rendered scenes and writes models/tiny-sdxl/vae.

    python models/train/train_vae.py --minutes 3.5

The loss is the mean absolute error, the same on image gradients at three scales (keeps edges sharp), and a small KL term.
The decoder sees slightly noisy latents, because the diffusion model's are never exact.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from PIL import Image

from feed import Renderer, SceneFeed, load_sprites
from fused import speed_up
from graphs import Step
from log import Log
from nets import count, fold_latent_statistics, load_vae, make_vae, save_component
from paths import WORK

SIZES = [(256, 256)] * 6 + [(256, 384), (384, 256)]
KL_WEIGHT = 4e-4


def gradient_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    total = 0.0
    for scale in range(3):
        if scale:
            made, wanted = F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2)
        for axis in (2, 3):
            total = total + F.l1_loss(made.diff(dim=axis), wanted.diff(dim=axis))
    return total


def step_loss(vae, pictures):
    moments = vae.quant_conv(vae.encoder(pictures))
    mean, log_variance = moments.float().chunk(2, dim=1)
    log_variance = log_variance.clamp(-30, 20)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    made = vae.decoder(vae.post_quant_conv(latents.to(pictures.dtype))).float()
    wanted = pictures.float()
    absolute = F.l1_loss(made, wanted)
    edges = gradient_loss(made, wanted)
    return absolute + edges + KL_WEIGHT * kl, absolute, kl


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first batch of scenes; another one for each resumed run, below 9,000,000")
    parser.add_argument("--resume", action="store_true", help="start from models/tiny-sdxl/vae")
    arguments = parser.parse_args()
    feed = SceneFeed()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    renderer = Renderer(load_sprites(), device, torch.float32)
    vae = make_vae()
    if arguments.resume:
        vae = load_vae().requires_grad_(True)
        # Back to latents of deviation one, on which the KL term acts.
        fold_latent_statistics(vae, torch.zeros(4), torch.full((4,), vae.config.scaling_factor**-2))
    vae = speed_up(vae.to(device, memory_format=torch.channels_last))
    print(f"{count(vae):,} parameters")
    average = [parameter.detach().clone() for parameter in vae.parameters()]
    optimizer = torch.optim.AdamW(vae.parameters(), lr=arguments.rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=on_gpu)
    log = Log("vae", append=arguments.resume)

    def losses(pictures):
        with torch.autocast(device.type, dtype, enabled=on_gpu):
            return step_loss(vae, pictures)

    parameters, steps, held = list(vae.parameters()), {}, {}
    started, step, sums, seen = None, 0, torch.zeros(3, device=device), 0
    for scenes in feed.batches(arguments.seed, arguments.batch, SIZES):
        pictures = renderer.render(scenes)
        size = (scenes.height, scenes.width)
        if size not in steps:
            held[size] = pictures.to(memory_format=torch.channels_last)
            steps[size] = Step(lambda: losses(held[size]), parameters)
        held[size].copy_(pictures)
        values = steps[size]()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if step == len(SIZES):  # kernels are chosen for every size
            print(f"ready after {time.time() - log.started:.1f} s", flush=True)
            started = time.time()
        share = 0.0 if started is None else (time.time() - started) / (60 * arguments.minutes)
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
        optimizer.step()
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], max(0.002, 1 / (step + 1)))
        sums += torch.stack([value.detach() for value in values])
        step, seen = step + 1, seen + len(pictures)
        if step % 200 == 0 or share >= 1:
            mean = (sums / (step % 200 or 200)).tolist()
            log.write(step=step, images=seen, loss=mean[0], absolute=mean[1], kl=mean[2])
            sums.zero_()
        if share >= 1:
            break

    with torch.no_grad():
        torch._foreach_copy_(list(vae.parameters()), average)
        total, squares, number, error = torch.zeros(4, device=device), torch.zeros(4, device=device), 0, 0.0
        for scenes in feed.batches(9_000_000, 64, [(256, 256)], limit=16):
            pictures = renderer.render(scenes)
            latents = vae.encode(pictures).latent_dist.mode()
            total += latents.sum(dim=(0, 2, 3))
            squares += latents.square().sum(dim=(0, 2, 3))
            number += latents[:, 0].numel()
        mean = total / number
        std = (squares / number - mean.square()).sqrt()
        fold_latent_statistics(vae, mean, std)
        squared, most = 0.0, 0.0
        for scenes in feed.batches(9_500_000, 64, [(256, 256)], limit=4):
            pictures = renderer.render(scenes)
            posterior = vae.encode(pictures).latent_dist
            latents = posterior.mode() * vae.config.scaling_factor
            rebuilt = vae.decode(posterior.mode()).sample.clamp(-1, 1)
            squared += (rebuilt - pictures).square().mean().item() / 4
    pairs = torch.cat([pictures[:12], rebuilt[:12]]).add(1).mul(127.5).round().byte()
    pairs = pairs.view(2, 2, 6, *pairs.shape[1:]).permute(1, 0, 4, 2, 5, 3).reshape(4 * 256, 6 * 256, 3)
    Image.fromarray(pairs.cpu().numpy()).save(WORK / "vae.png")  # rows: pictures, rebuilt, pictures, rebuilt
    save_component(vae, "vae")
    log.write(step=step, reconstruction_psnr=10 * math.log10(4 / squared), latent_std=latents.std().item(), latent_mean=latents.mean().item(),
              posterior_std=(posterior.std * vae.config.scaling_factor).mean().item(), latent_max=latents.abs().max().item())
    feed.close()


if __name__ == "__main__":
    main()
