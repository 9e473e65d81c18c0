import { once } from 'node:events'
import { inspect } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildAwsKmsMrkAwareDiscoveryMultiKeyring,
  buildAwsKmsMrkAwareStrictMultiKeyring,
  buildClient,
  type KeyringNode,
  KmsKeyring,
  type KmsKeyringNodeInput,
  NodeAlgorithmSuite,
  NodeDecryptionMaterial,
  NodeEncryptionMaterial,
  SealwaxError,
} from '../../src/index'
import { callClient, callService } from '../../src/keyrings/kms-calls'
import { abandon, dataKeyOf } from '../../src/materials/materials'
import { advance } from '../support/clock'
import { rejects } from '../support/expect'
import { aesKeyring } from '../support/keys'
import { type Answer, type Call, FakeKms, keyArn, SECRETS, sdkError } from '../support/kms'

const [A, B, C] = [keyArn('aaaa'), keyArn('bbbb', 'eu-west-1'), keyArn('cccc', 'ap-south-1')] as const
const { encrypt, decrypt } = buildClient()
const SUITE = new NodeAlgorithmSuite(0x0478)

function world(input: Partial<KmsKeyringNodeInput> = {}) {
  const kms = new FakeKms()
  const keyring = new KmsKeyring({ generatorKeyId: A, keyIds: [B, C], clientProvider: kms.clientProvider, ...input })
  return { kms, keyring }
}

async function seal(keyring: KeyringNode): Promise<NodeEncryptionMaterial> {
  return await keyring.onEncrypt(new NodeEncryptionMaterial(SUITE, { purpose: 'test' }))
}

async function open(
  keyring: KeyringNode,
  { encryptedDataKeys }: NodeEncryptionMaterial,
): Promise<NodeDecryptionMaterial> {
  return await keyring.onDecrypt(new NodeDecryptionMaterial(SUITE, { purpose: 'test' }), encryptedDataKeys)
}

/** One Region answers, not at once; all others hang. */
const onlyIn =
  (up: string): FakeKms['intercept'] =>
  ({ region }, answer) =>
    new Promise((resolve) => {
      if (region === up) setTimeout(resolve, 1, answer)
    })
const isWiped = ({ array }: { array: Uint8Array }) => array.every((byte) => byte === 0)
const key = (length: number) => Uint8Array.from({ length }, (_, i) => i + 1)

/** Every way an answer can be wrong, and what is said about it. */
const WRONG_ANSWERS: [why: string, change: (answer: Answer) => unknown, says: RegExp][] = [
  ...[0, 16, 31, 33, 2 ** 20].map((length): [string, (answer: Answer) => unknown, RegExp] => [
    `a plaintext of ${length} bytes`,
    (answer) => ({ ...answer, Plaintext: key(length) }),
    new RegExp(`^Malformed KMS response\\..*Key length does not agree .* got ${length}$`),
  ]),
  ['a plaintext of zeros', (answer) => ({ ...answer, Plaintext: new Uint8Array(32) }), /the data key is all zeros/],
  ['a plaintext as text', (answer) => ({ ...answer, Plaintext: SECRETS.plaintext }), /it holds no Plaintext/],
  ['no plaintext', ({ Plaintext: _, ...answer }) => answer, /it holds no Plaintext/],
  ['another KeyId', (answer) => ({ ...answer, KeyId: B.replace('bbbb', 'eeee') }), /answered for another key/],
  ['an alias as KeyId', (answer) => ({ ...answer, KeyId: 'alias/name' }), /answered for another key/],
  ['a key ID as KeyId', (answer) => ({ ...answer, KeyId: 'aaaa' }), /answered for another key/],
  ['a KeyId that is no text', (answer) => ({ ...answer, KeyId: [A] }), /it holds no KeyId/],
  ['no KeyId', ({ KeyId: _, ...answer }) => answer, /it holds no KeyId/],
  ['inherited fields of another key', (answer) => Object.create({ ...answer, KeyId: C }), /answered for another key/],
  ['nothing', () => undefined, /the client gave no answer/],
  ['null', () => null, /the client gave no answer/],
  ['text', () => '<html></html>', /the client gave no answer/],
]

