"""Training logs: one JSON object a line, in models/logs/<name>.jsonl, and the same on the terminal."""

import json
import time

from paths import LOGS


class Log:
    def __init__(self, name: str, append: bool = False):
        LOGS.mkdir(exist_ok=True)
        self.file = open(LOGS / f"{name}.jsonl", "a" if append else "w", buffering=1)
        self.started = time.time()

    def write(self, **values):
        values = {key: round(value, 5) if isinstance(value, float) else value for key, value in values.items()}
        values["seconds"] = round(time.time() - self.started, 1)
        self.file.write(json.dumps(values) + "\n")
        print(" ".join(f"{key}={value}" for key, value in values.items()), flush=True)
