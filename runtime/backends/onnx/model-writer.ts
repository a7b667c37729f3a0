/** Assembles one ONNX model: nodes, small constants, weights that stay in their safetensors file, symbolic shapes. */
import { readFileSync } from 'node:fs';
import protobuf from 'protobufjs';
import type { Dim, TensorType } from '../../graph/index.js';
import type { DType } from '../../tensor/index.js';
import { packageFile } from '../../package-root.js';

export type Attribute = number | string | readonly number[] | { readonly float: number };
export type Attributes = Readonly<Record<string, Attribute>>;

/** ONNX TensorProto.DataType. */
const onnxDataType = { f32: 1, f16: 10, bf16: 16, i32: 6, i64: 7 } as const satisfies Record<DType, number>;

export interface ExternalWeight {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** File name within the folder the session is opened with. */
  readonly file: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

/** Collects one graph; names of values are the caller's, names of temporaries are made here. */
export class ModelWriter {
  readonly #name: string;
  readonly #nodes: object[] = [];
  readonly #initializers: object[] = [];
  readonly #inputs: object[] = [];
  readonly #outputs: object[] = [];
  readonly #constants = new Map<string, string>();
  #temporaries = 0;

  constructor(name: string) {
    this.#name = name;
  }

  /** Adds a node with one output and returns the output's name. */
  node(type: string, inputs: readonly string[], attributes: Attributes = {}, output = this.temporary(), domain = ''): string {
    this.nodes(type, inputs, [output], attributes, domain);
    return output;
  }

  nodes(type: string, inputs: readonly string[], outputs: readonly string[], attributes: Attributes = {}, domain = ''): void {
    const attribute = Object.entries(attributes).map(([name, value]) => ({ name, ...encodeAttribute(value) }));
    this.#nodes.push({ input: inputs, output: outputs, name: outputs[0] ?? '', opType: type, attribute, domain });
  }

  temporary(): string {
    return `t${String(this.#temporaries++)}`;
  }

  /** A small float constant; equal constants are shared. */
  floats(shape: readonly number[], values: readonly number[]): string {
    return this.#constant('f32', shape, values.join(' '), () => Buffer.from(Float32Array.from(values).buffer));
  }

  ints(values: readonly number[]): string {
    return this.#constant('i64', [values.length], values.join(' '), () => Buffer.from(BigInt64Array.from(values, BigInt).buffer));
  }

  weight(weight: ExternalWeight): void {
    const entry = (key: string, value: string | number): object => ({ key, value: String(value) });
    this.#initializers.push({
      dims: weight.shape,
      dataType: onnxDataType[weight.dtype],
      name: weight.name,
      externalData: [entry('location', weight.file), entry('offset', weight.offsetBytes), entry('length', weight.sizeBytes)],
      dataLocation: 1,
    });
  }

  input(name: string, type: TensorType): void {
    this.#inputs.push(valueInfo(name, type));
  }

  output(name: string, type: TensorType): void {
    this.#outputs.push(valueInfo(name, type));
  }

  /** The encoded ModelProto. `opset` is the default domain's version. */
  encode(opset: number, producerVersion: string): Uint8Array {
    const model = modelProto();
    const message = model.fromObject({
      irVersion: 10,
      producerName: 'sdxl-operator',
      producerVersion,
      opsetImport: [
        { domain: '', version: opset },
        { domain: 'com.microsoft', version: 1 },
      ],
      graph: { node: this.#nodes, name: this.#name, initializer: this.#initializers, input: this.#inputs, output: this.#outputs },
    });
    return model.encode(message).finish();
  }

  #constant(dtype: 'f32' | 'i64', shape: readonly number[], key: string, bytes: () => Buffer): string {
    const id = `${dtype}[${shape.join(',')}]${key}`;
    const known = this.#constants.get(id);
    if (known !== undefined) return known;
    const name = `c${String(this.#constants.size)}`;
    this.#constants.set(id, name);
    this.#initializers.push({ dims: shape, dataType: onnxDataType[dtype], name, rawData: bytes() });
    return name;
  }
}

function encodeAttribute(value: Attribute): object {
  if (typeof value === 'number') return { i: value, type: attributeType.int };
  if (typeof value === 'string') return { s: Buffer.from(value), type: attributeType.string };
  if ('float' in value) return { f: value.float, type: attributeType.float };
  return { ints: value, type: attributeType.ints };
}

function valueInfo(name: string, type: TensorType): object {
  const dim = type.shape.map((size: Dim) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size.key }));
  return { name, type: { tensorType: { elemType: onnxDataType[type.dtype], shape: { dim } } } };
}

let cachedModelProto: protobuf.Type | undefined;

function modelProto(): protobuf.Type {
  const schema = packageFile('runtime/backends/onnx/onnx.proto');
  cachedModelProto ??= protobuf.parse(readFileSync(schema, 'utf8')).root.lookupType('onnx.ModelProto');
  return cachedModelProto;
}
