/** Names of objects as people write them: `s3://bucket/key`. */

export interface ObjectName {
  readonly bucket: string;
  /** Without a `/` at its beginning; empty where only the bucket is named. */
  readonly key: string;
}

const objectScheme = 's3://';

export function objectUri({ bucket, key }: ObjectName): string {
  return `${objectScheme}${bucket}/${key}`;
}

/** Undefined for anything else, such as the path of a file. */
export function parseObjectUri(text: string): ObjectName | undefined {
  if (!text.startsWith(objectScheme)) return undefined;
  const [bucket = '', ...rest] = text.slice(objectScheme.length).split('/');
  return { bucket, key: rest.join('/').replace(/^\/+|\/+$/gu, '') };
}
