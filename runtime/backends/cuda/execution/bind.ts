/** Binds the operations of a program: chooses tactics, fixes addresses and parameters. What comes out only needs a stream. */
import type { MatmulOperands, MatmulProblem, Workspace } from '../libraries/index.js';
import type { Operation, OperationOf } from '../plan/operations.js';
import type { View } from '../plan/view.js';
import type { AheadExchanges } from './ahead.js';
import { clusterLaunch, type BlockLimits } from './cluster-norm.js';
import type { DeviceCollectives } from './collectives.js';
import {
  causalAttentionLaunch,
  embeddingLaunch,
  gegluLaunch,
  layerNormLaunch,
  pointwiseLaunch,
  selectTokenLaunch,
  sinusoidLaunch,
  softmaxLaunch,
  upsampleLaunch,
} from './kernel-launches.js';
import type { HalfType, KernelSet } from './kernels.js';
import { enqueueKernel, type Addresses, type KernelLaunch, type Launch } from './launch.js';
import { applyLaunch, boundaryLaunch, joinLaunch, statisticsLaunch, type NormScratch } from './norm-launches.js';
import type { Tactics } from './tactics.js';

export interface BindContext {
  readonly kernels: KernelSet;
  readonly tactics: Tactics;
  readonly addresses: Addresses;
  readonly scratch: NormScratch;
  /** Scratch memory for a call that clears it first: its own where it is small, else the shared one. */
  readonly workspaceFor: (sizeBytes: number) => Workspace;
  readonly half: HalfType;
  readonly limits: BlockLimits;
  /** Whether the device overlaps a kernel's launch with the end of the one before (sm_90 and newer). */
  readonly programmatic: boolean;
  /** Undefined on one rank, whose programs have no collectives. */
  readonly collectives: DeviceCollectives | undefined;
  /** Of a displaced step: where the next one finds things, and what sends them there. */
  readonly displaced?: { readonly next: Addresses; readonly ahead: AheadExchanges };
}

export async function bindOperation(operation: Operation, context: BindContext): Promise<Launch> {
  const { kernels, addresses, scratch, limits, programmatic } = context;
  const { multiprocessors } = limits;
  const early = (launch: KernelLaunch): KernelLaunch => ({ ...launch, programmatic });
  switch (operation.kind) {
    case 'gemm':
      return bindGemm(operation, context);
    case 'gatedGemm':
      return bindGatedGemm(operation, context);
    case 'matmul':
      return bindMatmul(operation, context);
    case 'softmax':
      return own(operation, early(softmaxLaunch(kernels, addresses, operation)));
    case 'conv':
      return bindConvolution(operation, context);
    case 'attention':
      if (operation.causal) return own(operation, causalAttentionLaunch(kernels, addresses, operation));
      return bindAttention(operation, context);
    case 'groupNorm': {
      const inOne = clusterLaunch(kernels, addresses, operation, limits);
      const launches =
        inOne === undefined
          ? [statisticsLaunch, applyLaunch].map((bind) => bind(kernels, addresses, scratch, operation, multiprocessors))
          : [inOne];
      return own(operation, ...launches.map(early));
    }
    case 'groupMoments':
      return own(operation, early(statisticsLaunch(kernels, addresses, scratch, operation, multiprocessors)));
    case 'groupNormalize':
      return own(operation, early(applyLaunch(kernels, addresses, scratch, operation, multiprocessors)));
    case 'boundaryRows':
      return own(operation, boundaryLaunch(kernels, addresses, operation));
    case 'layerNorm':
      return own(operation, early(layerNormLaunch(kernels, addresses, operation, multiprocessors)));
    case 'geglu':
      return own(operation, early(gegluLaunch(kernels, addresses, operation)));
    case 'pointwise':
      return own(operation, pointwiseLaunch(kernels, addresses, operation));
    case 'upsample':
      return own(operation, upsampleLaunch(kernels, addresses, operation));
    case 'embedding':
      return own(operation, embeddingLaunch(kernels, addresses, operation));
    case 'selectToken':
      return own(operation, selectTokenLaunch(kernels, addresses, operation));
    case 'sinusoid':
      return own(operation, sinusoidLaunch(kernels, addresses, operation));
    case 'collective': {
      const { collectives } = context;
      if (collectives === undefined) throw new Error(`${operation.name} needs peers`);
      const enqueue: Launch['enqueue'] = (stream) => {
        collectives.enqueue(operation, addresses, stream);
      };
      return { operation, label: 'NCCL', microseconds: undefined, enqueue };
    }
    case 'sendAhead': {
      const { ahead, here, next } = displacedOf(operation, context);
      const enqueue: Launch['enqueue'] = (stream) => {
        ahead.begin(operation, here, next, stream);
      };
      return { operation, label: 'NCCL, ahead', microseconds: undefined, enqueue };
    }
    case 'joinMoments':
      return own(operation, early(joinLaunch(kernels, addresses, displacedOf(operation, context).next, operation)));
    default:
      return operation satisfies never;
  }
}

function displacedOf(
  { name }: Operation,
  { displaced, addresses }: BindContext,
): NonNullable<BindContext['displaced']> & { readonly here: Addresses } {
  if (displaced === undefined) throw new Error(`${name} belongs to a displaced step`);
  return { ...displaced, here: addresses };
}

function own(operation: Operation, ...launches: readonly KernelLaunch[]): Launch {
  return {
    operation,
    label: launches.map(({ kernel }) => kernel.name).join(' + '),
    microseconds: undefined,
    enqueue: (stream) => {
      for (const launch of launches) enqueueKernel(launch, stream);
    },
  };
}