for (const [why, change, says] of WRONG_ANSWERS) {
  test(`refuses ${why} from GenerateDataKey, and wipes what came`, async () => {
    const { kms, keyring } = world()
    kms.intercept = ({ operation }, answer) => {
      if (operation !== 'generateDataKey') return answer
      return change(answer) as Answer
    }
    await rejects(seal(keyring), 'ERR_KEY_SERVICE', says)
    assert.is(kms.calls.length, 1)
    assert.ok(kms.handedOut.every(isWiped))
  })

  test(`passes over ${why} from Decrypt, and wipes what came`, async () => {
    const { kms, keyring } = world()
    const sealed = await seal(keyring)
    kms.intercept = ({ region }, answer) => {
      return region === 'us-east-1' || region === 'eu-west-1' ? (change(answer) as Answer) : answer
    }
    assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
    assert.ok(kms.handedOut.every(isWiped))
    kms.intercept = (_, answer) => change(answer) as Answer
    const error = await rejects(
      open(new KmsKeyring({ keyIds: [A], clientProvider: kms.clientProvider }), sealed),
      'ERR_NO_DATA_KEY',
    )
    assert.match((error as SealwaxError).errors![0]!.message, says)
    assert.ok(kms.handedOut.every(isWiped))
  })
}

for (const [why, change] of [
  ['no ciphertext', ({ CiphertextBlob: _, ...answer }: Answer) => answer],
  ['an empty ciphertext', (answer: Answer) => ({ ...answer, CiphertextBlob: new Uint8Array(0) })],
  ['a ciphertext as text', (answer: Answer) => ({ ...answer, CiphertextBlob: 'AAAA' })],
] as const) {
  test(`refuses ${why} from GenerateDataKey and from Encrypt`, async () => {
    for (const refused of ['generateDataKey', 'encrypt']) {
      const { kms, keyring } = world()
      kms.intercept = ({ operation }, answer) => (operation === refused ? change(answer) : answer)
      await rejects(seal(keyring), 'ERR_KEY_SERVICE', /it holds no CiphertextBlob/)
      assert.ok(kms.handedOut.every(isWiped))
    }
  })
}

test('refuses another KeyId from Encrypt', async () => {
  const { kms, keyring } = world()
  kms.intercept = ({ operation }, answer) => (operation === 'encrypt' ? { ...answer, KeyId: A } : answer)
  await rejects(seal(keyring), 'ERR_KEY_SERVICE', /was asked for .* and answered for another key/)
})

test('says in the words of client-node that KMS decrypted with another key', async () => {
  const { kms, keyring } = world({ keyIds: [] })
  const sealed = await seal(keyring)
  kms.intercept = (_, answer) => ({ ...answer, KeyId: B })
  await rejects(open(keyring, sealed), 'ERR_NO_DATA_KEY', /KMS Decryption key does not match the requested key id\./)
})

test('every plaintext that passed through a client is wiped afterwards', async () => {
  const { kms, keyring } = world()
  const sealed = await seal(keyring)
  await open(keyring, sealed)
  assert.equal(
    kms.handedOut.map(({ hex }) => hex),
    Array(4).fill(Buffer.from(dataKeyOf(sealed)).toString('hex')),
  )
  assert.ok(kms.handedOut.every(isWiped))
})

test('a client that gives the same bytes twice is found out', async () => {
  const { kms, keyring } = world({ keyIds: [] })
  let first: Answer | undefined
  kms.intercept = (_, answer) => {
    first ??= answer
    return first
  }
  await seal(keyring)
  await rejects(seal(keyring), 'ERR_KEY_SERVICE', /the data key is all zeros/)
})

