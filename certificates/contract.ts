/** Certificates of ranks, as operator and ranks agree on them. Knows neither side, and loads nothing. */

/** What a rank proves itself with and checks others by, each as PEM text. */
export interface TlsIdentity {
  /** Certificate of the job's authority. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
}

/** The DNS name that every rank's certificate holds. */
export const rankTlsName = 'rank.sdxl.internal';

/** Their names in a folder: those of a Secret of type kubernetes.io/tls, and that of the authority as issuers add it. */
export const identityFiles = { ca: 'ca.crt', certificate: 'tls.crt', key: 'tls.key' } as const;
