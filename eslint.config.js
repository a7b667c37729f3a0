// Type-aware lint. The import rules at the end are the architecture: see docs/architecture.md.
import js from '@eslint/js';
import { createNodeResolver, importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

const ground = ['errors', 'tensor', 'files', 'package-root.ts'];
const communicator = 'collectives/communicator.ts';

/** What each folder of runtime/ may import from runtime/, besides itself. */
const layers = {
  errors: [],
  tensor: ['errors'],
  graph: ground,
  weights: ground,
  tokenizer: ground,
  schedulers: ground,
  image: ground,
  observe: ground,
  storage: ['image', ...ground],
  verify: ['weights', ...ground],
  collectives: ground,
  models: ['graph', ...ground],
  formats: ['models', 'graph', 'weights', ...ground],
  parallel: ['graph', ...ground],
  engine: ['graph', 'weights', communicator, ...ground],
  backends: ['engine', 'graph', 'weights', communicator, ...ground],
  pipeline: ['models', 'formats', 'graph', 'parallel', 'engine', 'schedulers', 'tokenizer', 'image', 'weights', communicator, ...ground],
};
/** What each folder of operator/ may import from operator/, besides itself. */
const operatorLayers = {
  api: [],
  kube: [],
  resources: ['api', 'kube'],
  controller: ['api', 'kube', 'resources'],
};
/** The composition root: may import everything below it. */
const roots = ['launch', 'cli'];

const zones = [
  ...Object.entries(layers).map(([folder, allowed]) => ({
    target: `./runtime/${folder}`,
    from: './runtime',
    except: [folder, ...allowed].map((path) => `./${path}`),
    message: `runtime/${folder} may only import ${allowed.length === 0 ? 'itself' : allowed.join(', ')}.`,
  })),
  ...Object.entries(operatorLayers).map(([folder, allowed]) => ({
    target: `./operator/${folder}`,
    from: './operator',
    except: [folder, ...allowed].map((path) => `./${path}`),
    message: `operator/${folder} may only import ${allowed.length === 0 ? 'itself' : allowed.join(', ')}.`,
  })),
  { target: './operator/kube', from: './crds', message: 'operator/kube knows no jobs.' },
  { target: './runtime/launch', from: './runtime/cli', message: 'Nothing imports cli.' },
  { target: './runtime', from: './operator', message: 'The runtime knows no Kubernetes.' },
  { target: './operator', from: './runtime', message: 'The operator knows no tensors.' },
  { target: ['./crds', './certificates'], from: ['./runtime', './operator'], message: 'The contract knows neither of its sides.' },
  ...Object.keys(layers)
    .filter((folder) => folder !== 'pipeline')
    .map((folder) => ({ target: `./runtime/${folder}`, from: './crds', message: 'Only pipeline, launch and cli know the SdxlJob.' })),
  {
    target: ['./runtime', './operator', './crds', './certificates'],
    from: ['./test', './bench', './scripts'],
    message: 'What ships imports only what ships.',
  },
];

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'models/', 'charts/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: {
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/resolver-next': [createNodeResolver({ extensions: ['.ts', '.js'], extensionAlias: { '.js': ['.ts', '.js'] } })],
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // @kubernetes/client-node declares its models, and winston its transports, as classes that other objects stand for.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // Its advice is the `!` that no-non-null-assertion refuses.
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      // An operation without parameters has the parameter type {} in a table of types.
      '@typescript-eslint/no-generated-empty-object-type': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
      ],
      // An async function that returns without waiting still turns a throw into a rejection, as its interface promises.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'none', ignoreRestSiblings: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/prefer-readonly': 'error',
      eqeqeq: 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: 'Name what you export.' },
        { selector: 'TSEnumDeclaration', message: 'Use a union of literals or a const object.' },
      ],
      'import-x/no-cycle': ['error', { ignoreExternal: true }],
      'import-x/no-self-import': 'error',
      'import-x/no-duplicates': ['error', { 'prefer-inline': true }],
      'import-x/no-extraneous-dependencies': ['error', { devDependencies: ['test/**', 'bench/**', 'scripts/**'] }],
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
      'import-x/order': ['error', { groups: ['builtin', 'external', ['parent', 'sibling', 'index']] }],
    },
  },
  {
    // Exits, signals and the environment belong to the composition root.
    files: ['runtime/**/*.ts', 'operator/**/*.ts', 'crds/**/*.ts', 'certificates/**/*.ts'],
    ignores: [...roots.map((root) => `runtime/${root}/**`), 'operator/main.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'exit', message: 'Throw; only the composition root ends the process.' },
        { object: 'process', property: 'env', message: 'Take it as an argument; the composition root reads the environment.' },
      ],
      'no-console': 'error',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // test() of node:test returns a promise that only its own runner awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              package: 'node:test',
              name: ['test', 'it', 'describe', 'suite', 'before', 'after', 'beforeEach', 'afterEach'],
            },
          ],
        },
      ],
      // The context of node:test is destructured; its methods are bound.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['**/*.js'],
    languageOptions: { globals: { process: 'readonly', console: 'readonly' } },
  },
);