test('does not retry what the client gave up on', async () => {
  for (const [name, status] of [
    ['ThrottlingException', 400],
    ['KMSInternalException', 500],
    ['AccessDeniedException', 400],
    ['DisabledException', 400],
    ['TimeoutError', undefined],
  ] as const) {
    const { kms, keyring } = world()
    const sealed = await seal(keyring)
    kms.taken()
    kms.intercept = () => {
      throw sdkError(name, status)
    }
    await rejects(seal(keyring), 'ERR_KEY_SERVICE', new RegExp(`KMS generateDataKey with .*aaaa failed: ${name}: `))
    assert.equal(kms.taken(), [`generateDataKey us-east-1 ${A}`])
    await rejects(open(keyring, sealed), 'ERR_NO_DATA_KEY')
    assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`, `decrypt eu-west-1 ${B}`, `decrypt ap-south-1 ${C}`])
  }
})

test('tells name, message, status and request ID of an error, and nothing else of it', async () => {
  const { kms, keyring } = world()
  const sealed = await seal(keyring)
  const messages = [
    `the signature does not match.\nThe canonical request was: x-amz-security-token:${SECRETS.key}`,
    `header is wrong. Authorization=${SECRETS.signature}`,
    `Credential=${SECRETS.key} is not known`,
    `Command failed: print-credentials --secret ${SECRETS.key}`,
  ]
  const local = [`could not use ${SECRETS.key}`, `could not parse "${SECRETS.plaintext}"`, SECRETS.key]
  const errors = [
    ...messages.map((message) => sdkError('InvalidSignatureException', 400, message)),
    ...[...messages, ...local].map((message) => sdkError('CredentialsProviderError', undefined, message)),
    sdkError('SyntaxError', 200, `Unexpected token in JSON: {"Plaintext":"${SECRETS.plaintext}"`),
    sdkError('SyntaxError', 500, `Unexpected token in JSON: {"Plaintext":"${SECRETS.plaintext}"`),
    sdkError(SECRETS.key, 400, 'a name that is none'),
    sdkError('TypeError', 200, `expected a blob, got ${SECRETS.plaintext}`),
    SECRETS.key,
    { message: SECRETS.key },
    undefined,
  ]
  for (const thrown of errors) {
    kms.intercept = () => {
      throw thrown
    }
    for (const call of [() => seal(keyring), () => open(keyring, sealed)]) {
      const error = await call().then(
        () => assert.unreachable(),
        (error: Error) => error,
      )
      const shown = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error)
      for (const secret of Object.values(SECRETS)) assert.not(shown.includes(secret), shown)
      for (const part of ['5d672d79c15b13162d9279b0855cfba6', '$response']) assert.not(shown.includes(part), shown)
    }
  }
  kms.intercept = () => {
    throw sdkError(
      'AccessDeniedException',
      400,
      `User arn:aws:iam::1:role/a-long-role-name-2 may not use ${keyArn('mrk-1234abcd12ab34cd56ef1234567890ab')}`,
    )
  }
  const { cause } = (await rejects(seal(keyring), 'ERR_KEY_SERVICE')) as { cause?: unknown }
  assert.ok(cause instanceof Error)
  assert.is(cause.name, 'AccessDeniedException')
  assert.match(cause.message, /role\/a-long-role-name-2 may not use .*:key\/mrk-1234abcd12ab34cd56ef1234567890ab$/)
  assert.equal(
    { ...cause },
    { name: 'AccessDeniedException', $metadata: { httpStatusCode: 400, requestId: 'request-1' } },
  )
})

test('hides tokens of every shape in errors that KMS did not write, and leaves names of keys and Regions', async () => {
  const { kms, keyring } = world()
  const messageOf = async (message: string) => {
    kms.intercept = () => {
      throw sdkError('CredentialsProviderError', undefined, message)
    }
    return (await rejects(seal(keyring), 'ERR_KEY_SERVICE')).message
  }
  const pieces = [
    'eyJhbGciOiJIUzI1NiJ9',
    'eyJzdWIiOiJhYmNkZWZnIn0',
    'dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U',
    'eyJhbGciOiJSUzI1NiIs-InR5cCI6IkpXVCJ9_abc1DEF2ghi3JKL4mno5',
    'key-wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12',
    '-wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12-',
    SECRETS.plaintext,
    '00112233445566778899aabbccddeeff',
  ]
  for (const text of [...pieces, pieces.slice(0, 3).join('.')]) {
    const shown = await messageOf(`token=${text} or "${text}"`)
    for (const piece of pieces) assert.not(shown.includes(piece), shown)
    assert.match(shown, /: token=….* or ".*….*"$/)
  }
  for (const text of [
    keyArn('1234abcd-12ab-34cd-56ef-1234567890ab', 'ap-southeast-2'),
    keyArn('mrk-1234abcd12ab34cd56ef1234567890ab', 'us-gov-west-1'),
    '1234abcd-12ab-34cd-56ef-1234567890ab',
    '1234ABCD-12AB-34CD-56EF-1234567890AB',
    'mrk-1234abcd12ab34cd56ef1234567890ab',
    'getaddrinfo ENOTFOUND kms.ap-southeast-2.amazonaws.com',
    'connect ECONNREFUSED 127.0.0.1:4566',
  ]) {
    assert.ok((await messageOf(`of ${text}`)).endsWith(`: of ${text}`))
  }
})

test('an error that cannot be read fails the call all the same', async () => {
  const { kms, keyring } = world()
  const unreadable = Object.defineProperty({}, 'message', {
    get: () => {
      throw new Error(SECRETS.key)
    },
  })
  for (const thrown of [
    unreadable,
    { message: Object.create(null) },
    { name: { toString: 1 }, message: Object.create(null) },
  ]) {
    kms.intercept = () => {
      throw thrown
    }
    await rejects(seal(keyring), 'ERR_KEY_SERVICE', /failed: Error: the error of the client could not be read$/)
  }
})

test('a call that hangs ends at the deadline, and is aborted', async () => {
  const { kms, keyring } = world({ timeout: 20 })
  const signals: (AbortSignal | undefined)[] = []
  kms.intercept = ({ signal }) => {
    signals.push(signal)
    return new Promise(() => {})
  }
  await rejects(seal(keyring), 'ERR_KEY_SERVICE', /KMS generateDataKey with .*aaaa gave no answer within \d+ ms/)
  assert.equal(
    signals.map((signal) => signal?.aborted),
    [true],
  )
})

test('a data key on its way to a client that never answers is wiped at the deadline, and where the message is given up', async () => {
  for (const timeout of [200, undefined]) {
    const { kms, keyring } = world({ timeout })
    const giveUp = new AbortController()
    kms.intercept = ({ operation }, answer) => {
      if (operation !== 'encrypt') return answer
      if (timeout === undefined) setImmediate(() => giveUp.abort())
      return new Promise(() => {})
    }
    await rejects(encrypt(keyring, 'text', { signal: giveUp.signal }), SealwaxError)
    await new Promise(setImmediate)
    assert.is(kms.handedOut.length, 3)
    assert.ok(kms.handedOut.every(isWiped))
  }
})

test('an answer after the deadline is not used, and its plaintext wiped', async () => {
  const { kms, keyring } = world({ timeout: 20 })
  const patient = new KmsKeyring({ generatorKeyId: A, clientProvider: kms.clientProvider })
  const sealed = await seal(patient)
  for (const call of [() => seal(keyring), () => open(keyring, sealed)]) {
    let answerNow = () => {}
    let late: Answer = {}
    kms.intercept = (_, answer) => {
      late = answer
      return new Promise((resolve) => (answerNow = () => resolve(answer)))
    }
    await rejects(call(), SealwaxError, /no answer within \d+ ms/)
    const array = late.Plaintext as Uint8Array
    assert.not(isWiped({ array }))
    answerNow()
    await new Promise(setImmediate)
    assert.ok(isWiped({ array }))
  }
})

test('an error after the deadline disturbs nobody', async () => {
  const { kms, keyring } = world({ timeout: 20 })
  let failNow = () => {}
  kms.intercept = () => new Promise((_, reject) => (failNow = () => reject(new Error('late'))))
  await rejects(seal(keyring), 'ERR_KEY_SERVICE', /no answer/)
  failNow()
  await new Promise(setImmediate)
})

test('a key that hangs leaves time for the next ones', async () => {
  const { kms, keyring } = world({ timeout: 1500 })
  const sealed = await seal(keyring)
  kms.intercept = onlyIn('ap-south-1')
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
})

test('a Region that hangs leaves time for the next ones', async () => {
  const kms = new FakeKms()
  const id = 'mrk-1234abcd12ab34cd56ef1234567890ab'
  const { clientProvider } = kms
  const sealed = await seal(buildAwsKmsMrkAwareStrictMultiKeyring({ generatorKeyId: keyArn(id), clientProvider }))
  kms.intercept = onlyIn('us-east-1')
  const regions = ['eu-west-1', 'ap-south-1', 'us-east-1']
  const keyring = buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions, clientProvider, timeout: 1500 })
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
})

const MANY = Array.from({ length: 40 }, (_, i) => keyArn(`mrk-${i}`))
/** All others fail at once; this one needs more than its share of the 20 seconds of the test, but not more than these. */
const slowly =
  (arn: string): FakeKms['intercept'] =>
  ({ input }, answer) =>
    new Promise((resolve, reject) => {
      if (input.KeyId === arn) setTimeout(resolve, 700, answer)
      else reject(sdkError('AccessDeniedException', 400))
    })

test('a slow key has all the time that is left, however many others there are', async () => {
  const kms = new FakeKms()
  const { clientProvider } = kms
  const sealed = await seal(new KmsKeyring({ generatorKeyId: MANY[0], keyIds: MANY.slice(1), clientProvider }))
  for (const arn of [MANY[0]!, MANY[39]!]) {
    kms.intercept = slowly(arn)
    for (const keyring of [
      new KmsKeyring({ discovery: true, clientProvider, timeout: 20_000 }),
      new KmsKeyring({ keyIds: MANY, clientProvider, timeout: 20_000 }),
      buildAwsKmsMrkAwareStrictMultiKeyring({ keyIds: MANY, clientProvider, timeout: 20_000 }),
    ]) {
      assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
    }
  }
})

test('a slow Region has all the time that is left, to encrypt and to decrypt', async () => {
  const kms = new FakeKms()
  const { clientProvider } = kms
  kms.intercept = ({ input }, answer) =>
    input.KeyId === MANY[20] ? new Promise((resolve) => setTimeout(resolve, 700, answer)) : answer
  const writer = buildAwsKmsMrkAwareStrictMultiKeyring({
    generatorKeyId: MANY[0],
    keyIds: MANY.slice(1),
    clientProvider,
    timeout: 20_000,
  })
  const sealed = await seal(writer)
  kms.intercept = slowly(MANY[20]!)
  const regions = ['us-east-1', ...Array.from({ length: 39 }, (_, i) => `eu-west-${i}`)]
  const keyring = buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions, clientProvider, timeout: 20_000 })
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
})

test('the time of a multi-keyring is for all of its keys together, and anew for each attempt at a message', async () => {
  const kms = new FakeKms()
  const { clientProvider } = kms
  const [first, second] = [keyArn('mrk-a'), keyArn('mrk-b')]
  const keyring = buildAwsKmsMrkAwareStrictMultiKeyring({
    generatorKeyId: first,
    keyIds: [second],
    clientProvider,
    timeout: 10_000,
  })
  const sealed = await seal(keyring)
  const timePasses = (call: Call) => void (call.input.KeyId === first && advance(10_001))
  kms.intercept = (call, answer) => {
    timePasses(call)
    return answer
  }
  await rejects(seal(keyring), 'ERR_KEY_SERVICE', /KMS encrypt with .*mrk-b was not made: no time was left/)
  kms.intercept = (call, answer) => {
    timePasses(call)
    if (call.input.KeyId === first) throw sdkError('AccessDeniedException', 400)
    return answer
  }
  const material = new NodeDecryptionMaterial(SUITE, { purpose: 'test' })
  await rejects(keyring.onDecrypt(material, sealed.encryptedDataKeys), 'ERR_NO_DATA_KEY', /mrk-b was not made/)
  kms.intercept = (_, answer) => answer
  await keyring.onDecrypt(material, sealed.encryptedDataKeys)
  assert.equal(dataKeyOf(material), dataKeyOf(sealed))
})

test('a key that hangs does not hold up the next one, and its call ends when that has opened', async () => {
  const { kms, keyring } = world()
  const sealed = await seal(keyring)
  const signals: (AbortSignal | undefined)[] = []
  kms.intercept = ({ region, signal }, answer) => {
    signals.push(signal)
    return region === 'eu-west-1' ? answer : new Promise(() => {})
  }
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
  assert.equal(
    signals.map((signal) => signal?.aborted),
    [true, false],
    'nor is the call aborted that opened it',
  )
})

test('a Region that hangs does not hold up the next one either', async () => {
  const kms = new FakeKms()
  const id = 'mrk-1234abcd12ab34cd56ef1234567890ab'
  const { clientProvider } = kms
  const sealed = await seal(buildAwsKmsMrkAwareStrictMultiKeyring({ generatorKeyId: keyArn(id), clientProvider }))
  const hanging: (AbortSignal | undefined)[] = []
  kms.intercept = ({ region, signal }, answer) => {
    if (region === 'us-east-1') return answer
    hanging.push(signal)
    return new Promise(() => {})
  }
  const keyring = buildAwsKmsMrkAwareDiscoveryMultiKeyring({ regions: ['eu-west-1', 'us-east-1'], clientProvider })
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
  assert.equal(
    hanging.map((signal) => signal?.aborted),
    [true],
  )
})

test('once a message is given up, the call that hangs ends, and no other key is asked', async () => {
  const { kms, keyring } = world()
  const { encryptedDataKeys } = await seal(keyring)
  kms.taken()
  const material = new NodeDecryptionMaterial(SUITE, { purpose: 'test' })
  kms.intercept = () => {
    setImmediate(abandon, material)
    return new Promise(() => {})
  }
  await rejects(keyring.onDecrypt(material, encryptedDataKeys), 'ERR_NO_DATA_KEY', /is not needed any more/)
  assert.equal(kms.taken(), [`decrypt us-east-1 ${A}`])
})

test('two keys that answer together: one is used, and both plaintexts are wiped', async () => {
  const { kms, keyring } = world()
  const sealed = await seal(keyring)
  let first: () => void = () => {}
  kms.intercept = async ({ region }, answer) => {
    if (region === 'us-east-1') await new Promise<void>((resolve) => (first = resolve))
    else first()
    return answer
  }
  assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
  await new Promise(setImmediate)
  assert.ok(kms.handedOut.every(isWiped))
})

test('no number of keys, or of messages with one signal, is called a leak', async () => {
  const warnings: Error[] = []
  const warn = (warning: Error) => void warnings.push(warning)
  process.on('warning', warn)
  const { kms, keyring } = world({ keyIds: MANY })
  kms.intercept = (_, answer) => new Promise((resolve) => setImmediate(resolve, answer))
  const { signal } = new AbortController()
  const sealed = await Promise.all(MANY.map(() => encrypt(keyring, 'text', { signal })))
  await Promise.all(sealed.map(({ result }) => decrypt(keyring, result, { signal })))
  await new Promise(setImmediate)
  process.off('warning', warn)
  assert.equal(warnings, [])
})

test('no timer outlives its call', async () => {
  const { kms, keyring } = world()
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  await open(keyring, await seal(keyring))
  kms.intercept = () => {
    throw new Error('down')
  }
  await rejects(seal(keyring), 'ERR_KEY_SERVICE')
  assert.is(timers(), before)
})

test('a call that cannot even begin fails like others, and leaves no timer', async () => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const sending = () => {
    throw new Error('at once')
  }
  await rejects(callService('the call', sending), 'ERR_KEY_SERVICE', /^the call failed: Error: at once$/)
  assert.is(timers(), before)
})

test('where a call has ended, no credentials are got anew for it', async () => {
  let asked = 0
  const client = { config: { credentials: async () => void asked++ } }
  const sending = async (_: object, { abortSignal }: { abortSignal: AbortSignal }) => {
    await once(abortSignal, 'abort')
    throw sdkError('ExpiredTokenException', 400)
  }
  await rejects(
    callClient('the call', () => client, sending, 5),
    'ERR_KEY_SERVICE',
    /no answer within 5 ms/,
  )
  await new Promise(setImmediate)
  assert.is(asked, 0)
})

test('a client that throws instead of rejecting is one that failed', async () => {
  const { kms, keyring } = world({ keyIds: [] })
  const sealed = await seal(keyring)
  const decrypt = () => {
    throw new Error('at once')
  }
  const broken = new KmsKeyring({
    discovery: true,
    clientProvider: (region) => ({ ...kms.clientProvider(region), decrypt }),
  })
  await rejects(open(broken, sealed), 'ERR_NO_DATA_KEY', /Error #1: .*Error: at once/)
})

test('a client provider that throws is a key that failed', async () => {
  const { kms, keyring } = world()
  const sealed = await seal(keyring)
  const clientProvider = (region: string) => {
    if (region === 'us-east-1') throw new Error('no credentials')
    return kms.clientProvider(region)
  }
  assert.ok((await open(new KmsKeyring({ discovery: true, clientProvider }), sealed)).hasValidKey())
})

test('one, two or all of three Regions down: opens while one is up, seals only when all are', async () => {
  const regions = ['us-east-1', 'eu-west-1', 'ap-south-1']
  for (let bits = 0; bits < 8; bits++) {
    const { kms, keyring } = world()
    const sealed = await seal(keyring)
    kms.taken()
    const down = regions.filter((_, i) => bits & (1 << i))
    kms.intercept = ({ region }: Call, answer) => {
      if (down.includes(region)) throw sdkError('TimeoutError', undefined)
      return answer
    }
    if (down.length < 3) {
      assert.equal(dataKeyOf(await open(keyring, sealed)), dataKeyOf(sealed))
      assert.is(kms.taken().length, regions.findIndex((region) => !down.includes(region)) + 1)
    } else {
      const error = await rejects(open(keyring, sealed), 'ERR_NO_DATA_KEY')
      assert.is((error as SealwaxError).errors?.length, 3)
    }
    if (down.length === 0) assert.is((await seal(keyring)).encryptedDataKeys.length, 3)
    else await rejects(seal(keyring), 'ERR_KEY_SERVICE')
  }
})

test('no failed encryption leaves fewer encrypted data keys than configured in use', async () => {
  const { kms, keyring } = world()
  const material = new NodeEncryptionMaterial(SUITE, {})
  await aesKeyring().onEncrypt(material)
  kms.intercept = ({ region }, answer) => (region === 'ap-south-1' ? { KeyId: C } : answer)
  await rejects(keyring.onEncrypt(material), 'ERR_KEY_SERVICE')
  assert.is(material.encryptedDataKeys.length, 1)
  kms.intercept = (_, answer) => answer
  await keyring.onEncrypt(material)
  assert.is(material.encryptedDataKeys.length, 4)
})

test.run()
