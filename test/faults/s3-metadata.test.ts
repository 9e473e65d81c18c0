/** F-14: metadata and instruction files that are missing, doubled, mixed, cut, changed or hostile. */
import { GetObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, type S3Keyring, S3RawAesKeyring, sealObject } from '../../src/s3'
import { bytes } from '../support/keys'
import { seeded } from '../support/random'
import { ScriptedS3 } from '../support/scripted-s3'
import { FaultReport, full } from './report'

type Fields = Record<string, string>

const Key = 'object'
const FILE = `${Key}.instruction`
const FLIPS = full ? 40 : 4
const LENGTHS = full ? Array.from({ length: 65 }, (_, i) => i) : [0, 1, 11, 12, 13, 15, 16, 17, 27, 28, 29, 64]
const plaintext = Buffer.from(bytes(100))
const context = { city: 'M\u00fcnchen \u6771\u4eac' }
const raw = new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription: { owner: 'sales' } })
const FORBID = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const

let unwraps = 0
/** Counts what reaches a key. */
const counting = (keyring: S3Keyring): S3Keyring => ({
  wrapDataKey: (request) => keyring.wrapDataKey(request),
  unwrapDataKey: (request) => {
    unwraps++
    return keyring.unwrapDataKey(request)
  },
})
/** Stands in for KMS: the wrapped key is bound to all pairs of the context. */
const kms: S3Keyring = {
  wrapDataKey: async ({ contentAlgorithm, encryptionContext }) => {
    const { dataKey, encryptedDataKey } = await raw.wrapDataKey({ contentAlgorithm, encryptionContext: {} })
    const materialDescription = { ...encryptionContext, 'aws:x-amz-cek-alg': contentAlgorithm }
    const bound = Buffer.from(JSON.stringify(materialDescription))
    return {
      dataKey,
      encryptedDataKey: Buffer.concat([encryptedDataKey, bound]),
      wrapAlgorithm: 'kms+context',
      materialDescription,
    }
  },
  unwrapDataKey: async (request) => {
    if (request.wrapAlgorithm !== 'kms+context') return undefined
    const encryptedDataKey = request.encryptedDataKey.subarray(0, 60)
    const bound = Buffer.from(request.encryptedDataKey.subarray(60)).toString()
    if (bound !== JSON.stringify(request.materialDescription)) {
      throw Object.assign(new Error('InvalidCiphertextException'), { code: 'ERR_AUTHENTICATION_FAILED' })
    }
    return await raw.unwrapDataKey({ ...request, wrapAlgorithm: 'AES/GCM', encryptedDataKey })
  },
}

interface Base {
  readonly version: 1 | 2 | 3
  readonly keyring: S3Keyring
  readonly metadata: Fields
  readonly file: Fields | undefined
  readonly body: Uint8Array
}

/** Codes that must come before anything is asked of a key. */
const BEFORE_KEYS = new Set([
  'ERR_MESSAGE_MALFORMED',
  'ERR_UNSUPPORTED_FORMAT',
  'ERR_COMMITMENT_POLICY',
  'ERR_LEGACY_REFUSED',
  'ERR_ENCRYPTION_CONTEXT',
  'ERR_LIMIT_EXCEEDED',
])
const AFTER_KEYS = new Set(['ERR_AUTHENTICATION_FAILED', 'ERR_NO_DATA_KEY'])

