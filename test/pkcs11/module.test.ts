/** What a module is told, and what is left of its answers: seen from the process that calls it. */
import { createCipheriv, randomBytes } from 'node:crypto'
import * as pkcs11 from 'pkcs11js'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { TokenModule } from '../../src/keyrings/pkcs11-module'
import { aesTemplate, importKeys, PIN, softHsm } from '../support/pkcs11'

const token = softHsm()
if (token) testModule(token)

type Call = (...args: unknown[]) => unknown

/** Shows `note` the arguments and the result of each call of a function. */
function watch(name: string, note: (args: unknown[], result: unknown) => void): void {
  const functions = pkcs11.PKCS11.prototype as unknown as Record<string, Call>
  const call = functions[name]!
  functions[name] = function (this: unknown, ...args: unknown[]) {
    const result = call.apply(this, args)
    note(args, result)
    return result
  }
}

function testModule(kind: NonNullable<typeof token>): void {
  const key = randomBytes(32)
  const dataKey = randomBytes(32)
  let module: TokenModule
  let session: Buffer
  let slot = -1
  const made: pkcs11.Attribute[][] = []
  const unwrapped: pkcs11.Attribute[] = []
  const secrets: Uint8Array[] = []
  let destroyed = 0

  test.before(async () => {
    importKeys(kind, [aesTemplate('known', key, [{ type: pkcs11.CKA_UNWRAP, value: true }])])
    watch('C_GenerateKey', ([, , template]) => made.push(template as pkcs11.Attribute[]))
    watch('C_GenerateKeyPair', ([, , , template]) => made.push(template as pkcs11.Attribute[]))
    watch('C_Decrypt', ([, , out]) => secrets.push(out as Buffer))
    watch('C_GetAttributeValue', (_, result) => {
      for (const { type, value } of result as pkcs11.Attribute[])
        if (type === pkcs11.CKA_VALUE) secrets.push(value as Buffer)
    })
    watch('C_UnwrapKey', ([, , , , template]) => unwrapped.push(...(template as pkcs11.Attribute[])))
    watch('C_DestroyObject', () => destroyed++)
    module = new TokenModule(kind.input.module, undefined)
    slot = module.tokens().tokens.find(({ label }) => label === kind.input.token)!.slot
    session = await module.open(slot, { cap: 2, readWrite: false })
    module.logIn(session, Uint8Array.from(Buffer.from(PIN)))
  })

  test('a key that is made is told to stay in the token, whatever the token would do by itself', () => {
    module.generate(slot, { kind: 'aes', bits: 256, label: 'made', id: '01' })
    module.generate(slot, { kind: 'rsa', bits: 2048, label: 'pair', id: '02' })
    assert.is(made.length, 2)
    for (const template of made) {
      const told = (wanted: number) => template.find(({ type }) => type === wanted)?.value
      const { CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, CKA_EXTRACTABLE } = pkcs11
      assert.equal([CKA_TOKEN, CKA_PRIVATE, CKA_SENSITIVE, CKA_EXTRACTABLE].map(told), [true, true, true, false])
    }
  })

  test('what a data key passed through is wiped, and no object of it stays', async () => {
    const { handle } = module.key(session, { kind: 'aes', label: 'known' })
    const gcm = { slot, handle, mechanism: { name: 'gcm', aadLength: 0 } } as const
    const body = Uint8Array.from([...randomBytes(12), ...dataKey])
    const sealed = await module.crypt(session, { op: 'encrypt', ...gcm }, body)
    const keyWrap = { slot, handle, mechanism: { name: 'key-wrap' } } as const
    const wrapped = createCipheriv('id-aes256-wrap', key, Buffer.alloc(8, 0xa6)).update(dataKey)
    for (const [head, body] of [
      [gcm, sealed],
      [keyWrap, wrapped],
    ] as const) {
      const opened = await module.crypt(session, { op: 'decrypt', ...head }, Uint8Array.from(body))
      assert.ok(dataKey.equals(opened))
      assert.ok(secrets.length > 0 && secrets.splice(0).every((bytes) => bytes.every((byte) => byte === 0)))
    }
    // Of the session, should the process end before it is destroyed.
    assert.is(unwrapped.find(({ type }) => type === pkcs11.CKA_TOKEN)?.value, false)
    assert.is(destroyed, 1)
  })

  test.after(() => module.close())
}

test.run()
