import crypto, {
  createCipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  publicEncrypt,
} from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine } from '../../src/engine/engine'
import {
  needsInstructionFile,
  openObject,
  type S3Keyring,
  S3KmsKeyring,
  S3MultiKeyring,
  S3RawAesKeyring,
  S3RawRsaKeyring,
  type S3WrappedDataKey,
  sealObject,
} from '../../src/s3'
import { rejectionOf, rejects, throws } from '../support/expect'
import { givenBy, secretsMadeBy } from '../support/given-by'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'
import { FakeKms } from '../support/kms'

const aes = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const rsaKey = { publicKey: createPublicKey(RSA_PRIVATE_PEM), privateKey: RSA_PRIVATE_PEM }
const rsa = new S3RawRsaKeyring({ rsaKey })
const KEY_ARN = 'arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555'
const WRITE_V2 = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const

test('every object has its own key, message ID and wrapped key', async () => {
  const seen = new Set<string>()
  for (let i = 0; i < 50; i++) {
    for (const keyring of [aes, rsa]) {
      const { metadata, body } = await sealObject(new Uint8Array(32), keyring)
      for (const text of [metadata['x-amz-3']!, metadata['x-amz-i']!, metadata['x-amz-d']!]) seen.add(text)
      seen.add(Buffer.from(body).toString('hex'))
    }
  }
  assert.is(seen.size, 50 * 2 * 4)
})

test('one bit changed anywhere in the body or the commitment is refused', async () => {
  const { metadata, body } = await sealObject(bytes(20), aes)
  for (let bit = 0; bit < body.length * 8; bit++) {
    const changed = body.with(bit >> 3, body[bit >> 3]! ^ (1 << (bit & 7)))
    await rejects(openObject({ metadata, body: changed }, aes), 'ERR_AUTHENTICATION_FAILED')
  }
  for (const name of ['x-amz-3', 'x-amz-d', 'x-amz-i']) {
    const field = Buffer.from(metadata[name]!, 'base64')
    for (let bit = 0; bit < field.length * 8; bit++) {
      const changed = Buffer.from(field.with(bit >> 3, field[bit >> 3]! ^ (1 << (bit & 7)))).toString('base64')
      const object = { metadata: { ...metadata, [name]: changed }, body }
      await rejects(openObject(object, aes), 'ERR_AUTHENTICATION_FAILED')
    }
  }
})

test('the caller keeps its bytes as they were', async () => {
  const plaintext = bytes(100)
  const wrappingKey = bytes(32)
  const keyring = new S3RawAesKeyring({ wrappingKey })
  const { metadata, body } = await sealObject(plaintext, keyring)
  const copy = Uint8Array.from(body)
  const opened = await openObject({ metadata, body }, keyring)
  assert.equal([plaintext, wrappingKey], [bytes(100), bytes(32)])
  assert.ok(copy.every((byte, i) => byte === body[i]))
  assert.equal(opened.plaintext, Buffer.from(plaintext))
  assert.is.not(opened.plaintext.buffer, body.buffer)
})

