"""Data: cuts the sprites out of the Noto Color Emoji font and trains the tokenizer on the captions.

    python models/train/prepare_data.py --font /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

Writes models/work/sprites.npz (uint8 RGBA [sprites, 128, 128, 4]), a sheet of them, and both tokenizer folders of models/tiny-sdxl.
"""

import argparse
import collections
import json
import re

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from catalogue import CLASSES, GENERAL_WORDS, SPRITES, plural
from paths import MODEL, WORK
from scenes import COLORS, PLACES, SPRITE_SIDE, sample_scenes
from tokens import WORD_PATTERN, byte_alphabet

VOCABULARY = 2048
MARGIN = 4  # transparent pixels around a sprite, so that bilinear sampling fades out inside it


def cut_sprite(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    on_black, on_white = (Image.new("RGB", (200, 200), color) for color in ("black", "white"))
    for canvas in (on_black, on_white):
        ImageDraw.Draw(canvas).text((20, 20), character, font=font, embedded_color=True)
    # The same glyph on black and on white tells colour and coverage apart exactly, edges included.
    black, white = (np.asarray(canvas, np.float32) for canvas in (on_black, on_white))
    alpha = 255 - (white - black).mean(axis=2, keepdims=True).clip(0, 255)
    color = np.where(alpha > 0, black * 255 / alpha.clip(1), 0).clip(0, 255)
    canvas = Image.fromarray(np.concatenate([color, alpha], axis=2).round().astype(np.uint8), "RGBA")
    box = canvas.getchannel("A").point(lambda value: 255 * (value > 8)).getbbox()
    if box is None:
        raise SystemExit(f"the font has no picture for U+{ord(character):04X}: use fonts-noto-color-emoji 2.042 or newer")
    glyph = canvas.crop(box)
    room = SPRITE_SIDE - 2 * MARGIN
    scale = room / max(glyph.size)
    glyph = glyph.resize([max(1, round(extent * scale)) for extent in glyph.size], Image.Resampling.LANCZOS)
    sprite = Image.new("RGBA", (SPRITE_SIDE, SPRITE_SIDE))
    sprite.paste(glyph, ((SPRITE_SIDE - glyph.width) // 2, (SPRITE_SIDE - glyph.height) // 2))
    return np.asarray(sprite)


def word_counts() -> collections.Counter:
    counts = collections.Counter()
    for caption in sample_scenes(0, 40_000, 256, 256).captions:
        counts.update(re.findall(WORD_PATTERN, caption))
    known = [*GENERAL_WORDS, *COLORS, *(phrase for place in PLACES.values() for phrase in place.phrases)]
    for subject in CLASSES:
        for word in (*subject.words, *(word for sprite in subject.sprites for word in sprite.words)):
            known += [word] * 40 + [plural(word)] * 40
    for text in known:
        counts.update(re.findall(WORD_PATTERN, text.lower()))
    return counts


def train_bpe(counts: collections.Counter, merges_wanted: int) -> list[tuple[str, str]]:
    """Byte-pair merges by frequency (Sennrich et al. 2016, section 3.2), on bytes, with `</w>` on a word's last symbol."""
    alphabet = byte_alphabet()
    words = {}
    for word, count in counts.items():
        symbols = [alphabet[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        words[tuple(symbols)] = words.get(tuple(symbols), 0) + count
    merges = []
    while len(merges) < merges_wanted:
        pairs = collections.Counter()
        for symbols, count in words.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        merged = {}
        for symbols, count in words.items():
            out, position = [], 0
            while position < len(symbols):
                if symbols[position : position + 2] == best:
                    out.append(symbols[position] + symbols[position + 1])
                    position += 2
                else:
                    out.append(symbols[position])
                    position += 1
            merged[tuple(out)] = merged.get(tuple(out), 0) + count
        words = merged
    return merges


def write_tokenizer(folder, merges, pad_token):
    symbols = list(byte_alphabet().values())
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
    special = ["<|startoftext|>", "<|endoftext|>"]
    while len(tokens) < VOCABULARY - len(special):
        tokens.append(f"<|unused{len(tokens)}|>")
    vocabulary = {token: index for index, token in enumerate(tokens + special)}
    assert len(vocabulary) == VOCABULARY, "two merges spell the same token"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    token = lambda content: {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    names = {"bos_token": special[0], "eos_token": special[1], "unk_token": special[1]}
    (folder / "special_tokens_map.json").write_text(json.dumps({**{k: token(v) for k, v in names.items()}, "pad_token": pad_token}, indent=2) + "\n")
    config = {
        "add_prefix_space": False, **{k: {"__type": "AddedToken", **token(v)} for k, v in names.items()}, "pad_token": pad_token,
        "do_lower_case": True, "errors": "replace", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--font", default="/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)

    font = ImageFont.truetype(arguments.font, 109, layout_engine=ImageFont.Layout.BASIC)
    sprites = np.stack([cut_sprite(font, chr(sprite.codepoint)) for sprite in SPRITES])
    np.savez_compressed(WORK / "sprites.npz", sprites=sprites)
    columns = 12
    sheet = Image.new("RGB", (columns * SPRITE_SIDE, -(-len(sprites) // columns) * SPRITE_SIDE), (235, 238, 240))
    for index, sprite in enumerate(sprites):
        picture = Image.fromarray(sprite)
        sheet.paste(picture, (index % columns * SPRITE_SIDE, index // columns * SPRITE_SIDE), picture)
    sheet.save(WORK / "sprites.png")
    print(f"{len(sprites)} sprites of {len(CLASSES)} classes")

    merges = train_bpe(word_counts(), VOCABULARY - 512 - 2)
    write_tokenizer(MODEL / "tokenizer", merges, "<|endoftext|>")
    write_tokenizer(MODEL / "tokenizer_2", merges, "!")
    print(f"{len(merges)} merges, vocabulary of {VOCABULARY}")


if __name__ == "__main__":
    main()
