/**
 * Makes the certificates by which the ranks of one job know each other: an authority made for the job alone, and one certificate that all its ranks
 * share. Operator and launcher both make them with this. From the same seed come the same bytes.
 */
import { createHmac, createPrivateKey, createPublicKey, randomBytes, sign, type KeyObject } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  id_ce_basicConstraints,
  id_ce_extKeyUsage,
  id_ce_keyUsage,
  id_ce_subjectAltName,
  id_kp_clientAuth,
  id_kp_serverAuth,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { rankTlsName, type TlsIdentity } from './contract.js';

export interface IdentityOptions {
  /** At least 32 bytes that nobody else knows, from which both keys are derived; default: random ones. */
  readonly seed?: Buffer;
  /** Whose ranks these are; 64 characters at most. */
  readonly name: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const ed25519 = '1.3.101.112';
const commonName = '2.5.4.3';
/** PKCS #8 of an Ed25519 key up to its 32 bytes (RFC 8410, section 7). */
const privateKeyHead = Buffer.from('302e020100300506032b657004220420', 'hex');

/** An identity that all ranks of a gang share. Its authority signs nothing else, and its key is forgotten here. */
export function makeIdentity({ seed = randomBytes(32), name, notBefore, notAfter }: IdentityOptions): TlsIdentity {
  const [authority, rank] = [derivedKey(seed, 'authority'), derivedKey(seed, 'rank')];
  const validity = new Validity({ notBefore, notAfter });
  const issuer = distinguishedName(name);
  const ca = issue(authority, {
    serialNumber: Uint8Array.of(1).buffer,
    issuer,
    subject: issuer,
    validity,
    subjectPublicKeyInfo: publicKeyInfo(authority),
    extensions: new Extensions([
      extension(id_ce_basicConstraints, true, new BasicConstraints({ cA: true, pathLenConstraint: 0 })),
      extension(id_ce_keyUsage, true, new KeyUsage(KeyUsageFlags.keyCertSign)),
    ]),
  });
  const certificate = issue(authority, {
    serialNumber: Uint8Array.of(2).buffer,
    issuer,
    subject: distinguishedName('sdxl rank'),
    validity,
    subjectPublicKeyInfo: publicKeyInfo(rank),
    extensions: new Extensions([
      extension(id_ce_basicConstraints, true, new BasicConstraints({})),
      extension(id_ce_keyUsage, true, new KeyUsage(KeyUsageFlags.digitalSignature)),
      extension(id_ce_extKeyUsage, false, new ExtendedKeyUsage([id_kp_serverAuth, id_kp_clientAuth])),
      extension(id_ce_subjectAltName, false, new SubjectAlternativeName([new GeneralName({ dNSName: rankTlsName })])),
    ]),
  });
  return { ca, certificate, key: rank.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

function derivedKey(seed: Buffer, purpose: string): KeyObject {
  const secret = createHmac('sha256', seed).update(purpose).digest();
  return createPrivateKey({ key: Buffer.concat([privateKeyHead, secret]), format: 'der', type: 'pkcs8' });
}

/** Ed25519 signatures are the same each time, so a certificate is too. @returns PEM */
function issue(signer: KeyObject, fields: Partial<TBSCertificate>): string {
  const signature = new AlgorithmIdentifier({ algorithm: ed25519 });
  const tbsCertificate = new TBSCertificate({ version: Version.v3, signature, ...fields });
  const signatureValue = Uint8Array.from(sign(null, Buffer.from(AsnConvert.serialize(tbsCertificate)), signer)).buffer;
  const der = AsnConvert.serialize(new Certificate({ tbsCertificate, signatureAlgorithm: signature, signatureValue }));
  const lines = Buffer.from(der).toString('base64').replace(/.{64}/gu, '$&\n').trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function publicKeyInfo(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(createPublicKey(key).export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
}

function distinguishedName(text: string): Name {
  const value = new AttributeValue({ utf8String: text });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: commonName, value })])]);
}

function extension(extnID: string, critical: boolean, value: object): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}