test('shared memory is copied at the door', async () => {
  const shared = new Uint8Array(new SharedArrayBuffer(100))
  shared.set(bytes(100))
  for (const options of [{}, { ...WRITE_V2, writeVersion1WithoutIntegrity: true }]) {
    const { metadata, body } = await sealObject(shared, aes, options)
    const sharedBody = new Uint8Array(new SharedArrayBuffer(body.length))
    sharedBody.set(body)
    const legacy = { ...WRITE_V2, enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
    const { plaintext } = await openObject({ metadata, body: sharedBody }, aes, legacy)
    assert.equal(plaintext, Buffer.from(bytes(100)))
  }
})

test('data keys are wiped, and a failure wipes them too', async () => {
  const handedOut: Uint8Array[] = []
  const spy: S3Keyring = {
    wrapDataKey: async (request) => {
      const wrapped = await aes.wrapDataKey(request)
      handedOut.push(wrapped.dataKey)
      return wrapped
    },
    unwrapDataKey: async (request) => {
      const dataKey = await aes.unwrapDataKey(request)
      handedOut.push(dataKey!)
      return dataKey
    },
  }
  for (const options of [{}, WRITE_V2]) {
    const { metadata, body } = await sealObject(bytes(10), spy, options)
    await openObject({ metadata, body }, spy, WRITE_V2)
    await rejects(openObject({ metadata, body: body.subarray(1) }, spy, WRITE_V2), 'ERR_AUTHENTICATION_FAILED')
  }
  assert.is(handedOut.length, 6)
  for (const dataKey of handedOut) assert.ok(dataKey.every((byte) => byte === 0))
})

test('nor does what RSA is given of a data key stay', async () => {
  const request = { contentAlgorithm: '115', encryptionContext: {} } as const
  const made = await givenBy([[Buffer, 'concat']], () => rsa.wrapDataKey(request))
  assert.equal(made, [Buffer.alloc(1 + 32 + 3)])
})

test('nor does what RSA makes of a wrapped one, its substitute, or the private key that this is made of', async () => {
  const fields = { encryptionContext: {}, materialDescription: {} }
  const v3 = await rsa.wrapDataKey({ ...fields, contentAlgorithm: '115' })
  const v1 = await rsa.wrapDataKey({ ...fields, contentAlgorithm: 'AES/CBC/PKCS5Padding' })
  const exporting = Object.getPrototypeOf(createPrivateKey(RSA_PRIVATE_PEM))
  const functions = [
    [crypto, 'privateDecrypt'] as const,
    [exporting, 'export'] as const,
    [crypto.Hmac.prototype, 'digest'] as const,
  ]
  const made = await givenBy(functions, async () => {
    await rsa.unwrapDataKey({ ...v3, contentAlgorithm: '115' })
    await rsa.unwrapDataKey({ ...v1, contentAlgorithm: 'AES/CBC/PKCS5Padding' })
    const wrapAlgorithm = 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'
    await rejects(rsa.unwrapDataKey({ ...v1, contentAlgorithm: '115', wrapAlgorithm }), 'ERR_AUTHENTICATION_FAILED')
  })
  assert.is(made.length, 5)
  for (const bytes of made) assert.ok(bytes.every((byte) => byte === 0))
})

test('a wrapped key is as long as the RSA key, though its first byte be zero', async () => {
  const request = { contentAlgorithm: '115', encryptionContext: {} } as const
  let wrapped = await rsa.wrapDataKey(request)
  while (wrapped.encryptedDataKey[0] !== 0) wrapped = await rsa.wrapDataKey(request)
  const { dataKey, ...rest } = wrapped
  assert.equal(await rsa.unwrapDataKey({ ...request, ...rest }), dataKey)
  const encryptedDataKey = wrapped.encryptedDataKey.subarray(1)
  await rejects(rsa.unwrapDataKey({ ...request, ...rest, encryptedDataKey }), 'ERR_AUTHENTICATION_FAILED')
})

test('nothing is asked of a keyring before policy, switches and context have passed', async () => {
  const never: S3Keyring = {
    wrapDataKey: () => assert.unreachable() as never,
    unwrapDataKey: () => assert.unreachable() as never,
  }
  const kms = new FakeKms()
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: kms.clientProvider })
  const object = await sealObject(bytes(10), keyring, { encryptionContext: { a: 'b' } })
  await rejects(openObject(object, never), 'ERR_ENCRYPTION_CONTEXT')
  const v2 = await sealObject(bytes(10), aes, WRITE_V2)
  await rejects(openObject(v2, never), 'ERR_COMMITMENT_POLICY')
  const v1 = await sealObject(bytes(10), aes, { ...WRITE_V2, writeVersion1WithoutIntegrity: true })
  await rejects(openObject(v1, never, WRITE_V2), 'ERR_LEGACY_REFUSED')
  await rejects(
    sealObject(bytes(10), never, { encryptionContext: { 'aws:x-amz-cek-alg': 'x' } }),
    'ERR_ENCRYPTION_CONTEXT',
  )
  await rejects(sealObject(bytes(10), never, { encryptionContext: { kms_cmk_id: 'x' } }), 'ERR_ENCRYPTION_CONTEXT')
})

