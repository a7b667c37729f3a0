/** How every client of this protocol connects, and the form addresses take. */
import { Client, type ChannelOptions } from '@grpc/grpc-js';
import { maxFrameBytes } from './frame.js';
import type { Address } from './protocol.js';
import { clientCredentials, clientTlsOptions, type TlsIdentity } from './tls.js';

const clientOptions: ChannelOptions = {
  // Only the receiver's window counts: a server in grpc-js pushes as far as its client allows.
  'grpc-node.flow_control_window': 16 << 20,
  'grpc.max_receive_message_length': maxFrameBytes,
  // Ranks talk to ranks: never through a proxy, and no TXT lookups for service configurations.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  // A retried stream would start over; each stream here belongs to one connection.
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  // Each client has a connection of its own, also where several ranks share a process.
  'grpc.use_local_subchannel_pool': 1,
};

/** A client for one rank; connects with its first call. */
export function createClient(address: Address, tls: TlsIdentity | undefined): Client {
  return new Client(formatAddress(address), clientCredentials(tls), { ...clientOptions, ...clientTlsOptions(tls) });
}

/** `host:port`, with brackets around IPv6 addresses. */
export function formatAddress({ host, port }: Address): string {
  return `${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
}

/** The host of what a server sees as its peer: `10.0.0.7:41234`, `::1:41234`, `::ffff:10.0.0.7:41234`. */
export function hostOfPeer(peer: string): string {
  return peer.slice(0, Math.max(peer.lastIndexOf(':'), 0)).replace(/^::ffff:/, '');
}

/** Waits between attempts to reach a rank: 50 ms, doubling up to 1 s, a little random so that ranks do not march in step. */
export function backoffMs(attempt: number): number {
  return Math.min(50 * 2 ** attempt, 1_000) * (0.75 + Math.random() / 2);
}
