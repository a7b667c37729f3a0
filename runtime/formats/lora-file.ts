/**
 * A LoRA adapter's file: which module each pair of matrices belongs to, in whichever of the spellings in use. LoRA: Hu et al. 2021,
 * section 4.1. Spellings: kohya's sd-scripts (networks/lora.py), PEFT, and diffusers before PEFT (0.36 loaders/lora_conversion_utils.py).
 */
import { weightsError, type SafetensorsFile } from '../weights/index.js';

export interface LoraPair {
  /** As the file spells it, for messages. */
  readonly spelled: string;
  /** Names of tensors in the file: down `[rank, in…]`, up `[out, rank…]`. */
  readonly down: string;
  readonly up: string;
  /** Name of the tensor that holds alpha. */
  readonly alpha?: string;
}

const endings = {
  down: [
    '.lora_down.weight',
    '.lora_A.weight',
    '.lora_A.default.weight',
    '.lora.down.weight',
    '.lora_linear_layer.down.weight',
    '_lora.down.weight',
  ],
  up: ['.lora_up.weight', '.lora_B.weight', '.lora_B.default.weight', '.lora.up.weight', '.lora_linear_layer.up.weight', '_lora.up.weight'],
  alpha: ['_lora.alpha', '.lora.alpha', '.lora_linear_layer.alpha', '.alpha'],
} as const;

/** Parts of keys by which other kinds of adapters are known. */
const otherKinds: readonly (readonly [pattern: RegExp, kind: string])[] = [
  [/\.(dora_scale|lora_magnitude_vector)/, 'DoRA'],
  [/\.hada_/, 'LoHa'],
  [/\.lokr_/, 'LoKr'],
  [/\.lora_mid\.weight$/, 'a convolution in Tucker form'],
  [/\.(diff|diff_b)$/, 'full differences'],
  [/\.lora_[AB](\.default)?\.bias$/, 'LoRA with biases'],
  [/\.oft_/, 'OFT'],
];

/**
 * The adapter's pairs by the module they change, as the file spells it without its ending.
 * @throws SdxlError WEIGHTS_INVALID naming the key that is not understood or has no counterpart.
 */
export function readPairs(file: SafetensorsFile): ReadonlyMap<string, LoraPair> {
  const found = new Map<string, Partial<Record<keyof typeof endings, string>>>();
  for (const key of file.tensors.keys()) {
    const other = otherKinds.find(([pattern]) => pattern.test(key));
    if (other !== undefined) throw unsupported(file, key, other[1]);
    const parsed = parseKey(key);
    if (parsed === undefined) throw unsupported(file, key, 'a tensor that belongs to no LoRA');
    const parts = found.get(parsed.module) ?? {};
    if (parts[parsed.part] !== undefined) throw unsupported(file, key, `a second ${parsed.part} matrix of ${parsed.module}`);
    found.set(parsed.module, { ...parts, [parsed.part]: key });
  }
  if (found.size === 0) throw unsupported(file, '', 'a file without tensors');
  const pairs = new Map<string, LoraPair>();
  for (const [spelled, { down, up, alpha }] of found) {
    if (down === undefined || up === undefined) {
      const there = down ?? up ?? alpha ?? '';
      throw weightsError({
        file: file.path,
        tensor: there,
        expected: `${down === undefined ? 'a down' : 'an up'} matrix beside it`,
        found: 'none',
        advice: 'the adapter is incomplete',
      });
    }
    pairs.set(spelled, { spelled, down, up, ...(alpha === undefined ? {} : { alpha }) });
  }
  return pairs;
}

function parseKey(key: string): { readonly module: string; readonly part: keyof typeof endings } | undefined {
  for (const part of ['down', 'up', 'alpha'] as const) {
    const ending = endings[part].find((end) => key.endsWith(end));
    if (ending !== undefined) return { module: key.slice(0, -ending.length), part };
  }
  return undefined;
}

function unsupported(file: SafetensorsFile, key: string, found: string): Error {
  return weightsError({
    file: file.path,
    ...(key === '' ? {} : { tensor: key }),
    expected: 'LoRA matrices (lora_down/lora_up, lora_A/lora_B or lora.down/lora.up) and alphas',
    found,
    advice: 'this kind of adapter is not supported: merge it into the checkpoint with the tool it comes from',
  });
}

/** What PEFT's metadata in the file says of a module's scale. */
export interface ScaleRule {
  readonly alpha?: number;
  /** Rank-stabilised LoRA divides by √rank (Kalajdzievski 2023). */
  readonly rankStabilized: boolean;
}

/** Reads diffusers' `lora_adapter_metadata`: alphas per component, and per module where they differ. */
export function readScaleRules(file: SafetensorsFile): (component: string, module: string) => ScaleRule {
  const text = file.metadata['lora_adapter_metadata'];
  if (text === undefined) return () => ({ rankStabilized: false });
  let metadata: unknown;
  try {
    metadata = JSON.parse(text);
  } catch (cause) {
    throw weightsError({
      file: file.path,
      expected: 'JSON in lora_adapter_metadata',
      found: String(cause),
      advice: 'the file is damaged',
      cause,
    });
  }
  const fields = new Map<string, unknown>(Object.entries(typeof metadata === 'object' && metadata !== null ? metadata : {}));
  return (component, module) => {
    const field = (name: string): unknown => fields.get(`${component}.${name}`) ?? undefined;
    if (field('use_dora') === true) throw unsupported(file, '', 'DoRA (lora_adapter_metadata: use_dora)');
    const patterns = field('alpha_pattern');
    const own = Object.entries(typeof patterns === 'object' && patterns !== null ? patterns : {}).find(
      ([pattern]) => module === pattern || module.endsWith(`.${pattern}`),
    );
    const alpha: unknown = own?.[1] ?? field('lora_alpha');
    return { rankStabilized: field('use_rslora') === true, ...(typeof alpha === 'number' ? { alpha } : {}) };
  };
}
