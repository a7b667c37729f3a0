/** Jobs of the small model that ships, made through the API by the runtime itself: the picture in the claim is the command line's. */
import assert from 'node:assert/strict';
import { cp, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { CoreV1Api } from '@kubernetes/client-node';
import { decode } from 'fast-png';
import { type JobStatus } from '../../operator/api/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { clusterSuite } from '../support/cluster/index.js';
import { Administrator } from '../support/kubectl.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { offerVolume, sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const spec = { height: 128, width: 128, numInferenceSteps: 8, seed: 2, guidanceScale: '5.0' };
const { skip, cluster } = clusterSuite({ nodes: [{ images: sdxlImages }, { images: sdxlImages }] });

async function pixels(file: string): Promise<ArrayLike<number>> {
  return decode(await readFile(file), { checkCrc: true }).data;
}

/** Pixels of `sdxl run` with the same job on this machine. */
async function reference(workspace: Workspace): Promise<ArrayLike<number>> {
  const model = packageFile('models/tiny-sdxl');
  const args = [
    'run',
    '--model',
    model,
    '--size',
    '128',
    '--num-inference-steps',
    '8',
    '--seed',
    '2',
    '--guidance-scale',
    '5.0',
    '-n',
    '2',
  ];
  const env = { SDXL_CACHE_DIR: workspace.file('cache') };
  const { code, stderr } = await sdxl([...args, '--prompt', 'flowers, rabbit', '--output', 'reference.png'], { cwd: workspace.path, env });
  assert.equal(code, 0, stderr);
  return await pixels(workspace.file('reference.png'));
}

function trueConditions({ conditions = [] }: JobStatus): readonly string[] {
  return conditions.filter(({ status }) => status === 'True').map(({ type }) => type);
}

/** A claim of a job's namespace with a folder of this machine behind it. */
async function claim(name: string): Promise<string> {
  const folder = await offerVolume(cluster(), 'default', name);
  const body = { metadata: { name }, spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } } };
  await cluster().api(CoreV1Api).createNamespacedPersistentVolumeClaim({ namespace: 'default', body });
  return folder;
}

/** Everything that tells of the job once it is complete. */
async function tellsOfItself(jobs: SdxlJobs, operator: OperatorProcess, name: string, pods: number): Promise<void> {
  const status = await jobs.status(name);
  assert.deepEqual([status.attempt, status.restarts, status.disruptions, status.lastFailure], [1, 0, 0, undefined]);
  assert.deepEqual(trueConditions(status), ['Complete', 'SuccessCriteriaMet']);
  assert.equal(status.gang?.pods?.length, pods);
  const { done, phase, imagesDone, step, latencyP50 = '', latencyP95 = '' } = status.progress ?? {};
  assert.deepEqual([done, phase, imagesDone, step], ['100%', 'done', 1, spec.numInferenceSteps]);
  for (const latency of [latencyP50, latencyP95]) assert.match(latency, /^\d+\.\d{3}s$/u);
  await jobs.told(name, 'Started', 'Completed');
  const columns = await (await Administrator.of(cluster())).kubectl('get', 'sdxljob', name, '-o', 'wide', '--no-headers');
  assert.match(
    columns,
    new RegExp(`^${name} +Complete +Ended +100% +${latencyP95.replace('.', '\\.')} +0 +0 +True +False +1 +128 +128 +8 +\\S+\\n$`, 'u'),
  );
  await operator.measures(
    new RegExp(
      `^sdxl_job_info\\{namespace="default",job="${name}",size="128x128",ranks="2",pods="${String(pods)}",backend="Auto"\\} 1$`,
      'mu',
    ),
    new RegExp(`^sdxl_job_condition\\{namespace="default",job="${name}",type="Complete"\\} 1$`, 'mu'),
    new RegExp(`^sdxl_job_progress_ratio\\{namespace="default",job="${name}"\\} 1$`, 'mu'),
  );
}

test('two ranks in one pod and in two make the picture of the command line', { skip }, async () => {
  const client = await openClient(cluster());
  await installCrd(client);
  await using workspace = await Workspace.open();
  await using operator = await OperatorProcess.start(cluster());
  const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
  // One job on the claim that is made for it and the image's model, one on claims of the user's own.
  const together = await jobs.create('together', { ...spec, parallelism: { patchDegree: 2 } });
  const models = await claim('models');
  await cp(packageFile('models/tiny-sdxl'), join(models, 'tiny'), { recursive: true });
  const engines = await claim('engines');
  const pictures = await claim('pictures');
  const own: Fields = {
    model: { claim: { name: 'models', path: 'tiny' } },
    output: { claim: { name: 'pictures' }, path: 'apart/picture.png' },
    cache: { claim: { name: 'engines' } },
  };
  await jobs.create('apart', { ...spec, ...own, parallelism: { patchDegree: 2, ranksPerPod: 1 } });
  const expected = await reference(workspace);
  await Promise.all([jobs.completed('together'), jobs.completed('apart')]);

  for (const [folder, name] of [
    [together, 'output'],
    [join(pictures, 'apart'), 'picture'],
  ] as const) {
    assert.deepEqual((await readdir(folder)).sort(), [`${name}.json`, `${name}.png`]);
    assert.deepEqual(await pixels(join(folder, `${name}.png`)), expected);
    const told = JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as { readonly seed?: unknown };
    assert.equal(told.seed, '2');
  }
  assert.notDeepEqual(await readdir(engines), []);
  await tellsOfItself(jobs, operator, 'together', 1);
  await tellsOfItself(jobs, operator, 'apart', 2);
  await operator.measures(
    /^sdxl_jobs_finished_total\{namespace="default",result="complete"\} 2$/mu,
    /^sdxl_job_image_latency_seconds_count\{namespace="default"\} 2$/mu,
  );
  assert.doesNotMatch(await operator.metrics(), /^sdxl_job_restarts_total\{.* [^0]/mu);

  // Claims of the user's own stay when the job goes.
  await jobs.delete('together');
  await jobs.delete('apart');
  await jobs.gone('together');
  await jobs.gone('apart');
  assert.deepEqual(await pixels(join(pictures, 'apart/picture.png')), expected);
  const { items } = await cluster().api(CoreV1Api).listNamespacedPersistentVolumeClaim({ namespace: 'default' });
  assert.deepEqual(items.map(({ metadata }) => metadata?.name).sort(), ['engines', 'models', 'pictures']);
  await operator.measures(/^(?![^]*job="together")/u);
});
