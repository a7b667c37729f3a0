"""Checkpoints as a folder of safetensors parts, none over 15 MB, so that they pass through size-limited stores.

Parts of the group "weights" (parameters and their moving average) are enough to go on or to export; "moments" holds the
optimizer's state and may be left behind, at the price of a short warm-up.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PART_BYTES = 14_500_000


def _write_group(folder: Path, group: str, tensors: dict[str, torch.Tensor]):
    part, size, number = {}, 0, 0
    for name, tensor in tensors.items():
        bytes_here = tensor.numel() * tensor.element_size()
        if part and size + bytes_here > PART_BYTES:
            save_file(part, folder / f"{group}-{number}.safetensors")
            part, size, number = {}, 0, number + 1
        part[name] = tensor.detach().cpu().contiguous()
        size += bytes_here
    save_file(part, folder / f"{group}-{number}.safetensors")


def save(folder: Path, weights: dict[str, torch.Tensor], moments: dict[str, torch.Tensor], progress: dict):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    _write_group(folder, "weights", weights)
    _write_group(folder, "moments", moments)
    (folder / "progress.json").write_text(json.dumps(progress) + "\n")


def load(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict]:
    """(weights, moments, progress); moments are empty if their parts are absent."""
    groups = {"weights": {}, "moments": {}}
    for group, tensors in groups.items():
        for part in sorted(folder.glob(f"{group}-*.safetensors")):
            tensors.update(load_file(part))
    return groups["weights"], groups["moments"], json.loads((folder / "progress.json").read_text())