test('KMS is asked for the key, with the context and the grant tokens', async () => {
  const kms = new FakeKms()
  const answers: Uint8Array[] = []
  kms.intercept = (_, answer) => {
    answers.push(answer.Plaintext as Uint8Array)
    return answer
  }
  const grantTokens = ['token']
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: kms.clientProvider, grantTokens })
  const encryptionContext = { a: 'b' }
  const object = await sealObject(bytes(10), keyring, { encryptionContext })
  await openObject(object, keyring, { encryptionContext })
  const inputs = kms.calls.map(({ operation, input }) => ({ operation, ...input }))
  const asked = { KeyId: KEY_ARN, EncryptionContext: { a: 'b', 'aws:x-amz-cek-alg': '115' }, GrantTokens: grantTokens }
  assert.equal(inputs[0], { operation: 'generateDataKey', ...asked, NumberOfBytes: 32 })
  assert.equal(
    { ...inputs[1], CiphertextBlob: undefined },
    { operation: 'decrypt', ...asked, CiphertextBlob: undefined },
  )
  assert.is(answers.length, 2)
  for (const answer of answers) assert.ok(answer.every((byte) => byte === 0))
})

test('KMS is asked for no data key that another kind of key has wrapped', async () => {
  const kms = new FakeKms()
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: kms.clientProvider })
  for (const wrapAlgorithm of ['AES/GCM', 'AESWrap', 'AES', 'RSA-OAEP-SHA1', 'RSA'] as const) {
    const request = { wrapAlgorithm, encryptedDataKey: bytes(60), contentAlgorithm: '115', materialDescription: {} }
    assert.is(await keyring.unwrapDataKey(request), undefined)
  }
  assert.equal(kms.taken(), [])
})

test('answers of KMS that cannot be right are refused', async () => {
  const kms = new FakeKms()
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: kms.clientProvider })
  const object = await sealObject(bytes(10), keyring)
  const wrong: object[] = [
    { KeyId: KEY_ARN.replaceAll('5', '6') },
    { KeyId: undefined },
    { Plaintext: undefined },
    { Plaintext: 'x'.repeat(32) },
    { Plaintext: bytes(31) },
    { Plaintext: new Uint8Array(32) },
  ]
  for (const part of wrong) {
    kms.intercept = (_, answer) => ({ ...answer, ...part })
    await rejects(openObject(object, keyring), 'ERR_KEY_SERVICE')
    await rejects(sealObject(bytes(10), keyring), 'ERR_KEY_SERVICE')
  }
  kms.intercept = (_, answer) => ({ ...answer, CiphertextBlob: new Uint8Array(0) })
  await rejects(sealObject(bytes(10), keyring), 'ERR_KEY_SERVICE')
})

test('a data key under a KMS key is the one that KMS made, or a copy of the one that was given', async () => {
  const kms = new FakeKms()
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: kms.clientProvider })
  const request = { contentAlgorithm: '115', encryptionContext: {} }
  const made = await keyring.wrapDataKey(request)
  assert.is(Buffer.from(made.dataKey).toString('hex'), kms.handedOut[0]!.hex)
  const given = bytes(32)
  const wrapped = await keyring.wrapDataKey({ ...request, dataKey: given })
  assert.equal([given, Uint8Array.from(wrapped.dataKey)], [bytes(32), bytes(32)])
  assert.is.not(wrapped.dataKey, given)
  assert.equal(Uint8Array.from((await keyring.unwrapDataKey({ ...request, ...wrapped }))!), bytes(32))
  assert.not(kms.handedOut.some(({ array }) => array.some(Boolean)))
  kms.intercept = (_, answer) => ({ ...answer, Plaintext: bytes(16) })
  await rejects(keyring.wrapDataKey(request), 'ERR_KEY_SERVICE', /16 bytes/)
})

test('KMS has as long for the data key of an object as the keyring says', async () => {
  const never = () => new Promise<never>(() => {})
  const clientProvider = () => ({ generateDataKey: never, encrypt: never, decrypt: never })
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider, timeout: 5 })
  const request = { contentAlgorithm: '115', encryptionContext: {} }
  const wrapped = { encryptedDataKey: bytes(9), wrapAlgorithm: 'kms+context', materialDescription: {} } as const
  for (const call of [
    () => keyring.wrapDataKey(request),
    () => keyring.wrapDataKey({ ...request, dataKey: bytes(32) }),
    () => keyring.unwrapDataKey({ ...request, ...wrapped }),
  ])
    await rejects(call(), 'ERR_KEY_SERVICE', /gave no answer within 5 ms/)
})

