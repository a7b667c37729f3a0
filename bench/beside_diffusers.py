#!/usr/bin/env python3
"""Processor time of one image: diffusers on torch and `sdxl bench` in turns, same model, prompt, steps, fp32, one thread each.

    npm run build
    venv/bin/pip install -r test/fixtures/requirements.txt
    venv/bin/python bench/beside_diffusers.py [--sizes 256,512] [--steps 10] [--rounds 2]

Processor time, because others may use the machine. Of torch it is the least of two images after one unmeasured; of sdxl what a run with six
images more takes more, so that starting, loading and the first image fall out.
"""

import argparse
import resource
import subprocess
import time
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models/tiny-sdxl"
PROMPT = "flowers, rabbit"
MORE = 6


def by_diffusers(pipe: StableDiffusionXLPipeline, size: int, steps: int) -> float:
    seconds = []
    for seed in range(3):
        started = time.process_time()
        generator = torch.Generator("cpu").manual_seed(seed)
        pipe(PROMPT, height=size, width=size, num_inference_steps=steps, guidance_scale=5.0, generator=generator, output_type="np")
        seconds.append(time.process_time() - started)
    return min(seconds[1:])


def whole_run(size: int, steps: int, images: int) -> float:
    command = ["node", ROOT / "dist/runtime/cli/main.js", "bench", "--model", MODEL, "--size", size, "--prompt", PROMPT, "--backend", "Onnx"]
    command += ["--num-inference-steps", steps, "-n", 1, "--threads", 1, "--num-warmup-runs", 1, "--avg-runs", images]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="256,512")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pipe = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    print(f"torch {torch.__version__}, {options.steps} steps, one thread; seconds of processor time an image")
    for size in map(int, options.sizes.split(",")):
        for _ in range(options.rounds):
            theirs = by_diffusers(pipe, size, options.steps)
            ours = (whole_run(size, options.steps, 1 + MORE) - whole_run(size, options.steps, 1)) / MORE
            print(f"{size}²: diffusers {theirs:.3f}, sdxl {ours:.3f}, ratio {theirs / ours:.2f}", flush=True)


if __name__ == "__main__":
    main()
