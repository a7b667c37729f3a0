/** The programs that check what is delivered to a cluster: pinned, and kept in a cache outside the repository. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

interface GoTool {
  readonly from: 'go';
  readonly package: string;
  readonly version: string;
}

/** A program of one of Debian's packages, which is unpacked and not installed: no service is started and root is not needed. */
interface DebianTool {
  readonly from: 'debian';
  readonly package: string;
}

export const tools = {
  /** gopher-lua, the interpreter that Argo CD runs health checks with. */
  glua: { from: 'go', package: 'github.com/yuin/gopher-lua/cmd/glua', version: 'v1.1.2' },
  kustomize: { from: 'go', package: 'sigs.k8s.io/kustomize/kustomize/v5', version: 'v5.8.1' },
  helm: { from: 'go', package: 'helm.sh/helm/v3/cmd/helm', version: 'v3.22.0' },
  promtool: { from: 'debian', package: 'prometheus' },
  prometheus: { from: 'debian', package: 'prometheus' },
} as const satisfies Readonly<Record<string, GoTool | DebianTool>>;

export type ToolName = keyof typeof tools;
export type Tool = (typeof tools)[ToolName];

/** Where a tool's folder is, whether or not it is there yet. */
export function toolFolder(name: ToolName): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const tool = tools[name];
  return join(cache, 'sdxl-operator', 'tools', tool.from === 'go' ? `${name}-${tool.version}` : `debian-${tool.package}`);
}

/** The tool's program, or undefined where it is not installed. */
export function findTool(name: ToolName): string | undefined {
  const path = join(toolFolder(name), tools[name].from === 'go' ? name : `usr/bin/${name}`);
  return existsSync(path) ? path : undefined;
}
