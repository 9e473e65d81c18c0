/** Every pair is one message: written by one library, read by the other. */
import { constants, createPublicKey, hkdfSync, privateDecrypt, randomBytes } from 'node:crypto'
import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as sealwax from '../../src/index'
import { bytes, RSA_PRIVATE_PEM, WRAPPING_SUITES } from '../support/keys'

type Library = typeof sealwax | typeof peer
/** The same keyring as either library's. */
type KeyringOf = (library: Library) => sealwax.KeyringNode
type Context = Record<string, string>

const SUITES = Object.values(sealwax.AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')
const FRAME_LENGTHS = [1, 16, 4096, 65536, 1 << 20]
const RSA_PUBLIC_PEM = createPublicKey(RSA_PRIVATE_PEM).export({ format: 'pem', type: 'spki' })

const CONTEXTS: Record<string, Context> = {
  'no context': {},
  'an ASCII context': { purpose: 'test', 'aws:x': '', '': 'empty key' },
  'a mixed-case context': { a: '1', B: '2', c: '3', A: '4', _: '5', '-': '6', b: '7' },
  'a context beyond the BMP': { '\u{1F600}': 'x', '\uFF5E': 'y', 'e\u0301': '\u{10FFFF}', é: 'z', Z: 'ß', ä: 'Ö' },
  'a context of 50 pairs': Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`Key ${i}`, 'v'.repeat(i)])),
}

const KEYRINGS: Record<string, KeyringOf> = {
  ...Object.fromEntries(
    ([16, 24, 32] as const).flatMap((length) =>
      [true, false, undefined].map((sorting) => [
        `raw AES-${length * 8}, utf8Sorting ${sorting}`,
        aes(length, sorting),
      ]),
    ),
  ),
  ...Object.fromEntries(
    (['sha1', 'sha256', 'sha384', 'sha512', undefined] as const).map((hash) => [`raw RSA, OAEP ${hash}`, rsa(hash)]),
  ),
  'multi-keyring': (library) => multi(library, aes(32, true), aes(16, false), rsa('sha256')),
}
const KEYRING_NAMES = Object.keys(KEYRINGS)
const CONTEXT_NAMES = Object.keys(CONTEXTS)

let combination = 0
for (const suiteId of SUITES) {
  for (const frameLength of FRAME_LENGTHS) {
    for (const length of lengthsAround(frameLength)) {
      const keyringName = KEYRING_NAMES[combination % KEYRING_NAMES.length]!
      const contextName = CONTEXT_NAMES[combination % CONTEXT_NAMES.length]!
      combination++
      both(suiteId, frameLength, length, keyringName, contextName)
    }
  }
}
for (const keyringName of KEYRING_NAMES) {
  for (const contextName of CONTEXT_NAMES)
    for (const suiteId of [0x0114, 0x0578]) both(suiteId, 64, 100, keyringName, contextName)
}

test('at least 400 pairs ran in each direction', () => {
  assert.ok(opened.get('client-node')! >= 400, `client-node opened ${opened.get('client-node')}`)
  assert.ok(opened.get('sealwax')! >= 400, `sealwax opened ${opened.get('sealwax')}`)
})

for (const written of [true, false, undefined]) {
  for (const read of [true, false, undefined]) {
    test(`what client-node wrote with utf8Sorting ${written} opens with utf8Sorting ${read}`, async () => {
      for (const encryptionContext of Object.values(CONTEXTS)) {
        const { result } = await client(peer).encrypt(aes(32, written)(peer), Buffer.from('x'), { encryptionContext })
        assert.is((await client(sealwax).decrypt(aes(32, read)(sealwax), result)).plaintext.toString(), 'x')
      }
    })
  }
}

test('keys that localeCompare finds equal open in both, in whatever order they were given', async () => {
  const keys = ['é', 'e\u0301', 'a', 'a\0', '1', '\u00011']
  for (const names of [keys, [...keys].reverse()]) {
    const encryptionContext = Object.fromEntries(names.map((name) => [name, 'v']))
    const { result } = await client(sealwax).encrypt(aes(32, undefined)(sealwax), 'x', { encryptionContext })
    assert.is((await client(sealwax).decrypt(aes(32, undefined)(sealwax), result)).plaintext.toString(), 'x')
  }
  const encryptionContext = { é: 'NFC', 'e\u0301': 'NFD', 'a\0': '', a: '' }
  const { result } = await client(sealwax).encrypt(aes(32, undefined)(sealwax), 'x', { encryptionContext })
  assert.is((await client(peer).decrypt(aes(32, undefined)(peer), result)).plaintext.toString(), 'x')
})

for (const [name, library] of Object.entries({ sealwax, 'client-node': peer })) {
  test(`${name} wraps with RSA PKCS #1 v1.5 padding what the commitment agrees with`, async () => {
    const keyring = rsa(undefined, constants.RSA_PKCS1_PADDING)(library)
    const { messageHeader } = await client(library).encrypt(keyring, Buffer.from('x'))
    const [edk] = messageHeader.encryptedDataKeys
    // Node refuses to remove this padding, for good reasons.
    const padded = privateDecrypt(
      { key: RSA_PRIVATE_PEM, padding: constants.RSA_NO_PADDING },
      Buffer.from(edk!.encryptedDataKey),
    )
    assert.equal([padded[0], padded[1], padded.indexOf(0, 2)], [0, 2, 256 - 33])
    const dataKey = padded.subarray(256 - 32)
    const { messageId, suiteData } = messageHeader as sealwax.MessageHeaderV2
    assert.equal(Buffer.from(suiteData), Buffer.from(hkdfSync('sha512', dataKey, messageId, 'COMMITKEY', 32)))
  })
}