async function main(): Promise<void> {
  const store = new ScriptedS3()
  const report = new FaultReport()
  const cells: string[] = []
  const bases: Record<string, Base> = {}
  for (const [name, version, keyring, instructionFile] of [
    ['v1', 1, raw, false],
    ['v2', 2, raw, false],
    ['v2 kms', 2, kms, false],
    ['v2 file', 2, raw, true],
    ['v3', 3, raw, false],
    ['v3 kms', 3, kms, false],
    ['v3 file', 3, raw, true],
    ['v3 kms file', 3, kms, true],
  ] as const) {
    const sealed = await sealObject(plaintext, keyring, {
      ...(version < 3 && FORBID),
      ...(keyring === kms && { encryptionContext: context }),
      writeVersion1WithoutIntegrity: version === 1,
      instructionFile,
    })
    const file = sealed.instructionFile && (JSON.parse(Buffer.from(sealed.instructionFile).toString()) as Fields)
    bases[name] = { version, keyring, metadata: { ...sealed.metadata }, file, body: sealed.body }
  }
  const clients = new Map(
    [raw, kms].map((keyring) => {
      // No legacy switch is on: nothing may lead to a legacy mode.
      const settings = { keyring: counting(keyring), commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT' } as const
      return [keyring, new S3EncryptionClient(store.config, settings)]
    }),
  )

  let n = 0
  /** Reads a stored object: it must be the plaintext or a typed error, at once, and from the format before any key. */
  async function read(cell: string, { keyring, body }: Base, metadata: Fields, file?: Uint8Array): Promise<void> {
    if (!cells.includes(cell)) cells.push(cell)
    await report.inject(cell, 0, n++, async () => {
      store.objects.clear()
      // It keeps them and their bodies, and the report looks at what memory is in use.
      store.requests.length = 0
      assert.is(store.open, 0, 'bodies that nobody has ended')
      store.objects.set(Key, { metadata, body })
      if (file) store.objects.set(FILE, { metadata: {}, body: file })
      unwraps = 0
      const start = process.cpuUsage()
      const outcome = await outcomeOf(keyring)
      // Of work, not by the clock: the machine may be busy.
      const { user, system } = process.cpuUsage(start)
      assert.ok(user + system < 1_000_000)
      return { outcome, injected: 1, requests: 1 }
    })
  }

  async function outcomeOf(keyring: S3Keyring): Promise<'right' | 'refused'> {
    let given: Uint8Array
    try {
      const EncryptionContext = keyring === kms ? context : {}
      const { Body } = await clients.get(keyring)!.send(new GetObjectCommand({ Bucket: 'b', Key, EncryptionContext }))
      given = await Body!.transformToByteArray()
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== undefined && BEFORE_KEYS.has(code)) assert.is(unwraps, 0, code)
      else if (code === undefined) assert.match((error as Error).name, /AccessDenied|InternalError/)
      else assert.ok(AFTER_KEYS.has(code), `${code}: ${(error as Error).stack}`)
      return 'refused'
    }
    assert.equal(Buffer.from(given), plaintext)
    assert.is(unwraps, 1)
    return 'right'
  }

  /** Every change of the fields, in the metadata or in the file. */
  for (const [name, base] of Object.entries(bases)) {
    const asFile = (fields?: Fields) => fields && Buffer.from(JSON.stringify(fields))
    const add = (place: string, fields: Fields, to: (cell: string, changed: Fields) => Promise<void>) =>
      test(`${name}, ${place}: no change leads to another plaintext, or past a switch`, async () => {
        for (const [kind, changed] of changesOf(fields, bases)) await to(`F-14 ${name} ${place}: ${kind}`, changed)
      })
    if (Object.keys(base.metadata).length > 0)
      add('metadata', base.metadata, (cell, changed) => read(cell, base, changed, asFile(base.file)))
    if (base.file) add('file', base.file, (cell, changed) => read(cell, base, base.metadata, asFile(changed)))
  }

  for (const [name, base] of Object.entries(bases).filter(([, { file }]) => file)) {
    test(`${name}: hostile instruction files are typed errors`, async () => {
      const text = JSON.stringify(base.file)
      const other = JSON.stringify(bases[name === 'v2 file' ? 'v3 file' : 'v2 file']!.file)
      const texts: Record<string, (string | Uint8Array)[]> = {
        empty: ['', ' ', '{}'],
        'no object': ['null', '[]', '"x"', '4', 'true', `[${text}]`, 'x', '<Error/>'],
        nested: [text.replace('{', '{"a":{},'), text.replace('{', '{"a":[1],')],
        prototype: [text.replace('{', '{"__proto__":{"x-amz-3":"x"},'), text.replace('{', '{"__proto__":"x",')],
        twice: [text.replace('{', `{${text.slice(1, text.indexOf(',', 1))},`)],
        long: [text + ' '.repeat(2 * 1024 * 1024), `{"a":"${'x'.repeat(2 * 1024 * 1024)}"}`],
        deep: ['['.repeat(60_000)],
        "another object's": [other],
        'not UTF-8': [Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from([0xff, 0x7d])])],
        cut: Array.from({ length: full ? text.length : 20 }, (_, i) => text.slice(0, full ? i : i * 7)),
      }
      for (const [kind, files] of Object.entries(texts)) {
        for (const file of files) await read(`F-14 ${name}: ${kind}`, base, base.metadata, Buffer.from(file))
      }
    })

    test(`${name}: an instruction file that is missing, forbidden or not to be had is an error`, async () => {
      await read(`F-14 ${name}: 404`, base, base.metadata)
      for (const [status, code] of [
        [403, 'AccessDenied'],
        [500, 'InternalError'],
      ] as const) {
        store.change = (answer, _, { key }) => {
          if (key !== FILE) return
          const body = Buffer.from(`<Error><Code>${code}</Code></Error>`)
          Object.assign(answer, { status, headers: { 'content-type': 'application/xml' }, body })
        }
        await read(`F-14 ${name}: ${status}`, base, base.metadata, Buffer.from(JSON.stringify(base.file)))
        store.reset()
      }
    })
  }

  test('what S3 makes of a context in UTF-8 is undone', async () => {
    for (const name of ['v2 kms', 'v3 kms']) {
      const base = bases[name]!
      const field = 'x-amz-t' in base.metadata ? 'x-amz-t' : 'x-amz-matdesc'
      const text = JSON.stringify(JSON.parse(base.metadata[field]!))
      const twice = Buffer.from(Buffer.from(text).toString('latin1'))
      const words = {
        B: `=?UTF-8?B?${twice.toString('base64')}?=`,
        Q: `=?UTF-8?Q?${[...twice].map((byte) => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')}?=`,
      }
      for (const [encoding, word] of Object.entries(words)) {
        const before = n
        await read(`F-14 ${name}: encoded ${encoding}`, base, { ...base.metadata, [field]: word })
        assert.is(n, before + 1)
        assert.is(unwraps, 1)
      }
    }
  })

  test(`each kind was tried, and none went wrong`, () => {
    report.check(cells)
    assert.ok(n >= (full ? 2000 : 500), `${n} cases`)
  })

  test.after(() => {
    for (const client of clients.values()) client.destroy()
  })
  test.run()
}

