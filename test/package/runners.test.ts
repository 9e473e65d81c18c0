/** Test runners that replace Node's module loader: both kinds of import, and the addon, work in them. */
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pack, run, scratchFolder, writeFiles, writeProject } from './support'

const BODY = `
  test('round trip', async () => {
    const keyring = new RawAesKeyringNode({
      keyNamespace: 'n', keyName: 'k', unencryptedMasterKey: Buffer.alloc(32, 1), wrappingSuite: 0x78,
    })
    const { encrypt, decrypt } = buildClient()
    const options = { encryptionContext: { a: 'b' }, signal: new AbortController().signal }
    const { result, messageHeader } = await encrypt(keyring, Buffer.from('in a runner'), options)
    const { plaintext } = await decrypt(keyring, new Uint8Array(result))
    expect(plaintext.toString()).toBe('in a runner')
    expect(messageHeader.encryptionContext.a).toBe('b')
    expect(getEngine().info().backend).toBe('native')
    await expect(decrypt(keyring, result.subarray(0, 50))).rejects.toThrow('Incomplete')
  })`
const NAMES = '{ buildClient, RawAesKeyringNode }'
const IMPORTS = `import ${NAMES} from 'sealwax'\nimport { getEngine } from 'sealwax/engine'\n`
const REQUIRES = `const ${NAMES} = require('sealwax')\nconst { getEngine } = require('sealwax/engine')\n`
const tarball = `file:${pack(scratchFolder())}`

runner('jest', '30.5.2', [], { 'requires.test.js': REQUIRES + BODY })
// Its globals are not those of Node.js.
runner(
  'jest',
  '30.5.2',
  ['--env=jsdom'],
  { 'requires.test.js': REQUIRES + BODY },
  { 'jest-environment-jsdom': '30.5.2' },
)
runner('vitest', '3.2.4', ['run'], {
  'imports.test.mjs': `import { expect, test } from 'vitest'\n${IMPORTS}${BODY}`,
})

function runner(
  name: string,
  version: string,
  args: string[],
  files: Record<string, string>,
  more: Record<string, string> = {},
): void {
  test([name, version, ...args].join(' '), () => {
    const folder = scratchFolder()
    try {
      writeProject(folder, { dependencies: { sealwax: tarball, [name]: version, ...more } })
    } catch {
      return console.log(`SKIPPED loading in ${name}: it cannot be installed here`)
    }
    writeFiles(folder, files)
    const { status, stdout, stderr } = run(join(folder, 'node_modules/.bin', name), args, folder)
    assert.is(status, 0, stdout + stderr)
    assert.not.match(stderr, 'SEALWAX_FALLBACK')
  })
}

test.run()
