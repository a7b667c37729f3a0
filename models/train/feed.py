"""Scenes for training: worker processes decide them, the device draws them."""

import itertools
import multiprocessing
import os

import numpy as np
import torch

from paths import WORK
from scenes import Renderer, Scenes, sample_scenes


def load_sprites() -> torch.Tensor:
    """float32 premultiplied RGBA in [0, 1], [sprites, 4, 128, 128]."""
    sprites = torch.from_numpy(np.load(WORK / "sprites.npz")["sprites"]).permute(0, 3, 1, 2).float() / 255
    sprites[:, :3] *= sprites[:, 3:]
    return sprites


def _task(arguments) -> Scenes:
    return sample_scenes(*arguments)


class SceneFeed:
    """Open it before the process first touches CUDA: the workers are forked."""

    def __init__(self, workers: int | None = None):
        self.pool = multiprocessing.get_context("fork").Pool(workers or max(1, (os.cpu_count() or 2) - 2))

    def batches(self, first_seed: int, count: int, sizes: list[tuple[int, int]], limit: int | None = None, by_sprite: bool = False):
        """Scenes of `count` pictures each, batch i of size sizes[i % len(sizes)] and seed first_seed + i; `limit` batches or without end."""
        numbers = itertools.count() if limit is None else range(limit)
        window = 2 * self.pool._processes
        pending = []
        for number in numbers:
            pending.append(self.pool.apply_async(_task, ((first_seed + number, count, *sizes[number % len(sizes)], by_sprite),)))
            if len(pending) >= window:
                yield pending.pop(0).get()
        for result in pending:
            yield result.get()

    def close(self):
        self.pool.terminate()
        self.pool.join()


def labels(scenes: Scenes, classes: int) -> torch.Tensor:
    """float32 [n, classes]: 1 where a class is shown."""
    present = np.zeros((len(scenes.subjects), classes + 1), np.float32)
    np.put_along_axis(present, scenes.subjects, 1.0, axis=1)  # −1 falls on the spare last column
    return torch.from_numpy(present[:, :classes])


__all__ = ["Renderer", "SceneFeed", "labels", "load_sprites"]
