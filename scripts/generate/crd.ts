/** Reads the CRD's file: the one place where its shape is taken on trust, for the file is ours. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import type { StructuralSchema } from '../../crds/structural-schema.js';

export interface Crd {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly shortName: string;
  readonly schema: StructuralSchema;
}

export const generatedNotice = 'Generated from crds/sdxl.io_sdxljobs.yaml by "npm run generate". Do not edit.';

interface CrdFile {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string; readonly plural: string; readonly shortNames: readonly [string] };
    readonly versions: readonly [{ readonly name: string; readonly schema: { readonly openAPIV3Schema: StructuralSchema } }];
  };
}

export async function readCrd(path: string): Promise<Crd> {
  const { spec } = parse(await readFile(path, 'utf8')) as CrdFile;
  const [version] = spec.versions;
  return {
    group: spec.group,
    version: version.name,
    kind: spec.names.kind,
    plural: spec.names.plural,
    shortName: spec.names.shortNames[0],
    schema: version.schema.openAPIV3Schema,
  };
}