test('in discovery, a KMS key that the filter excludes opens nothing; nor does one that a client refuses', async () => {
  const discoveryFilter = { accountIDs: ['111122223333'], partition: 'aws' }
  const request = { contentAlgorithm: '115', encryptedDataKey: bytes(9), materialDescription: {} }
  const unwrap = (decrypt: () => Promise<object>, more = {}) =>
    new S3KmsKeyring({
      discovery: true,
      discoveryFilter,
      clientProvider: () => ({ decrypt }) as never,
      ...more,
    }).unwrapDataKey({ ...request, wrapAlgorithm: 'kms+context' })
  const by = (KeyId: string) => async () => ({ KeyId, Plaintext: bytes(32) })
  assert.equal(Uint8Array.from((await unwrap(by(KEY_ARN)))!), bytes(32))
  for (const KeyId of [KEY_ARN.replace('111122223333', '444455556666'), KEY_ARN.replace(':aws:', ':aws-cn:'), 'key'])
    await rejects(unwrap(by(KeyId)), 'ERR_WRAPPING_KEY', /"discoveryFilter" excludes/)
  await rejects(unwrap(by(KEY_ARN), { clientProvider: () => false }), 'ERR_WRAPPING_KEY', /gave no client/)
  const refused = unwrap(async () => {
    throw Object.assign(new Error('no'), { name: 'InvalidCiphertextException' })
  })
  await rejects(refused, 'ERR_AUTHENTICATION_FAILED')
})

test('each data key is wrapped with an IV of its own, and what is too short to be one does not open', async () => {
  const request = { contentAlgorithm: '115', encryptionContext: {} }
  const wrapped = await Promise.all(Array.from({ length: 50 }, () => aes.wrapDataKey(request)))
  const ivs = wrapped.map(({ encryptedDataKey }) => Buffer.from(encryptedDataKey.subarray(0, 12)).toString('hex'))
  assert.is(new Set(ivs).size, 50)
  for (const length of [0, 1, 12, 27, 28]) {
    const short = { ...request, ...wrapped[0]!, encryptedDataKey: bytes(length) }
    await rejects(aes.unwrapDataKey(short), 'ERR_AUTHENTICATION_FAILED')
  }
})

test('a data key that an RSA key is too short for is wiped', async () => {
  const short = new S3RawRsaKeyring({ rsaKey: generateKeyPairSync('rsa', { modulusLength: 512 }) })
  const made = await givenBy([[getEngine(), 'randomBytes']], () =>
    rejects(short.wrapDataKey({ contentAlgorithm: '115', encryptionContext: {} }), 'ERR_WRAPPING_KEY'),
  )
  assert.equal(
    made.map((bytes) => Uint8Array.from(bytes)),
    [new Uint8Array(32)],
  )
})

test('keyrings of others are checked for what they give', async () => {
  const wrapped = { ...(await aes.wrapDataKey({ contentAlgorithm: '115', encryptionContext: {} })) }
  const wrong: Partial<S3WrappedDataKey>[] = [
    { dataKey: bytes(16) },
    { dataKey: 'x' as never },
    { encryptedDataKey: undefined as never },
    { wrapAlgorithm: 'AES' },
    { wrapAlgorithm: 'kms' },
  ]
  for (const part of wrong) {
    const given = { ...wrapped, dataKey: bytes(32), ...part }
    const keyring = { wrapDataKey: async () => given, unwrapDataKey: async () => undefined }
    await rejects(sealObject(bytes(10), keyring), 'ERR_INVALID_MATERIALS')
    if (typeof given.dataKey !== 'string') assert.not(given.dataKey.some(Boolean))
  }
  const object = await sealObject(bytes(10), aes)
  const giving = (dataKey: unknown) => ({
    ...aes,
    wrapDataKey: aes.wrapDataKey,
    unwrapDataKey: async () => dataKey as never,
  })
  await rejects(openObject(object, giving(undefined)), 'ERR_NO_DATA_KEY')
  await rejects(openObject(object, giving('x'.repeat(32))), 'ERR_INVALID_MATERIALS')
  for (const length of [16, 24, 31, 33]) {
    const dataKey = bytes(length)
    await rejects(openObject(object, giving(dataKey)), 'ERR_AUTHENTICATION_FAILED')
    assert.equal(dataKey, new Uint8Array(length))
  }
})

