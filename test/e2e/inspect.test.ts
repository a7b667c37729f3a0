/** What `sdxl inspect` shows. No rank is started here. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { fixture } from '../support/fixtures.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open();
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

test('inspect explains which mesh would be chosen, for options and for files', async () => {
  const shown = await sdxl(['inspect', '--mesh', '-n', '8', '--num-images', '4', '--backend', 'Cuda'], { cwd: workspace.path });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^8 ranks, 4 images of 1024x1024, guidance, backend Cuda:$/mu);
  assert.match(shown.stdout, /^\| data 4 x cfg 2 x patch 1 \| +4 \| +2 \| +0\.59 \| +1 \| +0\.59 \| chosen: /mu);
  assert.match(shown.stdout, /^\| data 8 x cfg 1 x patch 1 .* 4 images for 8 replicas +\|$/mu);
  assert.match(shown.stdout, /^Chosen: dataDegree: 4, cfgDegree: 2, patchDegree: 1$/mu);
  const file = packageFile('manifests/samples/gpu-two-nodes.yaml');
  const json = await sdxl(['inspect', '--mesh', '-f', file, '--json'], { cwd: workspace.path });
  assert.equal(json.code, 0, json.stderr);
  const { ranks, chosen, candidates } = JSON.parse(json.stdout) as { ranks: number; chosen: object; candidates: object[] };
  assert.deepEqual([ranks, chosen, candidates.length], [16, { data: 1, cfg: 2, patch: 8 }, 9]);
});

test('inspect shows parameters, segments and exchanges of a mesh, and a graph', async () => {
  const shown = await sdxl(['inspect', '--model', model, '--size', '128', '-n', '2'], { cwd: workspace.path });
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /\| unet +\| +570,644 \| +\d+ \| +68 \| +68 \| /u);
  assert.match(shown.stdout, /\| unet +\| group_norm_halo +\| +35 \|/u);
  assert.doesNotMatch(shown.stdout, /stale|kept/u);
  const displaced = await sdxl(['inspect', '--model', model, '--size', '128', '-n', '2', '--mode', 'SyncGn'], { cwd: workspace.path });
  assert.match(displaced.stdout, /\| unet +\| key_value +\| +\d+ \| +[\d.]+ \| +stale +\|/u);
  assert.match(displaced.stdout, /\| unet +\| group_norm_halo +\| +\d+ \| +[\d.]+ \| +fresh +\|/u);
  assert.match(displaced.stdout, /and kept exchanges \d+\.\d [KM]iB/u);
  const graph = await sdxl(['inspect', '--model', model, '--size', '128', '--graph', 'vae_decoder'], { cwd: workspace.path });
  assert.match(graph.stdout, /^graph vae_decoder \(/u);
  const alone = await sdxl(['inspect', '--model', model, '--size', '128'], { cwd: workspace.path });
  assert.match(alone.stdout, /: 128x128 on 1 rank \(cfg=1,patch=1\)$/mu);
});

test('inspect tells programs the same of a model', async () => {
  const asked = ['inspect', '--model', model, '--size', '128', '-n', '2'];
  interface Told {
    readonly ranks: number;
    readonly networks: readonly { readonly name: string; readonly parameters: number; readonly exchanges: readonly Exchange[] }[];
    readonly memory: Readonly<Record<string, number>>;
  }
  interface Exchange {
    readonly kind: string;
    readonly times: number;
    readonly sentBytes: number;
    readonly displaced?: string;
  }
  const told = async (...more: string[]): Promise<Told> => {
    const { code, stdout, stderr } = await sdxl([...asked, ...more, '--json'], { cwd: workspace.path });
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Told;
  };
  const { ranks, networks, memory } = await told();
  assert.equal(ranks, 2);
  assert.deepEqual(
    networks.map(({ name }) => name),
    ['text_encoder', 'text_encoder_2', 'unet', 'vae_decoder'],
  );
  const unet = networks.find(({ name }) => name === 'unet');
  assert.equal(unet?.parameters, 570_644);
  const halo = unet.exchanges.find(({ kind }) => kind === 'group_norm_halo');
  assert.equal(halo?.times, 35);
  assert.ok(!('displaced' in halo) && !('keptBytes' in memory));
  const { stdout } = await sdxl(asked, { cwd: workspace.path });
  assert.match(stdout, new RegExp(`\\| unet +\\| group_norm_halo +\\| +35 \\| +${(halo.sentBytes / 1e6).toFixed(2)} \\|`, 'u'));
  const displaced = await told('--mode', 'SyncGn');
  const timing = displaced.networks.find(({ name }) => name === 'unet')?.exchanges.map(({ kind, displaced }) => [kind, displaced]);
  assert.equal(new Map(timing as [string, string][]).get('key_value'), 'stale');
  assert.ok((displaced.memory['keptBytes'] ?? 0) > 0);
});
