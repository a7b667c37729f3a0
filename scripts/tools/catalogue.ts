/** The programs that check what is delivered to a cluster: pinned, and kept in a cache outside the repository. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../../runtime/package-root.js';

/** One of the tools of `goModule`, which says its version. */
interface GoTool {
  readonly from: 'go';
  readonly module: string;
  /** Relative to the module. */
  readonly package?: string;
}

/** A program of one of Debian's packages, which is unpacked and not installed: no service is started and root is not needed. */
interface DebianTool {
  readonly from: 'debian';
  readonly package: string;
}

/** The control plane's: it has most of what the tools are made of, which is then compiled once. */
export const goModule = packageFile('test/control-plane');

export const tools = {
  /** gopher-lua, the interpreter that Argo CD runs health checks with. */
  glua: { from: 'go', module: 'github.com/yuin/gopher-lua', package: 'cmd/glua' },
  kustomize: { from: 'go', module: 'sigs.k8s.io/kustomize/kustomize/v5' },
  helm: { from: 'go', module: 'helm.sh/helm/v3', package: 'cmd/helm' },
  promtool: { from: 'debian', package: 'prometheus' },
  prometheus: { from: 'debian', package: 'prometheus' },
} as const satisfies Readonly<Record<string, GoTool | DebianTool>>;

export type ToolName = keyof typeof tools;
export type Tool = GoTool | DebianTool;

/** Where a tool's folder is, whether or not it is there yet. */
export function toolFolder(name: ToolName): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const tool: Tool = tools[name];
  return join(cache, 'sdxl-operator', 'tools', tool.from === 'go' ? `${name}-${pinnedVersion(tool)}` : `debian-${tool.package}`);
}

/** The tool's program, or undefined where it is not installed. */
export function findTool(name: ToolName): string | undefined {
  const path = join(toolFolder(name), tools[name].from === 'go' ? name : `usr/bin/${name}`);
  return existsSync(path) ? path : undefined;
}

function pinnedVersion({ module }: GoTool): string {
  const requirements = readFileSync(join(goModule, 'go.mod'), 'utf8').split('\n');
  const version = requirements.map((line) => line.trim().split(' ')).find(([name]) => name === module)?.[1];
  if (version === undefined) throw new Error(`${goModule}/go.mod requires no ${module}`);
  return version;
}
