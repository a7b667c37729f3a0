import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { architectures } from '../../../bench/models/architectures.js';
import { partition } from '../../../runtime/engine/index.js';
import { buildUnet, buildVaeDecoder, parseUnetConfig, parseVaeConfig } from '../../../runtime/models/index.js';
import { countFlops, GraphBuilder, verify, type Graph } from '../../../runtime/graph/index.js';
import { checkSize, placeInMesh, shard } from '../../../runtime/parallel/index.js';

const { unet, vae } = architectures['sdxl-base'];
const sdxl = buildUnet(parseUnetConfig(unet, 'unet/config.json'));

function exchangesOf(graph: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const step of partition(graph).steps) {
    if (step.kind === 'exchange') counts[step.node.params.label] = (counts[step.node.params.label] ?? 0) + 1;
  }
  return counts;
}

describe("SDXL base's UNet", () => {
  it('has 2.57 G parameters and 13.5 TFLOP a CFG step at 1024²', () => {
    verify(sdxl);
    const parameters = sdxl.weights.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    assert.equal(parameters, 2_567_463_684);
    const flops = countFlops(sdxl, { batch: 2, height: 128, width: 128, tokens: 77 });
    assert.ok(Math.abs(flops / 1e12 - 13.5) < 0.1, `${String(flops / 1e12)} TFLOP`);
  });

  it('takes 120 exchanges a step, not 155, and one gather of the result, on any number of patch ranks', () => {
    for (const patch of [2, 4, 8]) {
      const counts = exchangesOf(shard(sdxl, { cfg: 1, patch }));
      assert.deepEqual(counts, { group_norm_halo: 35, halo: 4, group_norm: 11, key_value: 70, gather: 1 });
    }
  });

  it('exchanges nothing but the result where only guidance is split', () => {
    assert.deepEqual(exchangesOf(shard(sdxl, { cfg: 2, patch: 1 })), { gather: 1 });
  });

  it('is left as it is on one rank', () => {
    assert.equal(shard(sdxl, { cfg: 1, patch: 1 }), sdxl);
    assert.equal(partition(sdxl).segments.length, 1);
  });

  it('loses no weight to the pass', () => {
    const keys = (graph: Graph): string[] => graph.weights.map(({ key }) => key).sort();
    assert.deepEqual(keys(shard(sdxl, { cfg: 1, patch: 4 })), keys(sdxl));
  });
});

describe('VAE decoder', () => {
  it('is sharded as well', () => {
    const sharded = shard(buildVaeDecoder(parseVaeConfig(vae, 'vae/config.json')), { cfg: 1, patch: 2 });
    assert.deepEqual(exchangesOf(sharded), { group_norm_halo: 29, group_norm: 1, key_value: 1, halo: 3, gather: 1 });
  });
});

describe('what cannot be sharded is refused', () => {
  it('operations along the rows', () => {
    const b = new GraphBuilder('odd');
    const x = b.input('x', [1, 4, b.symbol('height'), b.symbol('width')]);
    b.output('y', b.concat('stack', 2, [x, x]));
    assert.throws(() => shard(b.finish(), { cfg: 1, patch: 2 }), { code: 'GRAPH_INVALID', message: /cannot shard concat at stack/ });
  });
});

describe('mesh', () => {
  it('numbers ranks branch by branch', () => {
    assert.deepEqual(placeInMesh({ cfg: 2, patch: 2 }, 3), {
      mesh: { cfg: 2, patch: 2 },
      rank: 3,
      cfgIndex: 1,
      patchIndex: 1,
      patchGroup: [2, 3],
    });
  });

  it('names the nearest sizes where bands do not divide', () => {
    checkSize(1024, 776, { cfg: 1, patch: 4 }, 4, 8);
    checkSize(1000, 1048, { cfg: 1, patch: 1 }, 4, 8);
    checkSize(1008, 1000, { cfg: 2, patch: 1 }, 4, 8);
    assert.throws(
      () => {
        checkSize(1000, 1024, { cfg: 2, patch: 1 }, 4, 8);
      },
      { code: 'SIZE_INVALID', message: /height is 1000, must be a multiple of 16 for 2 ranks that decode it: use 992 or 1008/ },
    );
    assert.throws(
      () => {
        checkSize(1000, 1024, { cfg: 1, patch: 4 }, 4, 8);
      },
      { code: 'SIZE_INVALID', message: /height is 1000, must be a multiple of 128 for 4 patch ranks: use 896 or 1024/ },
    );
    assert.throws(
      () => {
        checkSize(1024, 20, { cfg: 1, patch: 1 }, 4, 8);
      },
      { code: 'SIZE_INVALID', message: /width is 20, must be a multiple of 8 for this model: use 16 or 24$/ },
    );
  });
});
