/**
 * Mutual TLS between the ranks of a job. Who holds a certificate of the job's own authority is a member, on either end of a
 * connection; names and addresses of pods play no part, so a certificate names its purpose instead of a host.
 */
import { createSecureContext } from 'node:tls';
import { credentials, ServerCredentials, type ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';
import { rankTlsName, type TlsIdentity } from '../../../certificates/contract.js';

export { rankTlsName, type TlsIdentity };

export function clientCredentials(identity: TlsIdentity | undefined): ChannelCredentials {
  if (identity === undefined) return credentials.createInsecure();
  const { ca, certificate, key } = identity;
  return credentials.createFromSecureContext(createSecureContext({ ca, cert: certificate, key, minVersion: 'TLSv1.3' }));
}

/** The name the other end's certificate must hold. */
export function clientTlsOptions(identity: TlsIdentity | undefined): ChannelOptions {
  return identity === undefined ? {} : { 'grpc.ssl_target_name_override': rankTlsName };
}

/** Turns away, in the handshake, whoever has no certificate of the authority. */
export function serverCredentials(identity: TlsIdentity | undefined): ServerCredentials {
  if (identity === undefined) return ServerCredentials.createInsecure();
  const { ca, certificate, key } = identity;
  return ServerCredentials.createSsl(Buffer.from(ca), [{ private_key: Buffer.from(key), cert_chain: Buffer.from(certificate) }], true);
}

/** Whether a connection failed because one end does not accept the other's certificate; then trying again changes nothing. */
export function isCertificateFailure(details: string): boolean {
  return /certificate|self.signed|unknown ca|altnames|wrong version number|packet length too long/i.test(details);
}
