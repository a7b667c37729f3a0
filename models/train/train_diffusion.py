"""Diffusion: trains the UNet and both text encoders together and writes them, and the pipeline's index, to models/tiny-sdxl.

    python models/train/train_diffusion.py --minutes 15
    python models/train/train_diffusion.py --minutes 15 --session-minutes 8     # stop early; run again with --resume

Scenes are drawn and encoded once into a pool of latents on the device, with their token ids; steps draw from it.
Epsilon prediction on SDXL's schedule, loss weighted by min-SNR with gamma 5 (Hang et al. 2023, section 3.4); the two
unconditional forms, zeroed embeddings and the encoded empty caption, are both trained. The exported weights are a moving average.
"""

import argparse
import math
import time

import torch

import checkpoint
from feed import Renderer, SceneFeed, load_sprites
from fused import speed_up
from graphs import Step
from log import Log
from nets import Conditioning, count, load_vae, make_scheduler, make_unet, load_component, save_component, save_index
from paths import MODEL, WORK
from tokens import CaptionTokenizer, second_padding

FOLDER = WORK / "diffusion"
NATIVE = (256, 256)
OTHER_SIZES = [(256, 384), (384, 256), (512, 512)]
OTHER_EVERY = 8  # one step in so many is of another size
ZERO_SHARE, EMPTY_SHARE = 0.1, 0.05
SNR_CAP = 5.0


