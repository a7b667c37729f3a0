/** Kinds of other projects, held against their published schemas: required fields and patterns by the models' validators, unknown fields by their types. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';
import type { KubernetesObject } from './manifests.js';

const modules: Readonly<Record<string, string>> = {
  'argoproj.io/v1alpha1': '@kubernetes-models/argo-cd',
  'kustomize.toolkit.fluxcd.io/v1': '@kubernetes-models/flux-cd',
  'monitoring.coreos.com/v1': '@kubernetes-models/prometheus-operator',
  'source.toolkit.fluxcd.io/v1': '@kubernetes-models/flux-cd',
};

export const isForeign = ({ apiVersion }: KubernetesObject): boolean => apiVersion in modules;

/** What is wrong with the object by its project's schema. */
export async function foreignProblems(object: KubernetesObject): Promise<readonly string[]> {
  const path = `${modules[object.apiVersion] ?? ''}/${object.apiVersion}/${object.kind}`;
  return [...(await validatorProblems(object, path)), ...typeProblems(object, path)];
}

/** The models' own types and the language's, which every check needs again. */
const parsed = new Map<string, ts.SourceFile | undefined>();

type Model = new (data: object) => { validate: () => void };

async function validatorProblems(object: KubernetesObject, path: string): Promise<readonly string[]> {
  const exported = (await import(path)) as Readonly<Record<string, Model>>;
  const model = exported[object.kind];
  if (model === undefined) throw new Error(`${path} has no ${object.kind}`);
  try {
    new model(object).validate();
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

/** A literal may only have fields of its type, at every depth. */
function typeProblems(object: KubernetesObject, path: string): readonly string[] {
  const root = dirname(createRequire(import.meta.url).resolve(`${modules[object.apiVersion] ?? ''}/package.json`));
  // Beside the package, so that its own imports are found; it is never written.
  const file = join(root, `${object.kind}.check.ts`);
  const source = `import type { I${object.kind} } from '${path}';\nexport const object: I${object.kind} = ${JSON.stringify(object)};\n`;
  const options: ts.CompilerOptions = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noEmit: true,
    skipLibCheck: true,
    strict: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const read = host.readFile.bind(host);
  const exists = host.fileExists.bind(host);
  const parse = host.getSourceFile.bind(host);
  host.readFile = (name) => (name === file ? source : read(name));
  host.fileExists = (name) => name === file || exists(name);
  host.getSourceFile = (name, version, ...rest) => {
    if (name === file) return ts.createSourceFile(name, source, version);
    if (!parsed.has(name)) parsed.set(name, parse(name, version, ...rest));
    return parsed.get(name);
  };
  const program = ts.createProgram([file], options, host);
  return program
    .getSemanticDiagnostics(program.getSourceFile(file))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}
