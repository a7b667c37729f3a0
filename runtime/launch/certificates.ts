/**
 * Certificates for the ranks of one job: made for a gang whose ranks are all children of one launcher, with an authority that lives
 * in memory only and signs nothing else; read from a folder, such as a mounted Secret, where ranks are started apart.
 */
import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rankTlsName, type TlsIdentity } from '../collectives/index.js';
import { SdxlError } from '../errors/index.js';

/** The names of a Secret of type kubernetes.io/tls, and that of the authority as issuers add it. */
const files = { ca: 'ca.crt', certificate: 'tls.crt', key: 'tls.key' } as const;

const hourMs = 3_600_000;
/** Only handshakes look at it; they all happen when the gang forms. */
const validMs = 30 * 24 * hourMs;

/** An identity that all ranks of a local gang share. Its authority's key is forgotten here. */
export async function makeIdentity(): Promise<TlsIdentity> {
  // Takes a tenth of a second to load, and most commands never need it.
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(webcrypto);
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
  const generate = (): Promise<webcrypto.CryptoKeyPair> => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const [authority, rank] = await Promise.all([generate(), generate()]);
  const validity = { notBefore: new Date(Date.now() - hourMs), notAfter: new Date(Date.now() + validMs) };
  const { KeyUsageFlags } = x509;
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=sdxl job',
    ...validity,
    keys: authority,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true), new x509.KeyUsagesExtension(KeyUsageFlags.keyCertSign, true)],
  });
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: '02',
    subject: 'CN=sdxl rank',
    issuer: ca.subject,
    ...validity,
    publicKey: rank.publicKey,
    signingKey: authority.privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: rankTlsName }]),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', rank.privateKey)).toString('base64');
  return {
    ca: ca.toString('pem'),
    certificate: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${key.replace(/.{64}/gu, '$&\n').trimEnd()}\n-----END PRIVATE KEY-----\n`,
  };
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
