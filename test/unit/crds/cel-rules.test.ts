import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CelRules } from '../../../crds/cel-rules.js';
import type { StructuralSchema, ValidationRule } from '../../../crds/structural-schema.js';

function schemaWith(rule: string, options: Partial<ValidationRule> = {}): StructuralSchema {
  return {
    type: 'object',
    properties: {
      count: { type: 'integer' },
      scale: { type: 'string' },
      name: { type: 'string' },
      on: { type: 'boolean' },
      items: { type: 'array', items: { type: 'integer' } },
      nested: { type: 'object', properties: { count: { type: 'integer' } } },
    },
    'x-kubernetes-validations': [{ rule, message: 'broken', ...options }],
  };
}

const value = { count: 7, scale: '1.5', on: true, items: [1, 2, 3], nested: { count: 7 }, unknown: 1 };

/** CEL as an API server evaluates it; false means that the rule is broken. */
const semantics: readonly (readonly [rule: string, holds: boolean])[] = [
  ['self.count == 7', true],
  ['self.count / 2 == 3', true],
  ['self.count % 4 == 3', true],
  ['-self.count / 2 == -3', true],
  ['-self.count % 4 == -3', true],
  ['self.count == self.nested.count', true],
  ['double(self.scale) > 1.0', true],
  ['double(self.scale) == 1.5', true],
  ['has(self.name)', false],
  ['!has(self.name) || self.name == "x"', true],
  ['has(self.toString)', false],
  ['has(self.unknown)', false],
  ['self.items.all(item, item < 4)', true],
  ['self.items.exists(item, item == 9)', false],
  ['self.items.size() == 3', true],
  ['self.scale.matches("^[0-9.]+$")', true],
  ['self.scale in ["1.5", "2"]', true],
  ['self.on', true],
  ['self.on ? self.count == 7 : self.count == 8', true],
  ['string(self.count) + "x" == "7x"', true],
  ['self.count + 9223372036854775800 > 0', true],
];

for (const [rule, holds] of semantics) {
  test(`${rule} is ${holds}`, () => {
    assert.equal(new CelRules(schemaWith(rule)).violations(value).length, holds ? 0 : 1);
  });
}

for (const rule of ['self.name == "x"', 'self.count / 0 == 1', 'self.count + 9223372036854775807 > 0', 'self.count < self.scale']) {
  test(`an evaluation error breaks the rule: ${rule}`, () => {
    const [violation] = new CelRules(schemaWith(rule)).violations(value);
    assert.match(violation?.message ?? '', /^broken \(the rule could not be evaluated: .+\)$/u);
  });
}

test('a rule that does not parse is a defect, found when the rules are compiled', () => {
  assert.throws(() => new CelRules(schemaWith('self.count ==')));
});

test('transition rules are skipped without an old value', () => {
  const rules = new CelRules(schemaWith('self == oldSelf'));
  assert.deepEqual(rules.violations(value), []);
  assert.deepEqual(rules.violations(value, structuredClone(value)), []);
  assert.equal(rules.violations(value, { ...value, nested: { count: 8 } }).length, 1);
  assert.deepEqual(rules.violations(value, { ...value, unknown: 2 }), [], 'unknown fields are out of sight');
});

test('fieldPath and nesting make the path', () => {
  const inner = schemaWith('self.count > 100', { fieldPath: '.nested.count' });
  const rules = new CelRules({ type: 'object', properties: { list: { type: 'array', items: inner } } });
  const paths = rules.violations({ list: [value, { ...value, count: 101 }, value] }).map(({ path }) => path);
  assert.deepEqual(paths, [
    ['list', 0, 'nested', 'count'],
    ['list', 2, 'nested', 'count'],
  ]);
});

test('messages are made by messageExpression, and by message where that fails', () => {
  const messageOf = (messageExpression: string): string | undefined =>
    new CelRules(schemaWith('self.count > 100', { messageExpression })).violations(value)[0]?.message;
  assert.equal(messageOf("'%d of 100%%'.format([self.count])"), '7 of 100%');
  assert.equal(messageOf("'count ' + string(self.count)"), 'count 7');
  assert.equal(messageOf('self.name'), 'broken');
  assert.equal(messageOf("' '"), 'broken');
  assert.equal(messageOf("'%d'.format([self.scale])"), 'broken');
});
