/**
 * The job's token: a secret every rank of a gang is given, sent with every call and compared before the call's request is
 * even read, so that a foreign process learns nothing and disturbs nobody.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Metadata, ServerInterceptingCall, ServerListenerBuilder, status, type ServerInterceptor } from '@grpc/grpc-js';

const tokenKey = 'sdxl-token';

/** The metadata of every call of this rank. */
export function tokenMetadata(token: string): Metadata {
  const metadata = new Metadata();
  metadata.set(tokenKey, token);
  return metadata;
}

/** Refuses calls without the token, in a time that does not depend on how much of it is right. */
export function requireToken(token: string, refused: (from: string) => void, known: (from: string) => void): ServerInterceptor {
  const expected = digest(token);
  return (_method, call) =>
    new ServerInterceptingCall(call, {
      start: (next) => {
        next(
          new ServerListenerBuilder()
            .withOnReceiveMetadata((metadata, accept) => {
              const [sent] = metadata.get(tokenKey);
              if (typeof sent === 'string' && timingSafeEqual(digest(sent), expected)) {
                metadata.remove(tokenKey);
                known(call.getPeer());
                accept(metadata);
                return;
              }
              refused(call.getPeer());
              const details = sent === undefined ? 'the call carries no token' : "the call's token is not this job's";
              call.sendStatus({ code: status.UNAUTHENTICATED, details });
            })
            .build(),
        );
      },
    });
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
