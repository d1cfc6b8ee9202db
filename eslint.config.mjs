import eslint from '@eslint/js'
import tseslint from 'typescript-eslint'

// Each of these has one home; everything else goes through that room.
const homes = {
  koffi: 'shared/syscall',
  pino: 'shared/log',
  yargs: '*/cli and mqnbd.ts',
  'node:net': 'shared/io and shared/aio, and in server/listener for accepting',
  'node:tls': 'shared/io',
  'node:worker_threads': 'shared/iothread and shared/aio'
}
const only = (...allowed) => ({
  'no-restricted-imports': [
    'error',
    {
      paths: Object.entries(homes)
        .filter(([name]) => !allowed.includes(name))
        .map(([name, home]) => ({ name, message: `${name} is imported in ${home} only` }))
    }
  ]
})

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', '.tap/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      ...only(),
      'max-lines': ['error', { max: 600 }],
      // What is thrown away on purpose is marked by a leading underscore.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // `undefined` is excluded by reasoning where the compiler cannot follow; indices mostly.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Drivers fulfil a contract of promises, also where they have nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      // Nor has every coroutine function something to yield for.
      'require-yield': 'off'
    }
  },
  { files: ['shared/syscall/**/*.ts'], rules: only('koffi') },
  { files: ['shared/log/**/*.ts'], rules: only('pino') },
  { files: ['server/cli/**/*.ts', 'client/cli/**/*.ts', 'mqnbd.ts'], rules: only('yargs') },
  { files: ['shared/io/**/*.ts'], rules: only('node:net', 'node:tls') },
  { files: ['server/listener/**/*.ts'], rules: only('node:net') },
  { files: ['shared/iothread/**/*.ts'], rules: only('node:worker_threads') },
  { files: ['shared/aio/**/*.ts'], rules: only('node:net', 'node:worker_threads') },
  { files: ['test/**/*.ts'], rules: { 'no-restricted-imports': 'off' } },
  {
    files: ['**/*.cjs'],
    languageOptions: {
      sourceType: 'commonjs',
      globals: { __dirname: 'readonly', exports: 'readonly', process: 'readonly', require: 'readonly' }
    }
  },
  {
    files: ['**/*.mjs'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        performance: 'readonly'
      }
    }
  }
)
