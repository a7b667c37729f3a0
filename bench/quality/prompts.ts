/** What the pictures shall show: prompts for one and for two subjects of the small model, as models/train/evaluate.py has them. */
import { createHash } from 'node:crypto';

export interface Wanted {
  readonly prompt: string;
  /** Indexes of the judge's classes. */
  readonly classes: readonly number[];
  readonly seed: bigint;
}

const plain = ['red', 'orange', 'yellow', 'green', 'blue', 'pink', 'white', 'black'].map((color) => ` on ${article(color)} background`);
const scenes = [
  ' in a meadow',
  ' in the hills',
  ' on the sea',
  ' by a lake',
  ' on the beach',
  ' in the desert',
  ' in the snow',
  ' at night',
];

/** The picture of this number: an even one has one subject, an odd one two. The same for ever. */
export function wantedAt(index: number, classes: readonly string[]): Wanted {
  const dice = createHash('sha256').update(`displaced ${index}`).digest();
  const draw = (byte: number, sides: number): number => dice.readUInt16BE(2 * byte) % sides;
  // Every class is the first subject equally often.
  const first = Math.floor(index / 2) % classes.length;
  const second = (first + 1 + draw(0, classes.length - 1)) % classes.length;
  const backgrounds = [[''], plain, scenes][[0, 0, 0, 0, 1, 1, 1, 2, 2, 2][draw(1, 10)] ?? 0] ?? [''];
  const background = backgrounds[draw(2, backgrounds.length)] ?? '';
  const subjects = index % 2 === 0 ? [first] : [first, second];
  const names = subjects.map((subject) => classes[subject] ?? '');
  return { prompt: names.join(draw(3, 2) === 0 ? ', ' : ' and ') + background, classes: subjects, seed: dice.readBigUInt64BE(8) >> 33n };
}

function article(word: string): string {
  return `${'aeiou'.includes(word.charAt(0)) ? 'an' : 'a'} ${word}`;
}
