/** The declarations: what compiles with `@aws-crypto/client-node` compiles with this package in its place. */
import { copyFileSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { installedProject, ROOT, run, scratchFolder, writeFiles, writeProject } from './support'

const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
const STRICTEST = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  // The declarations themselves are checked too.
  skipLibCheck: false,
  isolatedModules: true,
}
const SUBPATHS = ['sealwax', ...['engine', 's3', 'pkcs11', 'local-kms'].map((name) => `sealwax/${name}`)]
const project = installedProject()
copyFileSync(join(__dirname, 'peer-types.ts'), join(project, 'peer-types.ts'))
// Whoever imports sealwax/s3 has it; types come from where it really lies.
symlinkSync(join(ROOT, 'node_modules/@aws-sdk/client-s3'), join(project, 'node_modules/@aws-sdk/client-s3'))
const everything = SUBPATHS.map((name, index) => `import * as m${index} from '${name}'\nexport { m${index} }\n`).join(
  '',
)
writeFiles(project, { 'subpaths.ts': everything, 'subpaths.mts': everything })

test('client-node itself takes the program', () => {
  const folder = scratchFolder()
  const paths = { '@aws-crypto/client-node': [join(ROOT, 'node_modules/@aws-crypto/client-node')] }
  copyFileSync(join(__dirname, 'peer-types.ts'), join(folder, 'peer-types.ts'))
  // Its declarations do not stand exactOptionalPropertyTypes.
  compiles(folder, { module: 'node16', strict: true, skipLibCheck: true, paths }, ['peer-types.ts'])
})

for (const module of ['node16', 'node18', 'node20', 'nodenext']) {
  test(`module ${module}`, () => {
    compiles(project, { ...STRICTEST, module }, ['peer-types.ts', 'subpaths.ts', 'subpaths.mts'])
  })
}

test('moduleResolution bundler', () => {
  const options = { ...STRICTEST, module: 'esnext', moduleResolution: 'bundler' }
  compiles(project, options, ['peer-types.ts', 'subpaths.ts'])
})

test("Node's types come along where a program names none", () => {
  const program = `
    import { buildClient, KmsKeyringNode } from '@aws-crypto/client-node'
    const { encrypt, decrypt } = buildClient()
    const keyring = new KmsKeyringNode({ generatorKeyId: process.env.KEY ?? '' })
    export const seal = async (text: string): Promise<string> => (await encrypt(keyring, text)).result.toString('base64')
    export const open = async (text: string): Promise<Buffer> =>
      (await decrypt(keyring, Buffer.from(text, 'base64'))).plaintext`
  const alone = (name: string) => `import * as m from '${name}'\nexport const bytes = (b: Buffer) => [b.toString(), m]`
  const none = { ...STRICTEST, module: 'nodenext', types: [], typeRoots: undefined }
  writeFiles(project, { 'untyped.ts': program })
  compiles(project, none, ['untyped.ts'])
  for (const name of SUBPATHS) {
    writeFiles(project, { 'alone.ts': alone(name) })
    compiles(project, none, ['alone.ts'])
  }
})

test('TypeScript 5.9, moduleResolution node10', () => {
  const folder = scratchFolder()
  try {
    writeProject(folder, { dependencies: { typescript: '5.9.3' } })
  } catch {
    return console.log('SKIPPED TypeScript 5.9: it cannot be installed here')
  }
  const options = { ...STRICTEST, skipLibCheck: true, module: 'commonjs', moduleResolution: 'node10' }
  compiles(project, options, ['peer-types.ts', 'subpaths.ts'], join(folder, 'node_modules/typescript/bin/tsc'))
})

test('no declaration asks for a package that is not installed with this one', () => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const allowed = new Set(Object.keys({ ...dependencies, ...peerDependencies }))
  const files = run('find', [join(project, 'node_modules/sealwax/dist'), '-name', '*.d.ts'])
    .stdout.trim()
    .split('\n')
  for (const file of files) {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/(?:from |import\()'([^.'][^']*)'/g)) {
      assert.ok(name!.startsWith('node:') || allowed.has(name!), `${file} needs ${name}`)
    }
  }
})

function compiles(folder: string, compilerOptions: object, files: string[], tsc = TSC): void {
  const types = { types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')], target: 'es2023', noEmit: true }
  writeFiles(folder, { 'tsconfig.json': JSON.stringify({ compilerOptions: { ...types, ...compilerOptions }, files }) })
  const { status, stdout } = run(process.execPath, [tsc, '-p', folder])
  assert.is(stdout, '')
  assert.is(status, 0)
}

test.run()
