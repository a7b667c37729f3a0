/** The ONNX Runtime sessions of one executor, one per segment. Lives in the worker. */
import { InferenceSession, type Tensor as OrtTensor } from 'onnxruntime-node';
import { SdxlError } from '../../errors/index.js';
import type { LoadRequest } from './worker-protocol.js';

export class OpenSessions {
  readonly name: string;
  readonly #sessions: readonly InferenceSession[];

  private constructor(name: string, sessions: readonly InferenceSession[]) {
    this.name = name;
    this.#sessions = sessions;
  }

  /** Opens every segment; weights are mapped from the safetensors files in place. ENGINE_BUILD_FAILED names the segment. */
  static async open(request: LoadRequest): Promise<OpenSessions> {
    const sessions: InferenceSession[] = [];
    for (const [segment, model] of request.models.entries()) {
      try {
        sessions.push(await InferenceSession.create(model, sessionOptions(request, request.models.length)));
      } catch (cause) {
        await Promise.all(sessions.map((session) => session.release()));
        throw new SdxlError('ENGINE_BUILD_FAILED', `${request.name}, segment ${String(segment)}: ${messageOf(cause)}`, {
          fields: { component: request.name, segment },
          cause,
        });
      }
    }
    return new OpenSessions(request.name, sessions);
  }

  /** Runs one segment; `fetches` are filled in place. */
  async run(segment: number, feeds: Record<string, OrtTensor>, fetches: Record<string, OrtTensor>): Promise<void> {
    const session = this.#sessions[segment];
    if (session === undefined) throw new Error(`${this.name} has no segment ${String(segment)}`);
    try {
      // The returned tensors are copies that the binding makes besides; the fetches hold the result.
      await session.run(feeds, fetches);
    } catch (cause) {
      throw new SdxlError('ENGINE_RUN_FAILED', `${this.name}, segment ${String(segment)}: ${messageOf(cause)}`, {
        fields: { component: this.name, segment },
        cause,
      });
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#sessions.map((session) => session.release()));
  }
}

function sessionOptions(request: LoadRequest, segments: number): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: request.threads,
    interOpNumThreads: 1,
    // One arena per session would hold the peak of every segment at once.
    enableCpuMemArena: segments === 1,
    logSeverityLevel: 3,
    extra: {
      session: {
        // Idle pools must not burn the cores that other segments' pools and gRPC need.
        intra_op: { allow_spinning: '0' },
        model_external_initializers_file_folder_path: request.weightsDirectory,
      },
    },
  };
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
