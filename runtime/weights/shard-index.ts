/** Parses `*.safetensors.index.json`: which shard holds which tensor. */
import { damagedFileAdvice, weightsError } from './weights-error.js';

/** Tensor name → shard file name. @throws SdxlError WEIGHTS_INVALID */
export function parseShardIndex(file: string, json: Uint8Array): ReadonlyMap<string, string> {
  const fail = (expected: string, found: string, tensor?: string): never => {
    throw weightsError({ file, expected, found, advice: damagedFileAdvice, ...(tensor === undefined ? {} : { tensor }) });
  };
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw weightsError({ file, expected: 'JSON', found, advice: damagedFileAdvice, cause });
  }
  const weightMap = isRecord(document) ? document['weight_map'] : undefined;
  if (!isRecord(weightMap)) return fail('an object "weight_map"', weightMap === undefined ? 'none' : JSON.stringify(weightMap));
  const entries = Object.entries(weightMap);
  if (entries.length === 0) return fail('tensors in "weight_map"', 'none');
  const shards = new Map<string, string>();
  for (const [tensor, shard] of entries) {
    // A shard lies beside its index: a path could leave the model's directory.
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) {
      return fail('the name of a .safetensors file beside the index', JSON.stringify(shard), tensor);
    }
    shards.set(tensor, shard);
  }
  return shards;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
