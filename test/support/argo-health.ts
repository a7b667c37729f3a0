/** Argo CD's health check of a job, run by the Lua interpreter Argo CD has, with the libraries it opens. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../../runtime/package-root.js';
import { runTool } from './tools.js';

const script = packageFile('manifests/gitops/argocd/health.lua');

/** @returns status and message */
export async function argoHealthOf(object: unknown): Promise<readonly [string, string]> {
  const folder = await mkdtemp(join(tmpdir(), 'argo-health-'));
  try {
    const harness = join(folder, 'harness.lua');
    await writeFile(
      harness,
      `local write, load = io.write, loadfile
obj = ${luaLiteral(object)}
string, io, math, debug, coroutine, channel, loadfile = nil, nil, nil, nil, nil, nil, nil
local health = load(${luaLiteral(script)})()
write(health.status, "\\0", health.message)
`,
    );
    const [status = '', message = ''] = (await runTool('glua', [harness])).split('\0');
    return [status, message];
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A JSON value as Argo CD hands it to Lua. */
function luaLiteral(value: unknown): string {
  if (typeof value === 'string') {
    const escaped = [...Buffer.from(value)].map((byte) => `\\${String(byte).padStart(3, '0')}`);
    return `"${escaped.join('')}"`;
  }
  if (Array.isArray(value)) return `{${value.map(luaLiteral).join(', ')}}`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value)
      .map(([key, inner]) => `[${luaLiteral(key)}] = ${luaLiteral(inner)}`)
      .join(', ')}}`;
  }
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : 'nil';
}
