/**
 * Evaluates the CRD's `x-kubernetes-validations` as the API server does: rules are read from the schema, `self` is the value
 * beside them with integers as CEL ints, transition rules (those with `oldSelf`) are skipped where there is no old value.
 */
import { Environment, type ParseResult } from '@marcbachmann/cel-js';
import { isPlainObject } from './defaults.js';
import { ownProperty, type StructuralSchema, type ValidationRule } from './structural-schema.js';

export interface RuleViolation {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

interface CompiledRule {
  readonly evaluate: ParseResult;
  readonly messageOf: ParseResult | undefined;
  readonly message: string;
  readonly fieldPath: readonly string[];
  readonly isTransition: boolean;
}

/** The rules of one schema, compiled once, and those of its parts. */
export class CelRules {
  readonly #rules: readonly CompiledRule[];
  readonly #properties: ReadonlyMap<string, CelRules>;
  readonly #items: CelRules | undefined;
  readonly #schema: StructuralSchema;

  constructor(schema: StructuralSchema) {
    const environment = new Environment({ homogeneousAggregateLiterals: false })
      .registerVariable('self', 'dyn')
      .registerVariable('oldSelf', 'dyn')
      .registerFunction('string.format(list): string', formatString);
    this.#schema = schema;
    this.#rules = (schema['x-kubernetes-validations'] ?? []).map((rule) => compile(environment, rule));
    this.#properties = new Map(Object.entries(schema.properties ?? {}).map(([key, property]) => [key, new CelRules(property)]));
    this.#items = schema.items === undefined ? undefined : new CelRules(schema.items);
  }

  /** The rules `value` breaks. It must satisfy the schema already. Give `oldValue` when the value replaces another. */
  violations(value: unknown, oldValue?: unknown, path: readonly (string | number)[] = []): RuleViolation[] {
    const own = this.#rules.flatMap((rule) => this.#violation(rule, value, oldValue, path) ?? []);
    if (isPlainObject(value)) {
      const old = isPlainObject(oldValue) ? oldValue : undefined;
      for (const [key, rules] of this.#properties) {
        const child = ownProperty(value, key);
        if (child !== undefined) own.push(...rules.violations(child, ownProperty(old, key), [...path, key]));
      }
    }
    if (Array.isArray(value) && this.#items !== undefined) {
      // Items are not matched with old ones: no rule of this contract compares list items over time.
      for (const [index, item] of value.entries()) own.push(...this.#items.violations(item, undefined, [...path, index]));
    }
    return own;
  }

  #violation(rule: CompiledRule, value: unknown, oldValue: unknown, path: readonly (string | number)[]): RuleViolation | undefined {
    if (rule.isTransition && oldValue === undefined) return undefined;
    const context = { self: toCel(this.#schema, value), ...(rule.isTransition ? { oldSelf: toCel(this.#schema, oldValue) } : {}) };
    const at = [...path, ...rule.fieldPath];
    try {
      if (rule.evaluate(context) === true) return undefined;
    } catch (error) {
      return { path: at, message: `${rule.message} (the rule could not be evaluated: ${firstLine(error)})` };
    }
    return { path: at, message: messageOf(rule, context) };
  }
}

function compile(environment: Environment, rule: ValidationRule): CompiledRule {
  return {
    evaluate: environment.parse(rule.rule),
    messageOf: rule.messageExpression === undefined ? undefined : environment.parse(rule.messageExpression),
    message: rule.message,
    fieldPath: rule.fieldPath?.split('.').slice(1) ?? [],
    isTransition: /\boldSelf\b/u.test(rule.rule),
  };
}

/** `format` of CEL's string extension, as far as messages need it: `%s` with strings, `%d` with ints, `%%`. */
function formatString(template: string, values: readonly unknown[]): string {
  let next = 0;
  return template.replaceAll(/%(.)/gu, (verb, letter: string) => {
    if (letter === '%') return '%';
    const value = values[next++];
    if (letter === 's' && typeof value === 'string') return value;
    if (letter === 'd' && typeof value === 'bigint') return String(value);
    throw new TypeError(`format: ${verb} does not take a ${typeof value}`);
  });
}

/** As the API server: a message expression that fails falls back to the fixed message. */
function messageOf(rule: CompiledRule, context: Record<string, unknown>): string {
  if (rule.messageOf === undefined) return rule.message;
  try {
    const message: unknown = rule.messageOf(context);
    return typeof message === 'string' && message.trim() !== '' ? message : rule.message;
  } catch {
    return rule.message;
  }
}

/** CEL's ints are bigints; which numbers are ints is the schema's to say. Fields the schema does not know are out of sight. */
function toCel(schema: StructuralSchema, value: unknown): unknown {
  if (schema.type === 'integer' && typeof value === 'number') return BigInt(value);
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? [] : value.map((item: unknown) => toCel(items, item));
  }
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, child]) => {
      const childSchema = ownProperty(schema.properties, key) ?? schema.additionalProperties;
      return childSchema === undefined ? [] : [[key, toCel(childSchema, child)]];
    }),
  );
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
}
