/** A server that speaks S3 (test/object-storage), built once into the user's cache. Objects outlive its process. */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { packageFile } from '../../runtime/package-root.js';
import { goBuild } from '../../scripts/tools/go-build.js';
import { eventually } from './sdxl.js';

// The suite's own client, too, runs on any Node that this package does.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
const source = packageFile('test/object-storage');
const credentials = { accessKeyId: 'suite', secretAccessKey: 'known to the server alone' };

/** Why no such server can run here, or false. */
export const objectStorageSkip: string | false = goVersion() === undefined && !existsSync(programFile()) ? 'needs Go 1.25 or later' : false;

export class ObjectStorage implements AsyncDisposable {
  readonly #folder: string;
  readonly #buckets: readonly string[];
  readonly #listen: string;
  #child: ChildProcess | undefined;
  #log = '';
  #address = '';

  private constructor(folder: string, buckets: readonly string[], host: string) {
    this.#folder = folder;
    this.#buckets = buckets;
    this.#listen = host;
  }

  static async open(buckets: readonly string[], host = '127.0.0.1'): Promise<ObjectStorage> {
    await build();
    const storage = new ObjectStorage(await mkdtemp(join(tmpdir(), 'sdxl-object-storage-')), buckets, host);
    await storage.start();
    return storage;
  }

  get endpoint(): string {
    return `http://${this.#address}`;
  }

  get port(): number {
    return Number(this.#address.slice(this.#address.lastIndexOf(':') + 1));
  }

  /** What a client's environment needs. */
  get environment(): Readonly<Record<string, string>> {
    return { AWS_ACCESS_KEY_ID: credentials.accessKeyId, AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey };
  }

  /** The requests it has had, such as `GET /bucket/key range=""`, since the last call. */
  async requests(): Promise<readonly string[]> {
    // What it says of the others comes before what it says of this one.
    const mark = `/?mark=${randomUUID()}`;
    await (await fetch(`${this.endpoint}${mark}`)).body?.cancel();
    await eventually('word of the request', () => (this.#log.includes(mark) ? true : undefined));
    const lines = this.#log.split('\n').flatMap((line) => / ((?:GET|HEAD|PUT|POST|DELETE) .*)$/u.exec(line)?.[1] ?? []);
    this.#log = '';
    return lines.filter((line) => !line.includes(mark));
  }

  /** Again on the same port, with the same objects. */
  async start(): Promise<void> {
    const listen = this.#address === '' ? `${this.#listen}:0` : this.#address;
    const { accessKeyId, secretAccessKey } = credentials;
    const args = ['-listen', listen, '-folder', this.#folder, '-buckets', this.#buckets.join(',')];
    const child = spawn(programFile(), [...args, '-access-key', accessKeyId, '-secret-key', secretAccessKey], { stdio: 'pipe' });
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
    const lines = createInterface({ input: child.stdout });
    const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit')])) as unknown[];
    assert.ok(typeof line === 'string', `object storage did not start: ${this.#log}`);
    this.#address = line;
  }

  /** Until it is thawed, it takes connections and answers nobody. */
  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Without a farewell. */
  async stop(): Promise<void> {
    if (this.#child === undefined) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
    this.#child = undefined;
  }

  async put(bucket: string, key: string, body: Uint8Array): Promise<void> {
    const client = new S3Client({ endpoint: this.endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
    try {
      await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
    } finally {
      client.destroy();
    }
  }

  /** A folder's files below a prefix. */
  async putFolder(bucket: string, prefix: string, folder: string): Promise<void> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    for (const entry of entries.filter((each) => each.isFile())) {
      const file = join(entry.parentPath, entry.name);
      await this.put(bucket, `${prefix}/${file.slice(folder.length + 1)}`, await readFile(file));
    }
  }

  async keys(bucket: string): Promise<readonly string[]> {
    const folder = join(this.#folder, 'buckets', bucket);
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      .sort();
  }

  /** Where an object's content lies. */
  file(bucket: string, key: string): string {
    return join(this.#folder, 'buckets', bucket, key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function build(): Promise<void> {
  const file = programFile();
  if (existsSync(file)) return;
  await mkdir(dirname(dirname(file)), { recursive: true });
  const building = await mkdtemp(`${dirname(file)}.building-`);
  try {
    await goBuild({ module: source, packages: ['.'], output: building });
    await rename(building, dirname(file)).catch((error: unknown) => {
      // Another suite was first; what it built is the same.
      if (!existsSync(file)) throw error;
    });
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

/** In a folder named after all that goes into it. */
function programFile(): string {
  const hash = createHash('sha256');
  const names = readdirSync(source).filter((name) => /^go\.(mod|sum)$|\.go$/u.test(name));
  for (const name of names.sort()) hash.update(`\0${name}\0`).update(readFileSync(join(source, name)));
  const caches = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(caches, 'sdxl-operator', 'object-storage', hash.digest('hex').slice(0, 16), 'object-storage');
}

function goVersion(): string | undefined {
  try {
    return execFileSync('go', ['env', 'GOVERSION'], { cwd: source, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined; // No Go.
  }
}