test('an instruction file is asked for exactly where it is needed', async () => {
  for (const options of [{}, WRITE_V2]) {
    const inMetadata = await sealObject(bytes(10), aes, options)
    const inFile = await sealObject(bytes(10), aes, { ...options, instructionFile: true })
    assert.not(needsInstructionFile(inMetadata.metadata))
    assert.ok(needsInstructionFile(inFile.metadata))
    assert.not(inMetadata.instructionFile)
    const stray = { ...inMetadata, instructionFile: bytes(10) }
    assert.equal(
      (await openObject(stray, aes, WRITE_V2)).plaintext,
      Buffer.from(bytes(10)),
      'one beside it is not read',
    )
    assert.equal((await openObject(inFile, aes, WRITE_V2)).plaintext, Buffer.from(bytes(10)))
  }
})

test('a long context does not fit the metadata, and fits an instruction file', async () => {
  const keyring = new S3KmsKeyring({ keyId: KEY_ARN, clientProvider: new FakeKms().clientProvider })
  const encryptionContext = { a: 'x'.repeat(2000) }
  await rejects(sealObject(bytes(10), keyring, { encryptionContext }), 'ERR_LIMIT_EXCEEDED')
  const object = await sealObject(bytes(10), keyring, { encryptionContext, instructionFile: true })
  assert.equal((await openObject(object, keyring, { encryptionContext })).plaintext, Buffer.from(bytes(10)))
})

test('version 1 of RSA: a wrong padding is a key like any other, the same each time', async () => {
  const legacy = { ...WRITE_V2, enableLegacyWrappingAlgorithms: true, enableLegacyUnauthenticatedModes: true }
  const { metadata } = await sealObject(bytes(10), rsa, { ...WRITE_V2, writeVersion1WithoutIntegrity: true })
  // Not padded: what is decrypted does not begin with 00 02.
  const block = Buffer.from(bytes(256)).fill(0, 0, 1)
  const bad = publicEncrypt({ key: rsaKey.publicKey, padding: 3 }, block)
  const request = { contentAlgorithm: 'AES/CBC/PKCS5Padding', wrapAlgorithm: 'RSA', materialDescription: {} } as const
  const [first, second] = [0, 1].map(() => rsa.unwrapDataKey({ ...request, encryptedDataKey: bad }))
  assert.equal(await first, await second)
  assert.is((await first)!.length, 32)
  const other = Buffer.from(bad).fill(1, 255)
  assert.not.equal(await rsa.unwrapDataKey({ ...request, encryptedDataKey: other }), await first)
  // Nobody else can tell that key: it is made of the private one.
  const another = new S3RawRsaKeyring({ rsaKey: generateKeyPairSync('rsa', { modulusLength: 2048 }) })
  const [mine, theirs] = [rsa, another].map((keyring) =>
    keyring.unwrapDataKey({ ...request, encryptedDataKey: Buffer.alloc(256, 1) }),
  )
  assert.not.equal(await mine, await theirs)

  // A content made for that key opens: nothing on the way told the padding.
  const iv = Buffer.from(metadata['x-amz-iv']!, 'base64')
  const cipher = createCipheriv('aes-256-cbc', (await first)!, iv)
  const body = Buffer.concat([cipher.update('attack'), cipher.final()])
  const object = { metadata: { ...metadata, 'x-amz-key': bad.toString('base64') }, body }
  assert.is((await openObject(object, rsa, legacy)).plaintext.toString(), 'attack')
})

test('halves of an RSA key do what they can', async () => {
  const writer = new S3RawRsaKeyring({ rsaKey: { publicKey: rsaKey.publicKey } })
  const reader = new S3RawRsaKeyring({ rsaKey: { privateKey: RSA_PRIVATE_PEM } })
  const object = await sealObject(bytes(10), writer)
  assert.equal((await openObject(object, reader)).plaintext, Buffer.from(bytes(10)))
  await rejects(openObject(object, writer), 'ERR_WRAPPING_KEY')
  await rejects(sealObject(bytes(10), reader), 'ERR_WRAPPING_KEY')
})

