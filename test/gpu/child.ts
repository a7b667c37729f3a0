/** What must happen in a process of its own: `child.js illegal-access` breaks its context, `child.js ipc HANDLE COUNT` reads another's memory. */
import { toSdxlError } from '../../runtime/errors/index.js';
import { architectureName, Device, Driver, KernelArguments, Nvrtc } from '../../runtime/backends/cuda/libraries/index.js';
import { testSearch } from '../support/gpu.js';

const [task, handle = '', count = '0'] = process.argv.slice(2);
const search = testSearch();
const driver = await Driver.open(search);
const device = await Device.open(driver);
if (task === 'ipc') {
  const pointer = device.openIpc(Buffer.from(handle, 'base64'));
  const words = new Uint32Array(Number(count));
  device.copyToHost(words, pointer);
  device.closeIpc(pointer);
  device.close();
  console.log(JSON.stringify([...words]));
} else {
  const nvrtc = await Nvrtc.open(search, driver.cudaVersion[0]);
  const source = 'extern "C" __global__ void poke(int* p) { *p = 1; }';
  const architecture = architectureName(device.properties.computeCapability);
  const kernel = device.loadModule(await nvrtc.compile({ name: 'poke.cu', source, architecture })).kernel('poke');
  const stream = device.createStream();
  const event = device.createEvent();
  try {
    kernel.launch([1], [1], 0, stream, new KernelArguments([{ pointer: 8n }]));
    event.record(stream);
    await event.done({ timeoutMs: 20_000 });
    console.log('nothing happened');
  } catch (error) {
    const { code, message, exitCode } = toSdxlError(error);
    console.log(JSON.stringify({ code, message, exitCode }));
    process.exitCode = exitCode;
  }
}
