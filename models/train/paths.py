"""Where the model, the classifier and the intermediate files live."""

from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent
MODEL = MODELS / "tiny-sdxl"
CLASSIFIER = MODELS / "classifier"
WORK = MODELS / "work"  # not under version control: sprites, checkpoints
LOGS = MODELS / "logs"
IMAGES = MODELS.parent / "docs" / "images"
