/** What the Helm chart takes from elsewhere: a chart can only read files within its own folder, and its README lists its values. */
import { isMap, isScalar, parseDocument, type Pair, type YAMLMap } from 'yaml';
import { generatedNotice } from './crd.js';

/** The CRD as a template: it can be left out, and it outlives the release. */
export function renderCrdTemplate(crd: string): string {
  const body = crd
    .replace(/^(#.*\n)+/u, '')
    .replaceAll('{{', '{{ "{{" }}')
    .replace(
      /^ {2}name: \S+\n/mu,
      (name) => `${name}  labels: {{- include "sdxl-operator.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
`,
    );
  return `{{- if .Values.crds.install }}\n# ${generatedNotice}\n${body}{{- end }}\n`;
}

/** The chart's README: a row for each value, from the comments beginning with `--` in values.yaml. */
export function renderChartReadme(values: string): string {
  const { contents } = parseDocument(values);
  if (!isMap(contents)) throw new Error('values.yaml is not a map');
  return `<!-- Generated from values.yaml by "npm run generate". Do not edit. -->

# Helm chart of sdxl-operator

\`\`\`sh
helm install sdxl-operator charts/sdxl-operator --namespace sdxl-system --create-namespace
\`\`\`

How to install, upgrade and remove it: [docs/install.md](../../docs/install.md). Names that are not in this table are refused.

| Value | Default | Meaning |
| --- | --- | --- |
${rows(contents, '').join('\n')}
`;
}

function rows(map: YAMLMap, prefix: string): string[] {
  return map.items.flatMap((pair) => {
    const name = `${prefix}${keyOf(pair)}`;
    const meaning = commentOf(map, pair);
    if (meaning !== undefined) return [`| \`${name}\` | \`${JSON.stringify(valueOf(map, keyOf(pair)))}\` | ${meaning} |`];
    if (isMap(pair.value) && pair.value.items.length > 0) return rows(pair.value, `${name}.`);
    throw new Error(`values.yaml does not say what ${name} is for`);
  });
}

function keyOf({ key }: Pair): string {
  if (!isScalar(key) || typeof key.value !== 'string') throw new Error('values.yaml has a key that is not a text');
  return key.value;
}

/** The comment before a pair; that of a map's first pair is the map's own. */
function commentOf(map: YAMLMap, pair: Pair): string | undefined {
  const own = isScalar(pair.key) ? pair.key.commentBefore : undefined;
  const comment = own ?? (map.items[0] === pair ? map.commentBefore : undefined);
  const text = /(?:^|\n) -- (.*)$/su.exec(comment ?? '')?.[1];
  return text?.replaceAll(/\s*\n\s*/gu, ' ').trim();
}

function valueOf(map: YAMLMap, key: string): unknown {
  const values = map.toJSON() as Readonly<Record<string, unknown>>;
  return values[key];
}
