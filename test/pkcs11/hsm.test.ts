/** `sealwax hsm`, on SoftHSM. */
import type { ChildProcess } from 'node:child_process'
import { chmodSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { programOf } from '../../src/cli/program'
import { atTerminal, folder, path, printed, quotedCommand, read, sealwax, start } from '../cli/cli'
import { rejects } from '../support/expect'
import { hostPids, PIN, softHsm } from '../support/pkcs11'

const pinFile = join(folder, 'pin')
writeFileSync(pinFile, `${PIN}\n`, { mode: 0o600 })

const token = softHsm()
if (token) testCommands(['--module', token.input.module], ['--token', token.input.token])

function testCommands(module: readonly string[], name: readonly string[]): void {
  const withPin = [...module, ...name, '--pin-file', pinFile]

  test('makes keys, lists them, and tests them', async () => {
    const aes = await sealwax('hsm', 'keygen', ...withPin, '--label', 'one')
    assert.equal([aes.code, aes.stdout.toString()], [0, 'aes 256  "one"  id 6f6e65  encrypt, decrypt\n'], aes.stderr)
    const rsa = await sealwax('hsm', 'keygen', ...withPin, '--label', 'two', '--type', 'rsa', '--bits', '2048')
    assert.match(rsa.stdout.toString(), /^rsa-private 2048 {2}"two"/)
    const keys = await sealwax('hsm', 'list', ...withPin)
    assert.is(keys.stdout.toString().split('\n').length, 4, keys.stderr)
    for (const [key, algorithm] of [
      ['one', 'AES-GCM'],
      ['pkcs11:object=one', 'AES-GCM'],
      ['two', 'RSA OAEP, sha1'],
    ] as const) {
      const { stdout, stderr } = await sealwax('hsm', 'test', ...withPin, '--key', key)
      assert.is(stdout.toString(), `ok: a message was written and read with ${algorithm}\n`, stderr)
    }
  })

  test('lists tokens without a PIN', async () => {
    const { code, stdout } = await sealwax('hsm', 'list', ...module)
    assert.is(code, 0)
    assert.match(stdout.toString(), /^"tests" {2}serial [0-9a-f]{16}, slot \d+, SoftHSM project SoftHSM v2$/m)
    assert.match(stdout.toString(), /^ {2}CKM_AES_GCM: encrypt, decrypt$/m)
    const [, serial, slot] = /serial ([0-9a-f]{16}), slot (\d+)/.exec(stdout.toString())!
    const listed = async (...args: string[]) => (await sealwax('hsm', 'list', ...args)).stdout.toString()
    for (const which of ['token=tests', `serial=${serial}`, `slot-id=${slot};model=SoftHSM%20v2`])
      assert.match(await listed('--uri', `pkcs11:${which}?module-path=${module[1]}`), /^"tests" .*\n( .*\n)+$/)
    const refused = async (which: string, ...args: string[]) => {
      const { code, stderr } = await sealwax('hsm', 'list', ...args)
      assert.is(code, 1)
      assert.match(stderr, `no token with ${which}; it has "tests" (serial ${serial}, slot ${slot})`)
    }
    for (const name of ['serial', 'manufacturer', 'model'])
      await refused(`${name} "x"`, '--uri', `pkcs11:${name}=x?module-path=${module[1]}`)
    await refused('slot 999', '--uri', `pkcs11:slot-id=999?module-path=${module[1]}`)
    await refused('label "other"', '--uri', `pkcs11:token=other?module-path=${module[1]}`)
    await refused('label "other"', ...module, '--token', 'other')
  })

  test('lists keys with the PIN of a URI', async () => {
    const uri = `pkcs11:token=tests?module-path=${module[1]}&pin-source=file:${pinFile}`
    const { code, stdout, stderr } = await sealwax('hsm', 'list', '--uri', uri)
    assert.is(code, 0, stderr)
    assert.match(stdout.toString(), /^aes 256 {2}"one"/m)
  })

  test('takes the token as a URI, and the PIN from a file descriptor', async () => {
    const uri = `pkcs11:token=tests?module-path=${module[1]}`
    const stdio = ['ignore', 'pipe', 'pipe', openSync(pinFile, 'r')] as const
    const { done } = start(['hsm', 'test', '--uri', uri, '--pin-fd', '3', '--key', 'one'], { stdio: [...stdio] })
    const { code, stderr } = await done
    assert.is(code, 0, stderr)
  })

  for (const [signal, code, send] of [
    ['SIGINT', 130, (child) => child.stdin!.write('12\x03')],
    ['SIGTERM', 143, () => process.kill(Number(read('pid')), 'SIGTERM')],
  ] as [NodeJS.Signals, number, (child: ChildProcess) => void][]) {
    test(`${signal} at the prompt ends it, and leaves the terminal as it was`, async () => {
      const uri = `pkcs11:token=tests;object=one;type=secret-key?module-path=${module[1]}`
      for (const words of [
        ['encrypt', pinFile, '-o', 'refused', '--wrapping-key', uri],
        ['hsm', 'test', ...module, ...name, '--key', 'one'],
      ]) {
        const line = `${quotedCommand} '${words.join("' '")}'`
        const script = `trap : INT; sh -c 'echo $$ > pid; exec "$@"' sh ${line}; echo "exit code $?"; stty -a`
        writeFileSync(path('at-terminal.sh'), script)
        const { stdout } = await atTerminal('sh at-terminal.sh', 'PIN of', send)
        assert.match(stdout.toString(), new RegExp(`exit code ${code}\\D`))
        assert.match(stdout.toString(), / icanon .* echo /s)
      }
    })
  }

  for (const [args, code, message] of [
    [['list'], 2, /name the PKCS#11 module/],
    [['list', ...module, ...name, '--uri', 'pkcs11:token=other'], 2, /named by --token or --uri/],
    [['test', ...withPin, '--pin-fd', '0', '--key', 'one'], 2, /--pin-file or --pin-fd/],
    [['test', '--uri', 'pkcs11:token=tests?pin-value=needle', '--key', 'one'], 2, /"pin-value" is refused/],
    [['keygen', ...withPin, '--label', 'x', '--bits', '200'], 2, /"bits" must be one of 128, 192, 256/],
    [['test', ...withPin, '--key', 'none'], 1, /no key with label "none" that can decrypt/],
    [['list', '--module', '/nowhere.so'], 1, /"\/nowhere.so" cannot be loaded/],
    [['test', ...module, '--token', 'none', '--pin-file', pinFile, '--key', 'one'], 1, /no token with label "none"/],
  ] as [string[], number, RegExp][]) {
    test(`refuses ${args.join(' ').replace(folder, '')}`, async () => {
      const result = await sealwax('hsm', ...args)
      assert.is(result.code, code, result.stderr)
      assert.match(result.stderr, message)
    })
  }

  test('no process of a token outlives its command, not even one that fails', async () => {
    const program = programOf(new AbortController().signal)
    const args = ['hsm', 'test', ...withPin, '--key', 'none']
    await rejects(program.parseAsync(args, { from: 'user' }), 'ERR_WRAPPING_KEY', /no key with label "none"/)
    assert.equal(hostPids(), [])
  })

  test('a PIN file that others can read is refused', async () => {
    chmodSync(pinFile, 0o644)
    const { code, stderr } = await sealwax('hsm', 'test', ...withPin, '--key', 'one')
    assert.is(code, 1)
    assert.match(stderr, /is open to others: chmod 600 it/)
  })

  test('the PIN was never printed', () => {
    assert.not.match(Buffer.concat(printed).toString(), /needle/)
  })
}

test.run()