test('both take strings in any encoding, and streams', async () => {
  const keyring = KEYRINGS['multi-keyring']!
  const { result } = await client(peer).encrypt(keyring(peer), '00ff', { encoding: 'hex' })
  const { plaintext } = await client(sealwax).decrypt(keyring(sealwax), result.toString('base64'), {
    encoding: 'base64',
  })
  assert.equal(plaintext, Buffer.of(0x00, 0xff))
  const chunks = (async function* () {
    yield Buffer.from('ab')
    yield 'cd'
  })()
  const streamed = await client(sealwax).encrypt(keyring(sealwax), chunks, { frameLength: 3 })
  assert.is((await client(peer).decrypt(keyring(peer), streamed.result)).plaintext.toString(), 'abcd')
})

const opened = new Map<string, number>()

/** One message each way. */
function both(suiteId: number, frameLength: number, length: number, keyringName: string, contextName: string): void {
  const keyring = KEYRINGS[keyringName]!
  const encryptionContext = CONTEXTS[contextName]!
  const names = `suite ${suiteId.toString(16)}, ${length} bytes in frames of ${frameLength}, ${keyringName}, ${contextName}`
  for (const [from, to, reader] of [
    [sealwax, peer, 'client-node'],
    [peer, sealwax, 'sealwax'],
  ] as [Library, Library, string][]) {
    test(`${reader} opens: ${names}`, async () => {
      const plaintext = randomBytes(length)
      const written = await client(from, suiteId).encrypt(keyring(from), plaintext, {
        suiteId,
        frameLength,
        encryptionContext,
      })
      const read = await client(to, suiteId).decrypt(keyring(to), written.result)
      assert.ok(plaintext.equals(read.plaintext), 'the plaintext is the same')
      assert.equal(headerFields(read.messageHeader), headerFields(written.messageHeader))
      assert.equal(withoutPublicKey(read.messageHeader.encryptionContext), encryptionContext)
      opened.set(reader, (opened.get(reader) ?? 0) + 1)
    })
  }
}

function client(library: Library, suiteId = 0x0578): ReturnType<typeof sealwax.buildClient> {
  const policy = suiteId < 0x0400 ? 'FORBID_ENCRYPT_ALLOW_DECRYPT' : 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT'
  return (library as typeof sealwax).buildClient(policy as sealwax.CommitmentPolicy)
}

/** client-node wants memory of its own, and zeroes it: a fresh copy each time. */
function aes(length: 16 | 24 | 32, utf8Sorting: boolean | undefined): KeyringOf {
  return (library) =>
    new (library as typeof sealwax).RawAesKeyringNode({
      keyNamespace: 'tests',
      keyName: `aes-${length}`,
      unencryptedMasterKey: bytes(length),
      wrappingSuite: WRAPPING_SUITES[length],
      ...(utf8Sorting !== undefined && { utf8Sorting }),
    })
}

function rsa(oaepHash: sealwax.OaepHash, padding: number = constants.RSA_PKCS1_OAEP_PADDING): KeyringOf {
  return (library) =>
    new (library as typeof sealwax).RawRsaKeyringNode({
      keyNamespace: 'tests',
      keyName: 'rsa',
      rsaKey: { publicKey: RSA_PUBLIC_PEM, privateKey: RSA_PRIVATE_PEM },
      padding,
      oaepHash,
    })
}

function multi(library: Library, generator: KeyringOf, ...children: KeyringOf[]): sealwax.KeyringNode {
  return new (library as typeof sealwax).MultiKeyringNode({
    generator: generator(library),
    children: children.map((child) => child(library)),
  })
}

/** 0, 1, and one to either side of a frame; then several frames, though no more than is quick. */
function lengthsAround(frameLength: number): number[] {
  const several = Math.min(3 * frameLength + 7, (1 << 20) + 12345)
  return [...new Set([0, 1, frameLength - 1, frameLength, frameLength + 1, several])]
}

function headerFields(header: sealwax.MessageHeader) {
  const { encryptedDataKeys, messageId, encryptionContext, ...fields } = header
  return {
    ...fields,
    ...(header.version === 2 && { suiteData: Buffer.from(header.suiteData) }),
    messageId: Buffer.from(messageId),
    encryptionContext: { ...encryptionContext },
    encryptedDataKeys: encryptedDataKeys.map(({ providerId, providerInfo, rawInfo, encryptedDataKey }) => [
      providerId,
      Buffer.from(rawInfo ?? providerInfo), // client-node has none when it wrote it
      Buffer.from(encryptedDataKey),
    ]),
  }
}

function withoutPublicKey(context: Readonly<Context>): Context {
  const { 'aws-crypto-public-key': _, ...rest } = context
  return rest
}

test.run()
