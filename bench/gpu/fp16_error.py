#!/usr/bin/env python3
"""How far fp16 is from fp32 at full size: torch's UNet in fp16, and this project's, both against torch's in fp32 with the same weights.

    node dist/bench/models/random-model.js sdxl-base /tmp/sdxl-base f16
    python bench/gpu/fp16_error.py --model /tmp/sdxl-base [--size 1024] [--limit 1.5]

Needs torch, diffusers (pinned in test/fixtures/requirements.txt), and safetensors. Ends with 1 where ours is further off than
`--limit` times torch's own fp16, in any case. Matrix products and convolutions of the fp32 run do without TF32.
"""

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("sample", "timestep", "encoder_hidden_states", "text_embeds", "time_ids")


def make_inputs(config, size: int) -> dict[str, torch.Tensor]:
    """Three steps of a guided image: noise at the start, in the middle and near the end, where it is weakest."""
    generator = torch.Generator().manual_seed(7)
    latent = size // 8
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    tensors = {}
    for name, timestep, scale in (("first step", 981.0, 1.0), ("middle step", 501.0, 1.0), ("last step", 21.0, 0.7)):
        sample = scale * torch.randn(1, 4, latent, latent, generator=generator)
        tensors[f"{name}.sample"] = sample.expand(2, -1, -1, -1).contiguous()
        tensors[f"{name}.timestep"] = torch.tensor([timestep])
        tensors[f"{name}.encoder_hidden_states"] = torch.randn(2, 77, config.cross_attention_dim, generator=generator)
        tensors[f"{name}.text_embeds"] = torch.randn(2, pooled, generator=generator)
        tensors[f"{name}.time_ids"] = torch.tensor([[size, size, 0, 0, size, size]] * 2, dtype=torch.float32)
    # Both precisions start from numbers that fp16 holds, so that only the network's own rounding is measured.
    return {name: tensor.half().float() if not name.endswith("time_ids") else tensor for name, tensor in tensors.items()}


@torch.inference_mode()
def by_torch(unet, tensors: dict[str, torch.Tensor], names: list[str], device: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    unet = unet.to(device=device, dtype=dtype)
    outputs = {}
    for name in names:
        sample, timestep, states, pooled, ids = (tensors[f"{name}.{part}"].to(device) for part in PARTS)
        conditions = {"text_embeds": pooled.to(dtype), "time_ids": ids.to(dtype)}
        output = unet(sample.to(dtype), timestep[0], states.to(dtype), added_cond_kwargs=conditions).sample
        outputs[name] = output.float().cpu()
    return outputs


def relative(found: torch.Tensor, reference: torch.Tensor) -> float:
    return ((found.double() - reference.double()).norm() / reference.double().norm()).item()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="diffusers directory")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--limit", type=float, default=1.5, help="ours may be so many times torch's fp16 error")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backend", default="Cuda", choices=("Cuda", "Onnx"))
    parser.add_argument("--node", default="node")
    parser.add_argument("--cache", default="/tmp/sdxl-bench-cache")
    parser.add_argument("--tactics", default="48", help="tactics timed for each shape; 1 takes the first choices")
    arguments = parser.parse_args()

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    began = time.monotonic()
    unet = UNet2DConditionModel.from_pretrained(f"{arguments.model}/unet", torch_dtype=torch.float32).eval()
    tensors = make_inputs(unet.config, arguments.size)
    names = [name.removesuffix(".sample") for name in tensors if name.endswith(".sample")]
    reference = by_torch(unet, tensors, names, arguments.device, torch.float32)
    half = by_torch(unet, tensors, names, arguments.device, torch.float16)
    del unet
    gc.collect()
    if arguments.device == "cuda":
        torch.cuda.empty_cache()
    print(f"torch {torch.__version__}: {time.monotonic() - began:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        inputs, output = f"{folder}/inputs.safetensors", f"{folder}/output.safetensors"
        save_file(tensors, inputs)
        began = time.monotonic()
        program = [arguments.node, str(ROOT / "dist/bench/gpu/unet-output.js"), "--model", arguments.model, "--inputs", inputs]
        program += ["--output", output, "--backend", arguments.backend, "--cache", arguments.cache, "--tactics", arguments.tactics]
        subprocess.run(program, check=True)
        ours = load_file(output)
        print(f"ours: {time.monotonic() - began:.1f} s")

    print(f"\nrelative error against torch fp32, {arguments.size}², batch 2")
    print(f"{'case':12} {'torch fp16':>11} {'ours':>11} {'ratio':>6} {'ours to torch fp16':>19}")
    worst = 0.0
    for name in names:
        theirs, own = relative(half[name], reference[name]), relative(ours[name], reference[name])
        # NaN is worst of all, and max() would drop it.
        worst = own / theirs if not own / theirs <= worst else worst
        print(f"{name:12} {theirs:11.3e} {own:11.3e} {own / theirs:6.2f} {relative(ours[name], half[name]):19.3e}")
    passed = worst <= arguments.limit
    print(f"worst ratio {worst:.2f}, limit {arguments.limit}: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
