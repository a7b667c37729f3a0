/** A run of many images that is killed over and over and goes on each time, beside one that nobody disturbs. */
import assert from 'node:assert/strict';
import { readFile, rename, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, Sdxl, type SdxlOptions, type Workspace } from './sdxl.js';

export interface KilledRun {
  readonly workspace: Workspace;
  readonly env: Readonly<Record<string, string>>;
  /** Of the run's own: it is taken away while it runs. */
  readonly model: string;
  /** `sdxl run`'s arguments but the model and the output. */
  readonly args: readonly string[];
  /** Images that the arguments ask for. */
  readonly count: number;
  readonly kills: number;
  /** For each whole run. */
  readonly patienceMs: number;
  readonly report: (text: string) => void;
}

const victims = ['launcher and ranks', 'a rank', 'launcher'] as const;
const components = ['text_encoder', 'text_encoder_2', 'unet', 'vae_decoder'];

/** @throws where an image is made twice or differs from the undisturbed run's, or anything else is left beside them */
export async function killAndResume(scene: KilledRun): Promise<void> {
  const { workspace, env, count, kills, report } = scene;
  const options = { cwd: workspace.path, env };
  const names = Array.from({ length: count }, (_, index) => `x-${String(index)}.png`);
  const lengthMs = await undisturbed(scene, options);
  const finished = new Map<string, number>();
  const assertSame = async (name: string): Promise<void> => {
    // Whole as soon as it has its name.
    assert.deepEqual(await readFile(workspace.file('out', name)), await readFile(workspace.file('whole', name)), name);
    const { mtimeMs } = await stat(workspace.file('out', name));
    assert.equal(finished.get(name) ?? mtimeMs, mtimeMs, `${name} was made twice`);
    finished.set(name, mtimeMs);
  };

  for (let attempt = 0; attempt < kills && finished.size < count / 2; attempt++) {
    const killed = new Sdxl(run(scene, 'out/x.png'), options);
    // Some images further than the last time, and somewhere within the next one.
    const wanted = finished.size + 1 + Math.floor((count / 2 / kills) * Math.random());
    await eventually(
      `${String(wanted)} images`,
      async () => ((await pictures(workspace)).length >= wanted ? true : undefined),
      () => killed.stderr,
      scene.patienceMs,
    );
    await delay((Math.random() * lengthMs) / count);
    const victim = victims[attempt % victims.length] ?? 'launcher';
    const ranks = [...killed.ranks().values()];
    for (const pid of { launcher: [killed.pid], 'a rank': ranks.slice(-1), 'launcher and ranks': [killed.pid, ...ranks] }[victim])
      kill(pid);
    await killed.assertNoOrphans(30_000);
    await killed.end();
    const left = (await workspace.list('out')).filter((name) => name.endsWith('.tmp')).length;
    for (const name of await pictures(workspace)) await assertSame(name);
    report(`${victim} killed with ${String(finished.size)} of ${String(count)} images; unfinished files left: ${String(left)}`);
  }
  assert.ok(finished.size > 0);

  const kept = finished.size;
  const { code, stdout, stderr } = await new Sdxl(run(scene, 'out/x.png'), options).end(scene.patienceMs);
  assert.equal(code, 0, stderr);
  assert.equal([...stdout.matchAll(/\(kept\)$/gmu)].length, kept, stdout);
  for (const name of names) await assertSame(name);
  assert.deepEqual(await workspace.list('out'), names.flatMap((name) => [name, name.replace('.png', '.json')]).sort());
}

/** Once weights are loaded, there is no model any more: whoever reads them again fails. */
async function undisturbed(scene: KilledRun, options: SdxlOptions): Promise<number> {
  const away = `${scene.model}-away`;
  const started = performance.now();
  const whole = new Sdxl(run(scene, 'whole/x.png'), options);
  // The first image needs all networks of all ranks.
  await whole.until(/^image 1\/\d+: .*x-0\.png/mu, scene.patienceMs);
  await rename(scene.model, away);
  const { code, stderr } = await whole.end(scene.patienceMs);
  await rename(away, scene.model);
  assert.equal(code, 0, stderr);
  const loaded = [...stderr.matchAll(/^engine (\w+): .*loaded in/gmu)].map(([, component]) => component);
  assert.deepEqual(loaded, components, `weights are loaded once:\n${stderr}`);
  const lengthMs = performance.now() - started;
  scene.report(`undisturbed: ${String(scene.count)} images in ${(lengthMs / 1000).toFixed(1)} s, each network loaded once`);
  return lengthMs;
}

function run({ model, args }: KilledRun, output: string): string[] {
  return ['run', '--model', model, ...args, '--output', output];
}

async function pictures(workspace: Workspace): Promise<string[]> {
  const names = await workspace.list('out').catch((): string[] => []); // Not made yet.
  return names.filter((name) => name.endsWith('.png'));
}

/** It may just have ended by itself. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
