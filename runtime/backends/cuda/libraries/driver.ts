/** The CUDA driver: loads libcuda, tells which devices there are. */
import { SdxlError } from '../../../errors/index.js';
import { driverSignatures, driverStatusCodes } from './driver-functions.js';
import type { LibrarySearch } from './library-search.js';
import { checked, type CheckedFunctions, type StatusFunctions } from './native-library.js';
import { readText } from './native-memory.js';
import { check, type StatusCodes } from './status.js';

export class Driver {
  /** Highest CUDA version the driver runs: `[13, 0]`. Toolkit libraries of a newer major version do not run on it. */
  readonly cudaVersion: readonly [major: number, minor: number];
  readonly deviceCount: number;
  readonly path: string;
  /** Every call checked. */
  readonly call: CheckedFunctions<typeof driverSignatures>;
  /** For statuses that are answers, such as cuEventQuery's. */
  readonly unchecked: StatusFunctions<typeof driverSignatures>;
  readonly codes: StatusCodes;

  private constructor(path: string, functions: StatusFunctions<typeof driverSignatures>, codes: StatusCodes) {
    this.path = path;
    this.unchecked = functions;
    this.codes = codes;
    this.call = checked(functions, (name, status) => check(codes, name, status));
    this.call.cuInit(0);
    const number = new Int32Array(1);
    this.call.cuDriverGetVersion(number);
    const version = number[0] ?? 0;
    this.cudaVersion = [Math.floor(version / 1000), Math.floor((version % 1000) / 10)];
    this.call.cuDeviceGetCount(number);
    this.deviceCount = number[0] ?? 0;
  }

  /** @throws SdxlError CUDA_UNAVAILABLE where there is no driver or no device. */
  static async open(search: LibrarySearch): Promise<Driver> {
    const library = await search.load('cuda');
    const functions = library.bind(driverSignatures);
    const asked = ['cuGetErrorName', 'cuGetErrorString'].map((symbol) => library.declare(symbol, 'int', ['int', 'void *']));
    const describe = (status: number): string => {
      const texts = asked.map((ask) => {
        const address = new BigUint64Array(1);
        ask(status, address);
        return readText(address[0] ?? 0n);
      });
      return texts.filter((text) => text !== undefined).join(', ') || `status ${status}`;
    };
    const driver = new Driver(library.path, functions, driverStatusCodes(describe));
    if (driver.deviceCount === 0)
      throw new SdxlError('CUDA_UNAVAILABLE', 'the CUDA driver sees no device: check CUDA_VISIBLE_DEVICES and nvidia-smi');
    return driver;
  }
}