class Pool:
    """Latents and token ids of scenes of one size, on the device."""

    def __init__(self, feed, renderer, vae, tokenizer, size, number, batch, seed, by_sprite):
        self.size = size
        height, width = size
        self.latents = torch.empty(number, 4, height // 8, width // 8, dtype=torch.float16, device=renderer.device)
        ids, at = [], 0
        on_gpu = self.latents.is_cuda
        with torch.no_grad(), torch.autocast(self.latents.device.type, torch.bfloat16, enabled=on_gpu):
            for scenes in feed.batches(seed, batch, [size], limit=number // batch, by_sprite=by_sprite):
                pictures = renderer.render(scenes).contiguous(memory_format=torch.channels_last)
                latents = vae.encode(pictures).latent_dist.sample() * vae.config.scaling_factor
                self.latents[at : at + batch] = latents
                ids.append(torch.from_numpy(tokenizer.encode(scenes.captions)))
                at += batch
        self.latents = self.latents[:at]
        self.ids = torch.cat(ids).to(renderer.device)
        self.time_ids = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32, device=renderer.device)

    def draw(self, number: int):
        rows = torch.randint(len(self.latents), (number,), device=self.latents.device)
        return self.latents[rows].float(), self.ids[rows].long(), self.time_ids.expand(number, -1)


def drop_conditions(ids, end):
    """Some captions become the empty one; returns the ids and the mask [n] of those to zero after encoding."""
    chance = torch.rand(len(ids), device=ids.device)
    empty = (chance >= ZERO_SHARE) & (chance < ZERO_SHARE + EMPTY_SHARE)
    blank = end - (torch.arange(ids.shape[1], device=ids.device) == 0).long()  # start token, then end tokens
    return torch.where(empty[:, None], blank, ids), chance < ZERO_SHARE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0, help="of training steps in all sessions together")
    parser.add_argument("--session-minutes", type=float, help="stop after so many in this session")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--pool", type=int, default=262_144, help="scenes of the native size; each other size gets an eighth")
    parser.add_argument("--by-sprite", action="store_true", help="show classes of many sprites, such as flowers, more often")
    parser.add_argument("--render-batch", type=int, default=512)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true", help="go on from models/work/diffusion")
    parser.add_argument("--from-model", action="store_true", help="start a new schedule from the weights in models/tiny-sdxl")
    parser.add_argument("--seed", type=int, default=50_000_000, help="of the scenes, from 50,000,000 on; another one for each start from the model")
    arguments = parser.parse_args()
    feed = SceneFeed()
    device = torch.device(arguments.device)
    on_gpu = device.type == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True

    torch.manual_seed(2)
    unet, conditioning = make_unet(), Conditioning()
    progress = {"step": 0, "seconds": 0.0, "images": 0, "sessions": 0}
    named = {f"unet.{name}": parameter for name, parameter in unet.named_parameters()}
    named |= {f"conditioning.{name}": parameter for name, parameter in conditioning.named_parameters()}
    moments = {}
    if arguments.from_model:
        load_component(unet, "unet")
        load_component(conditioning.text_encoder, "text_encoder")
        load_component(conditioning.text_encoder_2, "text_encoder_2")
    if arguments.resume:
        weights, moments, progress = checkpoint.load(FOLDER)
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(weights[name])
    speed_up(unet.to(device, memory_format=torch.channels_last))
    speed_up(conditioning.to(device))
    parameters = list(named.values())
    average = [parameter.detach().float().clone() for parameter in parameters]
    if arguments.resume:
        average = [weights[f"average.{name}"].float().to(device) for name in named]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=on_gpu)
    for name, parameter in named.items():
        if f"exp_avg.{name}" in moments:
            like = lambda kind: torch.empty_like(parameter).copy_(moments[f"{kind}.{name}"])
            optimizer.state[parameter] = {"step": torch.tensor(float(progress["step"]), device=device if on_gpu else "cpu"),
                                          "exp_avg": like("exp_avg"), "exp_avg_sq": like("exp_avg_sq")}
    print(f"UNet {count(unet):,} parameters, text encoders {count(conditioning.text_encoder):,} + {count(conditioning.text_encoder_2):,}")

    torch.manual_seed(arguments.seed + progress["sessions"])
    log = Log("diffusion", append=arguments.resume or arguments.from_model)
    vae = speed_up(load_vae().to(device, memory_format=torch.channels_last))
    renderer = Renderer(load_sprites(), device, torch.float32)
    tokenizer = CaptionTokenizer(MODEL / "tokenizer")
    began = time.time()
    make_pool = lambda size, number, batch, seed: Pool(feed, renderer, vae, tokenizer, size, number, batch, seed + arguments.seed + 1_000_000 * progress["sessions"], arguments.by_sprite)
    pool = make_pool(NATIVE, arguments.pool, arguments.render_batch, 0)
    small = max(1, arguments.render_batch // 2)
    others = [make_pool(size, max(small, arguments.pool // 8), small, 200_000 * (index + 1)) for index, size in enumerate(OTHER_SIZES)]
    feed.close()
    if on_gpu:
        torch.cuda.synchronize()
    scaled = pool.latents[:4096].float()
    print(f"pool of {len(pool.latents)} + {sum(len(other.latents) for other in others)} scenes in {time.time() - began:.1f} s, latent std {scaled.std().item():.3f}", flush=True)
    del vae, renderer

    alphas = make_scheduler().alphas_cumprod.to(device)
    snr = alphas / (1 - alphas)
    weight_of = snr.clamp(max=SNR_CAP) / snr
    end = tokenizer.end

    def training_loss(pool, number):
        latents, ids, time_ids = pool.draw(number)
        ids, zeroed = drop_conditions(ids, end)
        noise = torch.randn_like(latents)
        steps = (((torch.arange(number, device=device) + torch.rand(number, device=device)) / number) * 1000).long().clamp(max=999)
        alpha = alphas[steps][:, None, None, None]
        noisy = (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
            states, pooled = conditioning(ids, second_padding(ids, end))
            states = states.masked_fill(zeroed[:, None, None], 0.0)
            pooled = pooled.masked_fill(zeroed[:, None], 0.0)
            made = unet(noisy, steps, states, added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids}, return_dict=False)[0]
        error = (made.float() - noise).square().mean(dim=(1, 2, 3))
        return (error * weight_of[steps]).mean(), error.mean()

    session_end = 60 * min(arguments.minutes - progress["seconds"] / 60, arguments.session_minutes or arguments.minutes)
    share_of_area = lambda size: size[0] * size[1] / (NATIVE[0] * NATIVE[1])
    native_step = Step(lambda: training_loss(pool, arguments.batch), parameters)
    torch.backends.cudnn.benchmark = False  # the search is not worth its time for the rare sizes
    other_steps = [Step(lambda other=other: training_loss(other, max(1, int(arguments.batch / 2 / share_of_area(other.size)))), parameters) for other in others]

    started, session_step, sums, logged = None, 0, torch.zeros(2, device=device), 0
    while True:
        if session_step % OTHER_EVERY == OTHER_EVERY - 1:
            other_steps[session_step // OTHER_EVERY % len(others)]()
        else:
            sums += torch.stack(native_step())
            logged += 1
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if session_step == 0:
            if on_gpu:
                torch.cuda.synchronize()
            print(f"ready after {time.time() - began:.1f} s", flush=True)
            started = time.time()
        elapsed = 0.0 if started is None else time.time() - started
        share = min(1.0, (progress["seconds"] + elapsed) / (60 * arguments.minutes))
        warm = min(1.0, (session_step + 1) / (100 if moments else 300))
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        optimizer.step()
        session_step += 1
        step = progress["step"] + session_step
        torch._foreach_lerp_(average, [parameter.detach() for parameter in parameters], max(0.001, 9 / (10 + step)))
        if session_step % 100 == 0:
            mean = (sums / logged).tolist()
            log.write(step=step, loss=mean[0], error=mean[1], norm=norm.item(), share=share, rate=group["lr"])
            sums.zero_()
            logged = 0
        if started is not None and elapsed >= session_end:
            break

    progress = {"step": step, "seconds": progress["seconds"] + elapsed, "images": progress["images"] + session_step * arguments.batch, "sessions": progress["sessions"] + 1}
    weights = {name: parameter for name, parameter in named.items()} | {f"average.{name}": value.half() for name, value in zip(named, average)}
    state = {f"{kind}.{name}": optimizer.state[parameter][kind].bfloat16() for name, parameter in named.items() if parameter in optimizer.state for kind in ("exp_avg", "exp_avg_sq")}
    checkpoint.save(FOLDER, weights, state, progress)
    with torch.no_grad():
        torch._foreach_copy_(parameters, average)
    save_component(unet, "unet")
    save_component(conditioning.text_encoder, "text_encoder")
    save_component(conditioning.text_encoder_2, "text_encoder_2")
    save_index()
    print(progress)


if __name__ == "__main__":
    main()
