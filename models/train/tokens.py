"""Captions to token ids as CLIP's tokenizer forms them: enough of it for the training captions (lower-case ASCII), but fast.

The shipped tokenizer folders are read by the usual CLIP tokenizers; `prepare_data.py` writes them.
"""

import json
import re
from pathlib import Path

import numpy as np

LENGTH = 77
WORD_PATTERN = r"[a-z]+|[0-9]|[^\sa-z0-9]+"


def byte_alphabet() -> dict[int, str]:
    """A printable character for every byte: itself where printable, else from U+0100 on; the printable ones come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + index) for index, byte in enumerate(others)}}


class CaptionTokenizer:
    def __init__(self, folder: Path):
        self.vocabulary = json.loads((folder / "vocab.json").read_text())
        lines = (folder / "merges.txt").read_text().splitlines()[1:]
        self.ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(lines)}
        self.alphabet = byte_alphabet()
        self.start, self.end = self.vocabulary["<|startoftext|>"], self.vocabulary["<|endoftext|>"]
        self.words: dict[str, list[int]] = {}

    def _word(self, word: str) -> list[int]:
        symbols = [self.alphabet[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            rank, position = min((self.ranks.get(pair, 1 << 30), i) for i, pair in enumerate(zip(symbols, symbols[1:])))
            if rank == 1 << 30:
                break
            symbols[position : position + 2] = [symbols[position] + symbols[position + 1]]
        return [self.vocabulary[symbol] for symbol in symbols]

    def encode(self, captions: list[str]) -> np.ndarray:
        """int16 [captions, 77], padded with the end token; the second encoder's padding is `second_padding`'s work."""
        ids = np.full((len(captions), LENGTH), self.end, np.int16)
        for row, caption in enumerate(captions):
            line = [self.start]
            for word in re.findall(WORD_PATTERN, caption.lower()):
                if word not in self.words:
                    self.words[word] = self._word(word)
                line += self.words[word]
            line = line[: LENGTH - 1]
            ids[row, : len(line)] = line
        return ids


def second_padding(ids, end: int):
    """The second tokenizer's ids from the first's (torch): after the first end token comes 0 ("!")."""
    after = (ids == end).cumsum(-1) > 1
    return ids.masked_fill(after, 0)
