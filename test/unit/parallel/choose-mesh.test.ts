/** What mesh Auto chooses: cases with their reason, and what holds for every question. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { checkSize, chooseMesh, fewerRanks, gangSize, type JobMesh, type MeshQuestion } from '../../../runtime/parallel/index.js';

const question: MeshQuestion = { ranks: 8, images: 1, height: 1024, width: 1024, guided: true, displaced: false, backend: 'Cuda' };

const cases: readonly (readonly [why: string, asked: Partial<MeshQuestion>, mesh: readonly [data: number, cfg: number, patch: number]])[] =
  [
    ['one image on one rank', { ranks: 1 }, [1, 1, 1]],
    ['one guided image: branches first, they exchange once a step', { ranks: 2 }, [1, 2, 1]],
    ['one image without guidance: bands', { ranks: 2, guided: false }, [1, 1, 2]],
    ['one image on more ranks: branches of bands', { ranks: 8 }, [1, 2, 4]],
    ['many images: replicas alone, nothing is exchanged', { images: 100 }, [8, 1, 1]],
    ['many images on a processor too', { images: 100, ranks: 2, backend: 'Onnx' }, [2, 1, 1]],
    ['as many images as ranks', { images: 8 }, [8, 1, 1]],
    ['half as many images as ranks: each on two branches', { images: 4 }, [4, 2, 1]],
    ['three images on two GPUs: three after another beat two rounds', { ranks: 2, images: 3 }, [1, 2, 1]],
    ['thirty of them do not', { ranks: 2, images: 30 }, [2, 1, 1]],
    ['two images on a processor: a tie, which replicas win', { ranks: 2, images: 2, backend: 'Onnx' }, [2, 1, 1]],
    ['displaced patches need bands', { displaced: true, images: 100 }, [4, 1, 2]],
    ['an image too low for eight bands, without guidance', { height: 256, guided: false, images: 2 }, [2, 1, 4]],
    ['three ranks, of a height that three divide', { ranks: 3, height: 960 }, [1, 1, 3]],
  ];

const shown = ({ data, cfg, patch }: JobMesh): readonly number[] => [data, cfg, patch];

describe('mesh Auto chooses for', () => {
  for (const [why, asked, mesh] of cases) {
    it(why, () => {
      const { chosen } = chooseMesh({ ...question, ...asked });
      assert(chosen !== undefined);
      assert.deepEqual(shown(chosen), mesh);
    });
  }

  it('nothing where ranks would idle, and says how many would not', () => {
    const asked = { ...question, ranks: 3 };
    const { chosen, candidates } = chooseMesh(asked);
    assert.equal(chosen, undefined);
    assert.deepEqual(
      candidates.map(({ mesh, why }) => [...shown(mesh), why]),
      [
        [3, 1, 1, '1 image for 3 replicas'],
        [1, 1, 3, 'height 1024 is no multiple of 32 x 3 bands'],
      ],
    );
    const odd = chooseMesh({ ...question, ranks: 2, height: 1000 }).candidates.find(({ mesh }) => mesh.cfg === 2);
    assert.equal(odd?.why, 'height 1000 is no multiple of 16, to be decoded by 2 ranks');
    assert.equal(fewerRanks(asked), 2);
    assert.equal(fewerRanks({ ...question, ranks: 1 }), undefined);
  });
});

describe('the estimates of CUDA', () => {
  const imageOf = (asked: Partial<MeshQuestion>, mesh: readonly number[]): number => {
    const { candidates } = chooseMesh({ ...question, ...asked });
    const found = candidates.find((candidate) => String(shown(candidate.mesh)) === String(mesh));
    assert(found?.estimate !== undefined);
    return found.estimate.image;
  };
  it('are the measured ratios where those were measured', () => {
    assert(Math.abs(imageOf({ ranks: 2 }, [1, 2, 1]) - 17.1 / 29.1) < 0.001);
    assert(Math.abs(imageOf({ ranks: 2 }, [1, 1, 2]) - 21.4 / 29.1) < 0.001);
  });
  it('say that larger images gain more from bands', () => {
    const gain = (size: number): number => imageOf({ ranks: 2, height: size, width: size }, [1, 1, 2]);
    assert(gain(2048) < gain(1024) && gain(1024) < gain(512));
    assert(gain(512) > 0.9 && gain(2048) < 0.6);
  });
});

it('whatever is asked: every rank is used, every image fits, the choice is the least, and asked again it is the same', () => {
  const anything = fc.record({
    ranks: fc.integer({ min: 1, max: 64 }),
    images: fc.integer({ min: 1, max: 200 }),
    height: fc.integer({ min: 2, max: 128 }).map((units) => units * 32),
    width: fc.integer({ min: 2, max: 128 }).map((units) => units * 32),
    guided: fc.boolean(),
    displaced: fc.boolean(),
    backend: fc.constantFrom('Onnx' as const, 'Cuda' as const),
  });
  fc.assert(
    fc.property(anything, (asked) => {
      const { chosen, candidates } = chooseMesh(asked);
      assert.deepEqual(chooseMesh(asked), { question: asked, chosen, candidates });
      for (const { mesh, estimate } of candidates) {
        assert.equal(gangSize(mesh), asked.ranks);
        if (estimate === undefined) continue;
        checkSize(asked.height, asked.width, mesh, 4, 8);
        assert(mesh.data <= asked.images && (mesh.cfg === 1 || asked.guided) && (!asked.displaced || mesh.patch > 1));
        assert(estimate.job >= (candidates[0]?.estimate?.job ?? Number.NaN) - 1e-9);
      }
      assert.deepEqual(candidates[0]?.estimate === undefined ? undefined : candidates[0].mesh, chosen);
    }),
  );
});
