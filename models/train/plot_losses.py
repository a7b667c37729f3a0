"""Plots: draws the loss curves of models/logs to docs/images/tiny-sdxl-losses.png.

    python models/train/plot_losses.py
"""

import json

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from paths import IMAGES, LOGS


def series(name: str, key: str) -> tuple[list[float], list[float]]:
    rows = [json.loads(line) for line in (LOGS / f"{name}.jsonl").read_text().splitlines()]
    steps, values, before, last = [], [], 0, 0
    for row in rows:
        if row["step"] < last:  # a later session, whose own steps began at 0
            before += last
        last = row["step"]
        if key in row:
            steps.append(before + last)
            values.append(row[key])
    return steps, values


def main():
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6))
    panels = (("vae", "VAE", (("loss", "loss"), ("absolute", "mean absolute error"))),
              ("diffusion", "Diffusion", (("error", "noise error"), ("loss", "weighted by min-SNR"))),
              ("classifier", "Classifier", (("loss", "loss"),)))
    for axis, (name, title, keys) in zip(axes, panels):
        for key, label in keys:
            axis.plot(*series(name, key), label=label)
        axis.set(title=title, xlabel="step", yscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    figure.tight_layout()
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / "tiny-sdxl-losses.png", dpi=80)


if __name__ == "__main__":
    main()
