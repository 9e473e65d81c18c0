/** `engines` in package.json is kept: the packed package loads under the oldest version it names, and under each later release
 * line, and the tests of what a version could change pass there. Any of the tests can: `npx -p node@24 node scripts/test.mjs`. */
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { installedProject, ROOT, run, scratchFolder, succeed, writeProject } from './support'

const RELEASES = ['20.19.0', '22.23.3', '24.11.1', '26.10.0']
// OpenSSL, threads, streams, and what Node.js refuses of RSA.
const FILES = [
  'engine/backends',
  'engine/threads',
  'engine/vectors',
  'keyrings/raw-rsa',
  'materials/signature',
  'message/vectors',
  's3/vectors',
  'streams/misuse',
  'streams/web',
]
const PACKAGE = `node-${process.platform}-${process.arch}`
const ROUND_TRIP = `
  const { buildClient, RawAesKeyringNode } = require('sealwax')
  const { backend } = require('sealwax/engine').getEngine().info()
  const keyring = new RawAesKeyringNode({
    keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: new Uint8Array(32).fill(1), wrappingSuite: 0x78,
  })
  const { encrypt, decrypt } = buildClient()
  encrypt(keyring, 'loaded').then(({ result }) => decrypt(keyring, result)).then(({ plaintext }) => console.log(backend, plaintext.toString()))
`
const project = installedProject()

test('the oldest version that `engines` names is among them', () => {
  const { engines } = require(join(ROOT, 'package.json'))
  assert.is(`>=${RELEASES[0]!.replace(/\.0$/, '')}`, engines.node)
})

for (const release of RELEASES) {
  const binary = nodeOf(release)
  if (!binary) {
    console.log(`SKIPPED Node.js ${release}: its package cannot be installed here`)
    continue
  }

  test(`Node.js ${release}: the packed package loads, with its addon`, () => {
    const { stdout, stderr } = run(binary, ['-e', ROUND_TRIP], project)
    assert.is(stderr, '')
    assert.is(stdout, 'native loaded\n')
  })

  for (const file of FILES) {
    test(`Node.js ${release}: test/${file}.test.ts passes`, () => {
      succeed(run(binary, ['--expose-gc', '--import', 'tsx', `test/${file}.test.ts`]))
    })
  }
}

function nodeOf(release: string): string | undefined {
  const folder = scratchFolder()
  try {
    writeProject(folder, { dependencies: { [PACKAGE]: release } })
  } catch {
    return undefined
  }
  return join(folder, 'node_modules', PACKAGE, 'bin/node')
}

test.run()
