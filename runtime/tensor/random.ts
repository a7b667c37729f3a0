/**
 * Random numbers equal to those of torch's CPU generator, so that a seed gives the same image as in the reference pipeline.
 * Sources: mt19937 of Matsumoto and Nishimura 1998 ("Mersenne Twister"), the reference's seeding of 2002; the normal transforms of
 * torch 2.11.0 (aten/src/ATen/native/cpu/DistributionTemplates.h and ATen/core/DistributionsHelper.h), Box and Muller 1958.
 */
import { elementCount, float32, type Shape, type Tensor } from './tensor.js';

const stateSize = 624;
const shiftSize = 397;
/** From this length on torch fills blocks of 16 from float uniforms; shorter draws are scalar and double. */
const blockSize = 16;

/** mt19937: 32 random bits a call. */
class MersenneTwister {
  readonly #state = new Uint32Array(stateSize);
  #next = stateSize;

  constructor(seed: number) {
    const state = this.#state;
    let word = seed >>> 0;
    state[0] = word;
    for (let index = 1; index < stateSize; index++) {
      word = (Math.imul(word ^ (word >>> 30), 1812433253) + index) >>> 0;
      state[index] = word;
    }
  }

  next(): number {
    if (this.#next === stateSize) this.#refill();
    let word = this.#state[this.#next++] ?? 0;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    word ^= word >>> 18;
    return word >>> 0;
  }

  #refill(): void {
    const state = this.#state;
    const at = (index: number): number => state[index % stateSize] ?? 0;
    for (let index = 0; index < stateSize; index++) {
      const word = (at(index) & 0x8000_0000) | (at(index + 1) & 0x7fff_ffff);
      state[index] = at(index + shiftSize) ^ (word >>> 1) ^ ((word & 1) === 0 ? 0 : 0x9908_b0df);
    }
    this.#next = 0;
  }
}

/** One stream of random numbers; each call goes on where the last one ended. */
export class Generator {
  readonly #bits: MersenneTwister;
  /** The second normal of a scalar pair, kept for the next scalar draw, across calls, as torch does. */
  #spareNormal: number | undefined;

  /**
   * @param seed An integer from −2^63 to 2^64 − 1; a negative one counts from 2^64 down. Its lower 32 bits are what matters.
   * @throws RangeError for anything else
   */
  constructor(seed: number | bigint) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed)) {
      throw new RangeError(`seed ${String(seed)}: expected an integer, as a bigint where it exceeds 2^53`);
    }
    const value = BigInt(seed);
    if (value < -(2n ** 63n) || value >= 2n ** 64n) throw new RangeError(`seed ${value.toString()}: expected −2^63 to 2^64 − 1`);
    this.#bits = new MersenneTwister(Number(BigInt.asUintN(32, value)));
  }

  /** Standard normal numbers, `torch.randn(shape, generator=…)` within 1e-6. */
  randn(shape: Shape): Tensor<'f32'> {
    const values = new Float32Array(elementCount(shape));
    if (values.length < blockSize) {
      for (let index = 0; index < values.length; index++) values[index] = this.#scalarNormal();
      return float32(shape, values);
    }
    for (let index = 0; index < values.length; index++) values[index] = this.#floatUniform();
    for (let start = 0; start + blockSize <= values.length; start += blockSize) transformBlock(values, start);
    if (values.length % blockSize !== 0) {
      // The last 16 are drawn again whole, over numbers already made.
      const start = values.length - blockSize;
      for (let index = start; index < values.length; index++) values[index] = this.#floatUniform();
      transformBlock(values, start);
    }
    return float32(shape, values);
  }

  /** 24 bits, in [0, 1). */
  #floatUniform(): number {
    return (this.#bits.next() & 0xff_ffff) * 2 ** -24;
  }

  /** 53 bits of two words, the first word above, in [0, 1). */
  #doubleUniform(): number {
    const high = this.#bits.next() & 0x1f_ffff;
    return (high * 2 ** 32 + this.#bits.next()) * 2 ** -53;
  }

  #scalarNormal(): number {
    if (this.#spareNormal !== undefined) {
      const spare = this.#spareNormal;
      this.#spareNormal = undefined;
      return spare;
    }
    const angle = 2 * Math.PI * this.#doubleUniform();
    const radius = Math.sqrt(-2 * Math.log1p(-this.#doubleUniform()));
    this.#spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}

const twoPi = Math.fround(2 * Math.PI);

/** Box-Muller over 16 uniforms in place: the first eight give radii, the other eight angles. Rounded to float32 where torch rounds. */
function transformBlock(values: Float32Array, start: number): void {
  const half = blockSize / 2;
  for (let index = start; index < start + half; index++) {
    const radius = Math.fround(Math.sqrt(-2 * Math.fround(Math.log(1 - (values[index] ?? 0)))));
    const angle = Math.fround(twoPi * (values[index + half] ?? 0));
    values[index] = radius * Math.cos(angle);
    values[index + half] = radius * Math.sin(angle);
  }
}
