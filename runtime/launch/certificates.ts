/**
 * Certificates for the ranks of one job: made for a gang whose ranks are all children of one launcher, with an authority that lives
 * in memory only and signs nothing else; read from a folder, such as a mounted Secret, where ranks are started apart.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { identityFiles as files } from '../../certificates/contract.js';
import { rankTlsName, type TlsIdentity } from '../collectives/index.js';
import { SdxlError } from '../errors/index.js';

const hourMs = 3_600_000;
/** Only handshakes look at it; they all happen when the gang forms. */
const validMs = 30 * 24 * hourMs;

/** An identity that all ranks of a local gang share. */
export async function localIdentity(): Promise<TlsIdentity> {
  // Takes a tenth of a second to load, and most commands never need it.
  const { makeIdentity } = await import('../../certificates/identity.js');
  return makeIdentity({ name: 'sdxl job', notBefore: new Date(Date.now() - hourMs), notAfter: new Date(Date.now() + validMs) });
}

/** @throws SdxlError USAGE naming the file and what is wrong with it; never with its content. */
export async function readIdentity(directory: string): Promise<TlsIdentity> {
  const refuse = (file: string, problem: string, cause?: unknown): SdxlError =>
    new SdxlError('USAGE', `SDXL_TLS_DIR: ${join(directory, file)} ${problem}: ${advice}`, {
      fields: { variable: 'SDXL_TLS_DIR', value: directory, file },
      cause,
    });
  const read = (file: string): Promise<string> =>
    readFile(join(directory, file), 'utf8').catch((cause: unknown) => {
      throw refuse(file, `can't be read (${cause instanceof Error ? cause.message : String(cause)})`, cause);
    });
  const parse = (file: string, text: string): X509Certificate => {
    try {
      return new X509Certificate(text);
    } catch (cause) {
      throw refuse(file, 'is no certificate in PEM', cause);
    }
  };
  const identity = { ca: await read(files.ca), certificate: await read(files.certificate), key: await read(files.key) };
  const [ca, certificate] = [parse(files.ca, identity.ca), parse(files.certificate, identity.certificate)];
  if (!ca.ca) throw refuse(files.ca, 'is not the certificate of an authority');
  if (certificate.issuer !== ca.subject || !certificate.verify(ca.publicKey))
    throw refuse(files.certificate, `is not signed by ${files.ca}`);
  if (certificate.checkHost(rankTlsName) === undefined) throw refuse(files.certificate, `lacks the DNS name ${rankTlsName}`);
  const now = Date.now();
  if (now < Date.parse(certificate.validFrom) || now > Date.parse(certificate.validTo)) {
    throw refuse(files.certificate, `is valid from ${certificate.validFrom} to ${certificate.validTo} only`);
  }
  let matches: boolean;
  try {
    matches = certificate.checkPrivateKey(createPrivateKey(identity.key));
  } catch (cause) {
    throw refuse(files.key, 'is no private key in PEM', cause);
  }
  if (!matches) throw refuse(files.key, `does not belong to ${files.certificate}`);
  return identity;
}

const advice = `give every rank of the job ${Object.values(files).join(', ')} of one authority, with the DNS name ${rankTlsName} in the certificate`;
