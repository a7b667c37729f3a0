/**
 * What ranks exchange while they compute, and the transports that carry it. Moves bytes between ranks that have agreed on
 * what they run; knows neither tensors nor meshes nor Kubernetes. The composition root picks the implementation, everyone
 * else sees {@link Communicator}.
 */
export { SingleRank, type Communicator, type CommunicatorObserver, type Exchange, type Fingerprint, type Message } from './communicator.js';
export { GroupCommunicator } from './group.js';
export { GrpcCommunicator } from './grpc/grpc-communicator.js';
export { type GrpcCommunicatorOptions, type Timeouts } from './grpc/options.js';
export { rankTlsName, type TlsIdentity } from './grpc/tls.js';
