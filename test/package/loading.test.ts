/** The packed package loads wherever Node.js programs run, and its addon with it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as sealwax from '../../src/index'
import { installedProject, ROOT, run, scratchFolder, succeed, writeFiles } from './support'

const NAMES = Object.keys(sealwax)
const ROUND_TRIP = `
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: new Uint8Array(32).fill(1), wrappingSuite: 0x78,
  })
  const { encrypt, decrypt } = buildClient()
  encrypt(keyring, 'loaded').then(({ result }) => decrypt(keyring, result)).then(({ plaintext }) => report(plaintext.toString()))
`
const project = installedProject()

test('require', () => {
  const script = `const { buildClient, RawAesKeyringNode } = require('sealwax'); const report = console.log; ${ROUND_TRIP}`
  assert.is(node('-e', script), 'loaded\n')
})

test('where setImmediate is no global, as in jsdom', () => {
  const script = `
    delete globalThis.setImmediate
    const { buildClient, RawAesKeyringNode } = require('sealwax'); const report = console.log; ${ROUND_TRIP}`
  assert.is(node('-e', script), 'loaded\n')
})

test('import, with every name', () => {
  writeFiles(project, {
    'all.mjs': `import { ${NAMES.join(', ')} } from 'sealwax'
      console.log([${NAMES.join(', ')}].filter((value) => value === undefined).length)
      const report = console.log; ${ROUND_TRIP}`,
  })
  assert.is(node('all.mjs'), '0\nloaded\n')
})

test('require and import give the same classes', () => {
  const script = `
    import { createRequire } from 'node:module'
    import * as imported from 'sealwax'
    const required = createRequire(process.cwd() + '/x')('sealwax')
    console.log(Object.keys(required).every((name) => required[name] === imported[name]))`
  assert.is(node('--input-type=module', '-e', script), 'true\n')
})

for (const subpath of ['engine', 's3', 'pkcs11', 'local-kms']) {
  test(`sealwax/${subpath} needs nothing that is optional to load`, () => {
    assert.is(node('-p', `Object.keys(require('sealwax/${subpath}')).length > 0`), 'true\n')
  })
}

test('sealwax/s3 seals objects without the SDK of S3, alone and in a bundle, and its client says what it lacks', () => {
  const script = `
    const { S3EncryptionClient, S3RawAesKeyring, sealObject } = require('sealwax/s3')
    const keyring = new S3RawAesKeyring({ wrappingKey: new Uint8Array(32).fill(1) })
    sealObject(Buffer.from('x'), keyring).then(({ body }) => console.log(body.length))
    try { new S3EncryptionClient({}, { keyring }) } catch ({ code, message }) { console.log(code, message) }`
  const told = 'ERR_FILE clients of S3 need the package @aws-sdk/client-s3: install it beside sealwax\n17\n'
  assert.is(node('-e', script), told)
  writeFiles(project, { 's3.js': script })
  const options = ['s3.js', '--bundle', '--platform=node', '--outfile=s3.cjs', '--log-level=error']
  succeed(run(join(ROOT, 'node_modules/.bin/esbuild'), options, project))
  assert.is(succeed(run(process.execPath, ['s3.cjs'], project)), told)
})

test('only what is meant can be imported', () => {
  const script = "try { require('sealwax/dist/index.js') } catch (error) { console.log(error.code) }"
  assert.is(node('-e', script), 'ERR_PACKAGE_PATH_NOT_EXPORTED\n')
  assert.is(node('-p', "require('sealwax/package.json').name"), 'sealwax\n')
})

test('the addon comes with the package', () => {
  assert.is(node('-p', "require('sealwax/engine').getEngine().info().backend"), 'native\n')
})

test('where the permissions of Node.js keep the addon closed, it falls back, and says so', () => {
  const script = `const { buildClient, RawAesKeyringNode } = require('sealwax'); const report = console.log; ${ROUND_TRIP}`
  writeFiles(project, { 'closed.cjs': script })
  const { allowedNodeEnvironmentFlags: flags } = process
  const permission = flags.has('--permission') ? '--permission' : '--experimental-permission'
  const readable = ['closed.cjs', 'node_modules/sealwax/package.json', 'node_modules/sealwax/dist/*']
  const allowed = readable.map((name) => `--allow-fs-read=${join(project, name)}`)
  const { stdout, stderr } = run(process.execPath, [permission, ...allowed, 'closed.cjs'], project)
  assert.is(stdout, 'loaded\n', stderr)
  assert.match(stderr, /SEALWAX_FALLBACK.*restricted/)
})

test('the command is installed', () => {
  const info = succeed(run(join(project, 'node_modules/.bin/sealwax'), ['info']))
  assert.match(info, /native/)
})

test('no AWS SDK is loaded before it is used', () => {
  const script =
    "require('sealwax'); console.log(Object.keys(require.cache).filter((file) => /@aws-sdk|@smithy/.test(file)).length)"
  assert.is(node('-e', script), '0\n')
})

test('worker threads, several at once', () => {
  writeFiles(project, {
    'worker.js': `
      const { Worker, isMainThread, parentPort } = require('node:worker_threads')
      const { buildClient, RawAesKeyringNode } = require('sealwax')
      const { getEngine } = require('sealwax/engine')
      const report = (text) => isMainThread ? console.log(text) : parentPort.postMessage(text + getEngine().info().backend)
      if (isMainThread) for (let i = 0; i < 3; i++) new Worker(__filename).on('message', report)
      else { ${ROUND_TRIP} }`,
  })
  assert.is(node('worker.js'), 'loadednative\n'.repeat(3))
})

const esbuild = join(ROOT, 'node_modules/.bin/esbuild')
const entry = `import { buildClient, RawAesKeyringNode } from 'sealwax'; const report = console.log; ${ROUND_TRIP}`

for (const format of ['cjs', 'esm']) {
  const name = `bundle.${format === 'cjs' ? 'cjs' : 'mjs'}`

  test(`esbuild, ${format}, the package left outside`, () => {
    bundle(name, `--format=${format}`, '--external:sealwax')
    assert.is(node(name), 'loaded\n')
  })
}

test('esbuild, all in one file: without its addon it falls back, and says so', () => {
  bundle('one.cjs', '--format=cjs', '--external:pkcs11js')
  const { stdout, stderr } = run(process.execPath, ['one.cjs'], project)
  assert.is(stdout, 'loaded\n')
  assert.match(stderr, 'SEALWAX_FALLBACK')
})

test('esbuild, all in one file: no call of require that it cannot follow', () => {
  const options = ['--format=cjs', '--external:pkcs11js', '--external:@aws-sdk/*', '--external:commander']
  bundle('followed.cjs', ...options, '--log-level=warning', '--log-override:unsupported-require-call=error')
})

test('without the addon, one warning is for the process, whatever its workers load', () => {
  const worker = `require(${JSON.stringify(join(project, 'one.cjs'))})`
  const program = `
    const { Worker } = require('node:worker_threads')
    process.once('warning', () => {
      for (let i = 0; i < 3; i++) new Worker(${JSON.stringify(worker)}, { eval: true })
    })
    require('./one.cjs')`
  const { stdout, stderr } = run(process.execPath, ['-e', program], project)
  assert.is(stdout, 'loaded\n'.repeat(4))
  assert.is(stderr.match(/SEALWAX_FALLBACK/g)?.length, 1)
})

test('esbuild, all in one file: it finds its addon beside it', () => {
  const folder = scratchFolder()
  bundle(join(folder, 'dist/app/one.cjs'), '--format=cjs', '--external:pkcs11js')
  const prebuilds = join(project, 'node_modules/sealwax/prebuilds')
  succeed(run('cp', ['-r', prebuilds, folder]))
  assert.is(run(process.execPath, [join(folder, 'dist/app/one.cjs')]).stderr, '')
})

const BANNER =
  "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url), { filename: __filename, dirname: __dirname } = import.meta"

test('esbuild, all in one ES module: with the banner of the page', () => {
  assert.match(readFileSync(join(ROOT, 'docs/migrating.md'), 'utf8'), `--banner:js="${BANNER}"`)
  bundle('one.mjs', '--format=esm', '--external:pkcs11js', `--banner:js=${BANNER}`)
  assert.is(run(process.execPath, ['one.mjs'], project).stdout, 'loaded\n')
})

test('esbuild, all in one ES module that defines require alone: it falls back, and says so', () => {
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)"
  bundle('alone.mjs', '--format=esm', '--external:pkcs11js', `--banner:js=${banner}`)
  const { stdout, stderr } = run(process.execPath, ['alone.mjs'], project)
  assert.is(stdout, 'loaded\n', stderr)
  assert.match(stderr, 'SEALWAX_FALLBACK')
})

test('esbuild, all in one file: no warning, and what PKCS#11 lacks there is told, and not started', () => {
  const program = `
    import child from 'node:child_process'
    import { Pkcs11Token } from 'sealwax/pkcs11'
    child.fork = () => process.exit(1)
    Pkcs11Token.list({ module: '/nowhere/module.so' }).catch(({ code, message }) => console.log(code, message))`
  writeFiles(project, { 'token.mjs': program })
  const options = ['token.mjs', '--bundle', '--platform=node', '--external:pkcs11js', '--outfile=token.cjs']
  const { status, stderr } = run(esbuild, [...options, '--log-override:require-resolve-not-external=error'], project)
  assert.is(status, 0, stderr)
  assert.match(node('token.cjs'), /^ERR_FILE .*pkcs11-host\.cjs". Leave sealwax outside of bundles\n$/)
})

function node(...args: string[]): string {
  const { status, stdout, stderr } = run(process.execPath, args, project)
  assert.is(stderr, '')
  assert.is(status, 0)
  return stdout
}

function bundle(outfile: string, ...args: string[]): void {
  writeFiles(project, { 'entry.mjs': entry })
  const options = ['entry.mjs', '--bundle', '--platform=node', '--log-level=error', `--outfile=${outfile}`, ...args]
  succeed(run(esbuild, options, project))
  assert.ok(existsSync(join(project, outfile)) || existsSync(outfile), readdirSync(project).join())
}

test.run()