test('raw keys bind no context, and refuse one', async () => {
  for (const keyring of [aes, rsa]) {
    await rejects(
      sealObject(bytes(10), keyring, { encryptionContext: { a: 'b' } }),
      'ERR_ENCRYPTION_CONTEXT',
      /raw key/,
    )
  }
})

test('wrong options are refused', async () => {
  const sealing = (options: object) => sealObject(bytes(1), aes, options as never)
  await rejects(sealing({ comitmentPolicy: 'x' }), TypeError, /unknown option/)
  await rejects(sealing({ commitmentPolicy: 'x' }), TypeError, /commitment policy/)
  await rejects(sealing({ encryptionAlgorithm: 'ALG_AES_256_CBC_IV16_NO_KDF' }), RangeError)
  await rejects(sealing({ encryptionAlgorithm: 'ALG_AES_256_GCM_IV12_TAG16_NO_KDF' }), RangeError)
  await rejects(sealing({ writeVersion1WithoutIntegrity: true }), RangeError)
  await rejects(sealing({ instructionFile: 1 }), TypeError)
  await rejects(sealing({ encryptionContext: { a: 1 } }), TypeError)
  await rejects(sealing({ encryptionContext: { a: 'b' } }), 'ERR_ENCRYPTION_CONTEXT')
  await rejects(sealObject('x' as never, aes), TypeError, /"plaintext"/)
  await rejects(sealObject(bytes(1), {} as never), TypeError, /"keyring"/)
  const object = await sealObject(bytes(1), aes)
  await rejects(openObject({ ...object, bdy: 1 } as never, aes), TypeError, /unknown option "bdy"/)
  await rejects(openObject({ metadata: object.metadata, body: 'x' } as never, aes), TypeError, /"body"/)
  await rejects(openObject({ ...object, instructionFile: '{}' } as never, aes), TypeError, /"instructionFile"/)
  await rejects(openObject(object, aes, { enableLegacyModes: true } as never), TypeError, /unknown option/)
})

test('an RSA key that is too short to wrap a data key is refused as a wrapping key', async () => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 512 })
  const short = new S3RawRsaKeyring({ rsaKey: { publicKey } })
  await rejects(sealObject(bytes(3), short), 'ERR_WRAPPING_KEY', /512 bits .* data key of 32 bytes .* sha1/)
})

test('wrong keys are refused when a keyring is made', () => {
  for (const length of [0, 15, 17, 31, 33, 64]) {
    throws(() => new S3RawAesKeyring({ wrappingKey: bytes(length) }), RangeError, /"wrappingKey"/)
  }
  throws(() => new S3RawAesKeyring({ wrappingKey: new Uint8Array(32) }), RangeError, /zeros/)
  throws(() => new S3RawAesKeyring({ wrappingKey: 'x'.repeat(32) as never }), TypeError)
  throws(
    () => new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription: { a: 1 } as never }),
    TypeError,
    /"materialDescription" must hold strings/,
  )
  for (const materialDescription of [['a'], 'a'])
    throws(
      () => new S3RawAesKeyring({ wrappingKey: bytes(32), materialDescription: materialDescription as never }),
      TypeError,
      /"materialDescription" must be an object/,
    )
  throws(() => new S3RawRsaKeyring({ rsaKey: {} }), TypeError, /No Key provided/)
  throws(() => new S3RawRsaKeyring({ rsaKey: RSA_PRIVATE_PEM as never }), TypeError, /"rsaKey" must be an object/)
  const misspelled = { privateKey: RSA_PRIVATE_PEM, publickey: RSA_PRIVATE_PEM } as never
  throws(() => new S3RawRsaKeyring({ rsaKey: misspelled }), TypeError, /unknown option "publickey" of "rsaKey"/)
  throws(() => new S3RawRsaKeyring({ rsaKey: { privateKey: 'x' } }), TypeError, /"rsaKey.privateKey"/)
  throws(() => new S3KmsKeyring({}), TypeError, /"keyId"/)
  throws(() => new S3KmsKeyring({ keyId: KEY_ARN, discovery: true }), TypeError)
  throws(() => new S3KmsKeyring({ keyId: 'arn:x' }), RangeError)
  const filter = { accountIDs: ['1'], partition: 'aws' }
  throws(() => new S3KmsKeyring({ keyId: KEY_ARN, discoveryFilter: filter }), TypeError)
  throws(
    () => new S3MultiKeyring({ generator: aes, others: [{ materialDescription: { a: 1 as never }, keyring: aes }] }),
    TypeError,
    /"materialDescription" must hold strings/,
  )
  throws(
    () => new S3MultiKeyring({ generator: aes, others: [{ materialDescription: {}, keyring: 1 as never }] }),
    TypeError,
  )
  const twice = [0, 1].map(() => ({ materialDescription: { a: 'b' }, keyring: aes }))
  throws(() => new S3MultiKeyring({ generator: aes, others: twice }), RangeError)
})

