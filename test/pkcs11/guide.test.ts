/** The guide of docs/pkcs11.md, as it stands, on the built package. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(__dirname, '../..')
const [, guide] = /^```sh guide\n([\s\S]*?)^```$/m.exec(readFileSync(join(root, 'docs/pkcs11.md'), 'utf8'))!

if (existsSync('/usr/lib/softhsm/libsofthsm2.so')) {
  test('the SoftHSM guide works from beginning to end', () => {
    mkdirSync(join(root, 'build'), { recursive: true })
    // Inside the package, so that `import 'sealwax'` means this very build.
    const cwd = mkdtempSync(join(root, 'build/guide-'))
    process.on('exit', () => rmSync(cwd, { recursive: true, force: true }))
    const npx = `npx() { shift; node ${join(root, 'dist/cli/main.js')} "$@"; }\n`
    const { status, stdout, stderr } = spawnSync('bash', ['-euc', npx + guide!], { cwd, encoding: 'utf8' })
    assert.is(status, 0, stderr)
    assert.match(stdout, /^ok: a message was written and read with AES-GCM$/m)
    assert.match(stdout, /^ok: a message was written and read with RSA OAEP, sha1$/m)
    assert.match(stdout, /^key-2026 opened: for your eyes only\nrsa-2026 opened: for your eyes only$/m)
  })
} else console.log('SKIPPED the SoftHSM guide: not installed here (apt-get install softhsm2)')

test('the page shows one guide', () => assert.ok(guide))

test.run()
