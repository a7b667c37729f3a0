/**
 * The weight files of one component folder of a diffusers directory: one file or shards and their index, under the plain names or
 * those of a variant. Names as diffusers 0.36 utils/hub_utils.py `_add_variant` and transformers make them.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { SafetensorsFile } from './safetensors-file.js';
import { parseShardIndex } from './shard-index.js';
import { errorCode, vanished, weightsError } from './weights-error.js';

/** File name without extension: diffusers models use the first, transformers models the second. */
export type WeightsStem = 'diffusion_pytorch_model' | 'model';

export interface ComponentFiles {
  /** One, or the shards in the order of their names. */
  readonly files: readonly SafetensorsFile[];
  readonly owner: ReadonlyMap<string, SafetensorsFile>;
  readonly indexPath?: string;
}

/**
 * Opens `<stem>.safetensors`, else its shards; of the variant where it is asked for and there, or where nothing else is.
 * @throws SdxlError MODEL_NOT_FOUND where there are no such weights, WEIGHTS_INVALID where they are not sound.
 */
export async function openComponentFiles(directory: string, stem: WeightsStem, variant: string | undefined): Promise<ComponentFiles> {
  const names = await listFiles(directory);
  const entry = chooseEntry(directory, stem, names, variant);
  if (entry.endsWith('.json')) return await openShards(directory, entry, names);
  const file = await SafetensorsFile.open(join(directory, entry));
  return { files: [file], owner: new Map([...file.tensors.keys()].map((name) => [name, file])) };
}

/** The variants for which a component folder has weights; none where it can't be read. */
export async function componentVariants(directory: string, stem: WeightsStem): Promise<readonly string[]> {
  const names = await readdir(directory).catch(() => []);
  const variants = names.flatMap((name) => variantOf(name, stem) ?? []);
  return [...new Set(variants)].filter((variant) => variant !== '').sort();
}

/** The file to start from: weights, or an index of shards. */
function chooseEntry(directory: string, stem: WeightsStem, names: readonly string[], wanted: string | undefined): string {
  const entries = new Map<string, string>();
  // A single file goes before shards of the same variant.
  for (const name of [...names].sort((a, b) => Number(a.endsWith('.json')) - Number(b.endsWith('.json')))) {
    const variant = variantOf(name, stem);
    if (variant !== undefined && !entries.has(variant)) entries.set(variant, name);
  }
  const plain = entries.get('');
  const entry = (wanted === undefined ? undefined : entries.get(wanted)) ?? plain;
  if (entry !== undefined) return entry;
  const variants = [...entries.keys()];
  const [only] = entries.values();
  if (only !== undefined && variants.length === 1 && wanted === undefined) return only;
  throw notFound(directory, stem, names, variants, wanted);
}

/** '' for plain weights, undefined for other files. */
function variantOf(name: string, stem: WeightsStem): string | undefined {
  const patterns = [
    /^\.safetensors$/,
    /^\.safetensors\.index\.json$/,
    /^\.([\w-]+)\.safetensors$/,
    /^\.safetensors\.index\.([\w-]+)\.json$/,
    /^\.([\w-]+)\.safetensors\.index\.json$/,
  ];
  if (!name.startsWith(stem)) return undefined;
  const match = patterns.map((pattern) => pattern.exec(name.slice(stem.length))).find((found) => found !== null);
  // Legacy shards of a variant (`model.fp16-00001-of-00002.safetensors`) are no entry of their own.
  return match === undefined || /-\d+-of-\d+$/.test(match[1] ?? '') ? undefined : (match[1] ?? '');
}

async function openShards(directory: string, index: string, names: readonly string[]): Promise<ComponentFiles> {
  const indexPath = join(directory, index);
  const content = await readFile(indexPath).catch((cause: unknown) => {
    throw vanished(indexPath, cause);
  });
  const weightMap = parseShardIndex(indexPath, content);
  const shardNames = [...new Set(weightMap.values())].sort();
  const missing = shardNames.filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw weightsError({
      file: indexPath,
      expected: `${String(shardNames.length)} shards`,
      found: `no ${missing.join(', ')} in ${directory}`,
      advice: 'fetch the missing shards',
    });
  }
  const shards = new Map<string, SafetensorsFile>();
  try {
    for (const name of shardNames) shards.set(name, await SafetensorsFile.open(join(directory, name)));
    return { files: [...shards.values()], owner: assignTensors(indexPath, weightMap, shards), indexPath };
  } catch (error) {
    await closeAll([...shards.values()]);
    throw error;
  }
}

/** Each tensor of the index must lie in its shard, and no tensor in two shards. */
function assignTensors(
  indexPath: string,
  weightMap: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): ReadonlyMap<string, SafetensorsFile> {
  const owner = new Map<string, SafetensorsFile>();
  for (const shard of shards.values()) {
    for (const tensor of shard.tensors.keys()) {
      const first = owner.get(tensor);
      if (first !== undefined) {
        throw weightsError({
          file: shard.path,
          tensor,
          expected: 'each tensor in one shard',
          found: `it in ${first.path} too`,
          advice: 'the shards come from different exports: fetch them all again',
        });
      }
      owner.set(tensor, shard);
    }
  }
  for (const [tensor, name] of weightMap) {
    const shard = shards.get(name);
    if (shard?.tensors.has(tensor) !== true) {
      throw weightsError({
        file: indexPath,
        tensor,
        expected: `it in ${name}`,
        found: owner.has(tensor) ? `it in ${owner.get(tensor)?.path ?? ''}` : 'it in no shard',
        advice: 'index and shards come from different exports: fetch them all again',
      });
    }
  }
  return owner;
}

async function listFiles(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    throw new SdxlError('MODEL_NOT_FOUND', `${directory} can't be read (${errorCode(cause)}): check the model's directory`, {
      fields: { directory },
      cause,
    });
  }
}

function notFound(
  directory: string,
  stem: string,
  names: readonly string[],
  variants: readonly string[],
  wanted: string | undefined,
): SdxlError {
  const weights = names.filter((name) => /\.(safetensors|bin|ckpt|pt|pth|msgpack)(\.index(\.[\w-]+)?\.json)?$/.test(name)).sort();
  const expected = wanted === undefined ? '' : `${stem}.${wanted}.safetensors, `;
  const advice =
    variants.length > 0
      ? `name one of the variants ${variants.join(', ')} (spec.model.variant, --variant)`
      : 'only safetensors in the diffusers layout are supported here';
  const found = weights.length > 0 ? weights.join(', ') : 'no weights';
  return new SdxlError(
    'MODEL_NOT_FOUND',
    `${directory}: expected ${expected}${stem}.safetensors or ${stem}.safetensors.index.json, found ${found}; ${advice}`,
    { fields: { directory, expected: `${stem}.safetensors`, found } },
  );
}

export async function closeAll(files: readonly SafetensorsFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