test('a keyring that only decrypts gets objects of exactly its materials description', async () => {
  const answering = (first: number): S3Keyring => ({
    wrapDataKey: aes.wrapDataKey.bind(aes),
    unwrapDataKey: async () => bytes(32, first),
  })
  const others = [{ materialDescription: { version: '2025', tenant: 'a' }, keyring: answering(2) }]
  const multi = new S3MultiKeyring({ generator: answering(1), others })
  for (const [materialDescription, first] of [
    [{ tenant: 'a', version: '2025' }, 2],
    [{ version: '2025' }, 1],
    [{ version: '2025', tenant: 'b' }, 1],
    [{ version: '2025', tenant: 'a', more: 'c' }, 1],
    [{}, 1],
  ] as const) {
    const request = {
      materialDescription,
      contentAlgorithm: '115',
      wrapAlgorithm: 'AES/GCM',
      encryptedDataKey: bytes(60),
    }
    assert.equal(await multi.unwrapDataKey(request as never), bytes(32, first))
  }
})

test("keyrings keep keys of their own: the wrapping key may be wiped, and a given data key stays the caller's", async () => {
  const wrappingKey = bytes(32)
  const own = new S3RawAesKeyring({ wrappingKey })
  wrappingKey.fill(0)
  const object = await sealObject(bytes(3), own)
  assert.equal(Uint8Array.from((await openObject(object, aes)).plaintext), bytes(3))
  for (const keyring of [own, rsa]) {
    const given = bytes(32)
    const { dataKey } = await keyring.wrapDataKey({ contentAlgorithm: '115', encryptionContext: {}, dataKey: given })
    assert.equal(Uint8Array.from(dataKey), given)
    dataKey.fill(0)
    assert.equal(given, bytes(32))
  }
})

test('a wrapped data key of a length that none has does not open, and is wiped', async () => {
  for (const length of [1, 8, 31, 33, 40]) {
    const request = { contentAlgorithm: '115', encryptionContext: {}, dataKey: bytes(length) } as const
    const wrapped = { ...request, ...(await aes.wrapDataKey(request)) }
    const made = await secretsMadeBy(() => rejects(aes.unwrapDataKey(wrapped), 'ERR_AUTHENTICATION_FAILED'))
    assert.ok(made.length > 0)
    for (const secret of made) assert.equal(secret, new Uint8Array(secret.length))
  }
})

test('a disposed keyring is not used', async () => {
  const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
  const object = await sealObject(bytes(1), keyring)
  keyring.dispose()
  await rejects(openObject(object, keyring), 'ERR_WRAPPING_KEY')
  await rejects(sealObject(bytes(1), keyring), 'ERR_WRAPPING_KEY')
})

test('discovery encrypts nothing', async () => {
  const keyring = new S3KmsKeyring({ discovery: true, clientProvider: new FakeKms().clientProvider })
  await rejects(sealObject(bytes(1), keyring), 'ERR_WRAPPING_KEY')
})

test('importing loads no SDK', () => {
  const loaded = Object.keys(require.cache).filter((file) => /node_modules\/@aws-sdk\//.test(file))
  assert.equal(loaded, [])
})

test('errors hold no key and no plaintext', async () => {
  const { metadata, body } = await sealObject(Buffer.from('the plaintext'), aes)
  const error = (await rejectionOf(openObject({ metadata, body: body.subarray(1) }, aes))) as Error
  assert.is(error.message, 'Unsupported state or unable to authenticate data')
  assert.is(error.cause, undefined)
})

test.run()
