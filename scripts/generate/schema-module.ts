/** The CRD's schema as a module, so that a bundle needs no file beside it. */
import { generatedNotice, type Crd } from './crd.js';

export function renderSchemaModule({ group, version, kind, schema }: Crd): string {
  return `// ${generatedNotice}
import type { StructuralSchema } from '../structural-schema.js';

export const apiVersion = ${JSON.stringify(`${group}/${version}`)};
export const kind = ${JSON.stringify(kind)};

export const sdxlJobSchema: StructuralSchema = ${JSON.stringify(schema, undefined, 2)};
`;
}