async function bindGemm(operation: OperationOf<'gemm'>, context: BindContext): Promise<Launch> {
  const { x, weight, weightOffset, weightStride, bias, accumulate } = operation;
  const { addresses } = context;
  return bindProduct(
    operation,
    { bias: bias !== undefined, accumulate, ldw: weightStride },
    {
      x: addresses.of(x),
      w: addresses.buffer(weight) + BigInt(weightOffset * 2),
      y: addresses.of(operation.y),
      ...(bias === undefined ? {} : { bias: addresses.buffer(bias) }),
    },
    context,
  );
}

async function bindGatedGemm(operation: OperationOf<'gatedGemm'>, context: BindContext): Promise<Launch> {
  const { x, weight, weightStride, bias, projection, y } = operation;
  const { tactics, addresses, kernels, workspaceFor, half, limits } = context;
  const chosen = await tactics.gatedProduct(
    {
      m: x.rows,
      outputs: y.columns,
      k: x.columns,
      dtype: half,
      bias: bias !== undefined,
      ldx: x.stride,
      ldw: weightStride,
      ldp: projection.stride,
      ldy: y.stride,
    },
    kernels,
    limits.multiprocessors,
  );
  const { problem, tactic, label, microseconds } = chosen;
  const operands = {
    x: addresses.of(x),
    w: addresses.buffer(weight),
    bias: bias === undefined ? 0n : addresses.buffer(bias),
    projection: addresses.of(projection),
    y: addresses.of(y),
  };
  const workspace = workspaceFor(problem.workspaceBytes);
  return {
    operation,
    label,
    microseconds,
    enqueue: problem.bind(tactic, operands, workspace),
    libraryPart: problem.bindProjection(operands, workspace),
  };
}

async function bindMatmul(operation: OperationOf<'matmul'>, context: BindContext): Promise<Launch> {
  const { x, w, y, factor } = operation;
  const { addresses } = context;
  const output = y.type === 'f32' ? { outputDtype: y.type } : {};
  return bindProduct(
    operation,
    { bias: false, accumulate: false, ldw: w.stride, factor, ...output },
    { x: addresses.of(x), w: addresses.of(w), y: addresses.of(y) },
    context,
  );
}

async function bindProduct(
  operation: OperationOf<'gemm'> | OperationOf<'matmul'>,
  form: Pick<MatmulProblem, 'bias' | 'accumulate' | 'ldw' | 'factor' | 'outputDtype'>,
  operands: MatmulOperands,
  { tactics, workspaceFor, half }: BindContext,
): Promise<Launch> {
  const { x, y } = operation;
  const { problem, tactic, label, microseconds } = await tactics.matmul({
    m: x.rows,
    n: y.columns,
    k: x.columns,
    dtype: half,
    ldx: x.stride,
    ldy: y.stride,
    ...form,
  });
  const workspace = workspaceFor(tactic.workspaceBytes);
  const enqueue: Launch['enqueue'] = (stream) => {
    problem.run(tactic, operands, workspace, stream);
  };
  return { operation, label, microseconds, enqueue };
}

async function bindConvolution(operation: OperationOf<'conv'>, { tactics, addresses, workspaceFor, half }: BindContext): Promise<Launch> {
  const { x, y, residual, stride, padding } = operation;
  const [batch = 1, inChannels = 8, height = 1, width = 1] = x.shape;
  const [kernel] = operation.kernel;
  if ((kernel !== 1 && kernel !== 3) || (stride !== 1 && stride !== 2))
    throw new Error(`${operation.name}: ${String(kernel)}×, stride ${String(stride)}`);
  const { problem, tactic, label, microseconds } = await tactics.convolution({
    batch,
    height,
    width,
    inChannels,
    outChannels: y.shape[1] ?? 8,
    kernel,
    stride,
    padding,
    dtype: half,
    bias: operation.bias !== undefined,
    residual: residual !== undefined,
  });
  const operands = {
    x: addresses.of(x),
    w: addresses.buffer(operation.weight),
    y: addresses.of(y),
    ...(operation.bias === undefined ? {} : { bias: addresses.buffer(operation.bias) }),
    ...(residual === undefined ? {} : { residual: addresses.of(residual) }),
  };
  const workspace = workspaceFor(tactic.workspaceBytes);
  const enqueue: Launch['enqueue'] = (stream) => {
    problem.run(tactic, operands, workspace, stream);
  };
  return { operation, label, microseconds, enqueue };
}

async function bindAttention(
  operation: OperationOf<'attention'>,
  { tactics, addresses, workspaceFor, half }: BindContext,
): Promise<Launch> {
  const { q, k, v, y, heads, scale } = operation;
  const [batch = 1, queryTokens = 1, channels = 8] = q.shape;
  const headDim = channels / heads;
  const strides = ({ strides: [perBatch = 0, token = 0] }: View) => ({ batch: perBatch, head: headDim, token });
  const { problem, tactic, label, microseconds } = await tactics.attention({
    batch,
    heads,
    queryTokens,
    keyTokens: k.shape[1] ?? 1,
    headDim,
    dtype: half,
    scale,
    query: strides(q),
    key: strides(k),
    value: strides(v),
    output: strides(y),
  });
  const operands = { q: addresses.of(q), k: addresses.of(k), v: addresses.of(v), o: addresses.of(y) };
  const workspace = workspaceFor(tactic.workspaceBytes);
  const enqueue: Launch['enqueue'] = (stream) => {
    problem.run(tactic, operands, workspace, stream);
  };
  return { operation, label, microseconds, enqueue };
}