/** Changed fields, each with what was done to them. */
function* changesOf(fields: Fields, bases: Record<string, Base>): Generator<[kind: string, changed: Fields]> {
  const random = seeded(1)
  const without = (name: string) => Object.fromEntries(Object.entries(fields).filter(([other]) => other !== name))
  for (const [name, value] of Object.entries(fields)) {
    const set = (changed: string) => ({ ...fields, [name]: changed })
    yield ['missing', without(name)]
    yield ['twice', { ...fields, [name.toUpperCase()]: value }]
    // As HTTP joins two headers of one name.
    yield ['twice', set(`${value}, ${value}`)]
    yield ['case', { ...without(name), [name.toUpperCase()]: value }]
    for (const empty of ['', ' ', 'null', '{}', '0', '__proto__']) yield ['empty', set(empty)]
    for (const spaced of [` ${value}`, `${value} `, `${value}\n`, `${value}\0`]) yield ['spaced', set(spaced)]
    for (const length of [2048, 8192]) yield ['long', set('A'.repeat(length))]
    yield ['long', set(JSON.stringify({ a: 'x'.repeat(8192) }))]
    if (value.startsWith('{')) {
      for (const json of [
        '[]',
        '{',
        '{"a":1}',
        '{"a":{}}',
        '{"a":"b","a":"c"}',
        '{"__proto__":"x"}',
        '{"a":"\\ud800"}',
        '4',
      ])
        yield ['json', set(json)]
    } else {
      for (const base64 of [
        '*',
        `${value}=`,
        `=${value}`,
        value.slice(1),
        value.slice(0, -1),
        `${value}AAAA`,
        `${value.slice(0, -2)}-_`,
      ])
        yield ['base64', set(base64)]
      const decoded = Buffer.from(value, 'base64')
      for (const length of LENGTHS) yield ['length', set(Buffer.alloc(length, decoded).toString('base64'))]
      for (let i = 0; i < FLIPS; i++) {
        const flipped = Buffer.from(decoded)
        const place = Math.floor(random() * flipped.length)
        flipped[place] = flipped[place]! ^ (1 << Math.floor(random() * 8))
        yield ['flipped', set(flipped.toString('base64'))]
      }
    }
    for (const swapped of [
      'AES/CTR/NoPadding',
      'AES/CBC/PKCS5Padding',
      'AES/CBC/PKCS7Padding',
      'AES/GCM/NoPadding',
      'AES/GCM',
      'kms',
      'kms+context',
      'AESWrap',
      'RSA-OAEP-SHA1',
      '115',
      '114',
      '116',
      '02',
      '12',
      '22',
      '2',
      '01',
      '11',
    ])
      yield ['another algorithm', set(swapped)]
    if (name === 'x-amz-tag-len')
      for (let bits = 0; bits <= 256; bits += 4) if (bits !== 128) yield ['tag length', set(String(bits))]
  }
  for (const other of Object.values(bases)) {
    for (const [name, value] of Object.entries({ ...other.metadata, ...other.file })) {
      if (fields[name] !== value) yield ['mixed', { ...fields, [name]: value }]
    }
    yield ['mixed', { ...fields, ...other.metadata, ...other.file }]
  }
  yield ['unencrypted', {}]
  yield ['unencrypted', { title: 'a' }]
}

void main()
