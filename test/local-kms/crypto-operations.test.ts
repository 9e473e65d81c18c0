import { createCipheriv, createPrivateKey, createPublicKey, createSecretKey, generateKeyPairSync } from 'node:crypto'
import {
  CreateAliasCommand,
  CreateKeyCommand,
  type CreateKeyCommandInput,
  DecryptCommand,
  DeriveSharedSecretCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyPairCommand,
  GenerateDataKeyPairWithoutPlaintextCommand,
  GenerateDataKeyWithoutPlaintextCommand,
  GenerateMacCommand,
  GenerateRandomCommand,
  type KeyMetadata,
  type KMSServiceException,
  ReEncryptCommand,
  ReplicateKeyCommand,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  SignCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { decrypt, encrypt, keyVersion, signMessage, verifyMessage } from '../../src/local-kms/material'
import { clientOf, refuses, secretsSeen } from './support'

let kms: LocalKms
let client: ReturnType<typeof clientOf>
let elsewhere: ReturnType<typeof clientOf>

test.before(async () => {
  kms = await startLocalKms()
  client = clientOf(kms)
  elsewhere = clientOf(kms, 'eu-west-1')
})

test.after(async () => {
  client.destroy()
  elsewhere.destroy()
  await kms.close()
})

const Plaintext = Buffer.from('sixteen bytes...')

test('encrypts and decrypts by every name of a key', async () => {
  const { KeyId, Arn } = await create()
  await client.send(new CreateAliasCommand({ AliasName: 'alias/every/name', TargetKeyId: KeyId! }))
  for (const name of [KeyId!, Arn!, 'alias/every/name', Arn!.replace(/key\/.*/, 'alias/every/name')]) {
    const sealed = await client.send(new EncryptCommand({ KeyId: name, Plaintext }))
    assert.is(sealed.KeyId, Arn)
    assert.is(sealed.EncryptionAlgorithm, 'SYMMETRIC_DEFAULT')
    for (const KeyId of [name, undefined]) {
      const opened = await client.send(new DecryptCommand({ KeyId, CiphertextBlob: sealed.CiphertextBlob }))
      assert.is(opened.KeyId, Arn)
      assert.equal(Buffer.from(opened.Plaintext!), Plaintext)
    }
  }
})

test('compares encryption contexts as sets of pairs', async () => {
  const { KeyId } = await create()
  const context = (json: string) => ({ EncryptionContext: JSON.parse(json) as Record<string, string> })
  const seal = (json: string) => client.send(new EncryptCommand({ KeyId, Plaintext, ...context(json) }))
  const open = (CiphertextBlob: Uint8Array, json: string) =>
    client.send(new DecryptCommand({ CiphertextBlob, ...context(json) }))

  const { CiphertextBlob } = await seal('{"b":"2","a":"1","constructor":"x","ключ":"значение"}')
  assert.ok(await open(CiphertextBlob!, '{"ключ":"значение","a":"1","constructor":"x","b":"2"}'))
  for (const other of ['{}', '{"a":"1"}', '{"a":"2","b":"1","constructor":"x","ключ":"значение"}']) {
    await refuses(open(CiphertextBlob!, other), 'InvalidCiphertextException')
  }
  const { CiphertextBlob: none } = await client.send(new EncryptCommand({ KeyId, Plaintext }))
  assert.ok(await open(none!, '{}'), 'an empty context is no context')
  const { CiphertextBlob: empty } = await seal('{"":""}')
  await refuses(open(empty!, '{}'), 'InvalidCiphertextException')
})

test('refuses any blob with a changed, missing or added byte', async () => {
  const { KeyId } = await create()
  const EncryptionContext = { purpose: 'test' }
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }))
  const blob = Buffer.from(CiphertextBlob!)
  const open = (bytes: Uint8Array, KeyId?: string) =>
    client.send(new DecryptCommand({ CiphertextBlob: bytes, EncryptionContext, KeyId }))
  for (let i = 0; i < blob.length; i++) {
    const changed = Buffer.from(blob)
    changed[i]! ^= 1 << (i % 8)
    await refuses(open(changed), 'InvalidCiphertextException')
    await refuses(open(changed, KeyId), 'InvalidCiphertextException')
    if (i > 0) await refuses(open(blob.subarray(0, i)), 'InvalidCiphertextException')
  }
  await refuses(open(Buffer.concat([blob, Buffer.alloc(1)])), 'InvalidCiphertextException')
  await refuses(open(Buffer.alloc(6144)), 'InvalidCiphertextException')
})

test('never gives the same blob twice', async () => {
  const { KeyId } = await create()
  const blobs = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext }))
    blobs.add(Buffer.from(CiphertextBlob!).toString('hex'))
  }
  assert.is(blobs.size, 20)
})

test('keeps plaintexts to 4096 bytes and blobs to 6144', async () => {
  const { KeyId } = await create()
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.alloc(4096, 1) }))
  assert.ok(CiphertextBlob!.length <= 6144)
  assert.is((await client.send(new DecryptCommand({ CiphertextBlob }))).Plaintext!.length, 4096)
  for (const length of [0, 4097]) {
    await refuses(client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.alloc(length) })), 'ValidationException')
  }
  await refuses(client.send(new DecryptCommand({ CiphertextBlob: Buffer.alloc(6145) })), 'ValidationException')
  // With the count, the lengths and the name.
  const sealWith = (length: number) =>
    client.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext: { long: 'x'.repeat(length) } }))
  await sealWith(8192 - 10)
  await refuses(sealWith(8192 - 9), 'ValidationException')
})

test('opens a blob that was sealed as is written, with any version of the key', () => {
  const keyId = 'mrk-0123'
  const context = Buffer.from('a context')
  const secrets = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)]
  const versions = secrets.map((secret, number) => keyVersion(keyId, number, createSecretKey(secret), 'INITIAL', 0))
  const usage = { spec: 'SYMMETRIC_DEFAULT', usage: 'ENCRYPT_DECRYPT' } as const
  const material = { keyId, ...usage, multiRegion: true, primaryRegion: 'us-east-1', versions }
  for (const [version, secret] of secrets.entries()) {
    const iv = Buffer.alloc(12, 3)
    const header = Buffer.concat([
      Buffer.from([1, keyId.length]),
      Buffer.from(keyId),
      Buffer.from([0, 0, 0, version, 1]),
      iv,
    ])
    const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(Buffer.concat([header, context]))
    const blob = Buffer.concat([header, cipher.update(Plaintext), cipher.final(), cipher.getAuthTag()])
    assert.equal(decrypt(material, 'SYMMETRIC_DEFAULT', context, blob), Plaintext)
  }
})

test('old blobs stay readable after a rotation, new ones use the new material', async () => {
  const { KeyId } = await create()
  const sealed: Uint8Array[] = []
  for (let i = 0; i < 3; i++) {
    sealed.push((await client.send(new EncryptCommand({ KeyId, Plaintext }))).CiphertextBlob!)
    await client.send(new RotateKeyOnDemandCommand({ KeyId }))
  }
  const versions = sealed.map((blob) => Buffer.from(blob).readUInt32BE(2 + KeyId!.length))
  assert.equal(versions, [0, 1, 2])
  for (const CiphertextBlob of sealed) {
    assert.equal(Buffer.from((await client.send(new DecryptCommand({ CiphertextBlob }))).Plaintext!), Plaintext)
  }
})

test('answers tell the key material that was used', async () => {
  const { KeyId, CurrentKeyMaterialId: first } = await create()
  const key = { KeyId, KeySpec: 'AES_256' } as const
  const old = await client.send(new GenerateDataKeyCommand(key))
  await client.send(new RotateKeyOnDemandCommand({ KeyId }))
  const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId }))
  const second = KeyMetadata!.CurrentKeyMaterialId
  assert.match(first!, /^[0-9a-f]{64}$/)
  assert.is.not(first, second)
  const { CiphertextBlob } = old
  const pair = { KeyId, KeyPairSpec: 'ECC_NIST_P256' } as const
  const used = [
    old,
    await client.send(new DecryptCommand({ CiphertextBlob })),
    await client.send(new GenerateDataKeyCommand(key)),
    await client.send(new GenerateDataKeyWithoutPlaintextCommand(key)),
    await client.send(new GenerateDataKeyPairCommand(pair)),
    await client.send(new GenerateDataKeyPairWithoutPlaintextCommand(pair)),
  ].map(({ KeyMaterialId }) => KeyMaterialId)
  assert.equal(used, [first, first, second, second, second, second])
  const toSelf = await client.send(new ReEncryptCommand({ CiphertextBlob, DestinationKeyId: KeyId }))
  assert.equal([toSelf.SourceKeyMaterialId, toSelf.DestinationKeyMaterialId], [first, second])

  const rsa = (await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })).KeyId
  const algorithm = 'RSAES_OAEP_SHA_256' as const
  const to = { DestinationKeyId: rsa, DestinationEncryptionAlgorithm: algorithm }
  const toRsa = await client.send(new ReEncryptCommand({ CiphertextBlob, ...to }))
  assert.equal([toRsa.SourceKeyMaterialId, toRsa.DestinationKeyMaterialId], [first, undefined])
  const from = { KeyId: rsa, EncryptionAlgorithm: algorithm, CiphertextBlob: toRsa.CiphertextBlob }
  assert.is((await client.send(new DecryptCommand(from))).KeyMaterialId, undefined)
})

test('replicas of a multi-Region key open each other’s blobs, other Regions do not', async () => {
  const { KeyId } = await create({ MultiRegion: true })
  const { KeyId: single } = await create()
  await client.send(new ReplicateKeyCommand({ KeyId, ReplicaRegion: 'eu-west-1' }))
  const here = await client.send(new EncryptCommand({ KeyId, Plaintext }))
  const there = await elsewhere.send(new EncryptCommand({ KeyId, Plaintext }))
  assert.match(there.KeyId!, /^arn:aws:kms:eu-west-1:111122223333:key\/mrk-[0-9a-f]{32}$/)
  const opened = await elsewhere.send(new DecryptCommand({ CiphertextBlob: here.CiphertextBlob }))
  assert.is(opened.KeyId, there.KeyId)
  assert.ok(await client.send(new DecryptCommand({ CiphertextBlob: there.CiphertextBlob, KeyId })))

  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId: single, Plaintext }))
  await refuses(
    elsewhere.send(new DecryptCommand({ CiphertextBlob })),
    'AccessDeniedException',
    /does not exist in this region/,
  )
  await refuses(elsewhere.send(new DecryptCommand({ CiphertextBlob, KeyId: single })), 'NotFoundException')
  await refuses(
    elsewhere.send(new DecryptCommand({ CiphertextBlob, KeyId: here.KeyId })),
    'NotFoundException',
    /Invalid arn/,
  )
})

test('re-encrypts between keys, contexts and algorithms', async () => {
  const { KeyId, Arn } = await create()
  const { KeyId: other, Arn: otherArn } = await create()
  const rsa = await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
  const EncryptionContext = { from: 'here' }
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext, EncryptionContext }))
  const source = { CiphertextBlob, SourceEncryptionContext: EncryptionContext }

  const moved = await client.send(
    new ReEncryptCommand({ ...source, DestinationKeyId: other, DestinationEncryptionContext: { to: 'there' } }),
  )
  assert.equal([moved.SourceKeyId, moved.KeyId], [Arn, otherArn])
  const decrypted = new DecryptCommand({ CiphertextBlob: moved.CiphertextBlob, EncryptionContext: { to: 'there' } })
  assert.equal(Buffer.from((await client.send(decrypted)).Plaintext!), Plaintext)

  const DestinationEncryptionAlgorithm = 'RSAES_OAEP_SHA_256'
  const wrapped = await client.send(
    new ReEncryptCommand({ ...source, DestinationKeyId: rsa.KeyId, DestinationEncryptionAlgorithm }),
  )
  const back = await client.send(
    new ReEncryptCommand({
      CiphertextBlob: wrapped.CiphertextBlob,
      SourceKeyId: rsa.KeyId,
      SourceEncryptionAlgorithm: DestinationEncryptionAlgorithm,
      DestinationKeyId: KeyId,
    }),
  )
  assert.ok(await client.send(new DecryptCommand({ CiphertextBlob: back.CiphertextBlob })))

  const send = (input: object) => client.send(new ReEncryptCommand({ ...source, DestinationKeyId: other, ...input }))
  await refuses(send({ SourceEncryptionContext: {} }), 'InvalidCiphertextException')
  await refuses(send({ SourceKeyId: other }), 'IncorrectKeyException')
  await refuses(send({ DestinationKeyId: 'alias/none' }), 'NotFoundException')
  await refuses(send({ DestinationKeyId: undefined }), 'ValidationException')
})

test('generates data keys that it can decrypt', async () => {
  const { KeyId, Arn } = await create()
  const EncryptionContext = { purpose: 'data key' }
  for (const [size, length] of [
    [{ KeySpec: 'AES_128' }, 16],
    [{ KeySpec: 'AES_256' }, 32],
    [{ NumberOfBytes: 1 }, 1],
    [{ NumberOfBytes: 1024 }, 1024],
  ] as const) {
    const made = await client.send(new GenerateDataKeyCommand({ KeyId, EncryptionContext, ...size }))
    assert.is(made.KeyId, Arn)
    assert.is(made.Plaintext!.length, length)
    const decrypt = new DecryptCommand({ CiphertextBlob: made.CiphertextBlob, EncryptionContext })
    assert.equal((await client.send(decrypt)).Plaintext, made.Plaintext)
    const sealed = await client.send(new GenerateDataKeyWithoutPlaintextCommand({ KeyId, ...size }))
    assert.not('Plaintext' in sealed)
    const { Plaintext } = await client.send(new DecryptCommand({ CiphertextBlob: sealed.CiphertextBlob }))
    assert.is(Plaintext!.length, length)
  }
  for (const size of [
    {},
    { KeySpec: 'AES_256', NumberOfBytes: 32 },
    { NumberOfBytes: 0 },
    { NumberOfBytes: 1025 },
  ] as const) {
    await refuses(client.send(new GenerateDataKeyCommand({ KeyId, ...size })), 'ValidationException')
  }
  await refuses(
    client.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_512' as 'AES_256' })),
    'ValidationException',
  )
})

test('generates data key pairs that match', async () => {
  const { KeyId } = await create()
  for (const KeyPairSpec of [
    'RSA_2048',
    'ECC_NIST_P256',
    'ECC_NIST_P384',
    'ECC_NIST_P521',
    'ECC_SECG_P256K1',
  ] as const) {
    const made = await client.send(new GenerateDataKeyPairCommand({ KeyId, KeyPairSpec }))
    const der = Buffer.from(made.PrivateKeyPlaintext!)
    const derived = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
    assert.equal(derived.export({ format: 'der', type: 'spki' }), Buffer.from(made.PublicKey!))
    const { Plaintext } = await client.send(new DecryptCommand({ CiphertextBlob: made.PrivateKeyCiphertextBlob }))
    assert.equal(Buffer.from(Plaintext!), der)
  }
  const sealed = await client.send(
    new GenerateDataKeyPairWithoutPlaintextCommand({ KeyId, KeyPairSpec: 'ECC_NIST_P256' }),
  )
  assert.not('PrivateKeyPlaintext' in sealed)
  assert.is(sealed.KeyPairSpec, 'ECC_NIST_P256')
  const send = (KeyPairSpec: 'SM2') => client.send(new GenerateDataKeyPairCommand({ KeyId, KeyPairSpec }))
  await refuses(send('SM2'), 'ValidationException')
})

test('generates random bytes', async () => {
  const { Plaintext } = await client.send(new GenerateRandomCommand({ NumberOfBytes: 1024 }))
  assert.is(Plaintext!.length, 1024)
  for (const NumberOfBytes of [undefined, 0, 1025]) {
    await refuses(client.send(new GenerateRandomCommand({ NumberOfBytes })), 'ValidationException')
  }
})

test('encrypts with RSA within the limits of OAEP', async () => {
  const { KeyId } = await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
  for (const [EncryptionAlgorithm, longest] of [
    ['RSAES_OAEP_SHA_1', 214],
    ['RSAES_OAEP_SHA_256', 190],
  ] as const) {
    const seal = (length: number) =>
      client.send(new EncryptCommand({ KeyId, EncryptionAlgorithm, Plaintext: Buffer.alloc(length, 7) }))
    const { CiphertextBlob } = await seal(longest)
    const open = (blob: Uint8Array) =>
      client.send(new DecryptCommand({ KeyId, EncryptionAlgorithm, CiphertextBlob: blob }))
    assert.is((await open(CiphertextBlob!)).Plaintext!.length, longest)
    await refuses(seal(longest + 1), 'ValidationException', /at most/)
    for (const index of [0, 100, 255]) {
      const changed = Uint8Array.from(CiphertextBlob!)
      changed[index]! ^= 1
      await refuses(open(changed), 'InvalidCiphertextException')
    }
    await refuses(open(CiphertextBlob!.subarray(1)), 'InvalidCiphertextException')
    const nameless = new DecryptCommand({ EncryptionAlgorithm, CiphertextBlob })
    await refuses(client.send(nameless), 'ValidationException', /KeyId is required/)
  }
})

test('ciphertexts and signatures of RSA without their leading zeros are refused', () => {
  const keyId = 'mrk-0123'
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const usage = { spec: 'RSA_2048', usage: 'ENCRYPT_DECRYPT' } as const
  const versions = [keyVersion(keyId, 0, privateKey, 'INITIAL', 0)]
  const material = { keyId, ...usage, multiRegion: true, primaryRegion: 'us-east-1', versions }
  const withLeadingZero = (make: () => Uint8Array) => {
    for (;;) {
      const made = make()
      if (made[0] === 0) return made
    }
  }
  const none = new Uint8Array(0)
  const blob = withLeadingZero(() => encrypt(material, 'RSAES_OAEP_SHA_256', none, Plaintext))
  assert.equal(decrypt(material, 'RSAES_OAEP_SHA_256', none, blob), Plaintext)
  assert.throws(() => decrypt(material, 'RSAES_OAEP_SHA_256', none, blob.subarray(1)), /not valid/)
  const signature = withLeadingZero(() => signMessage(material, 'RSASSA_PSS_SHA_256', 'RAW', Plaintext))
  assert.ok(verifyMessage(material, 'RSASSA_PSS_SHA_256', 'RAW', Plaintext, signature))
  assert.not.ok(verifyMessage(material, 'RSASSA_PSS_SHA_256', 'RAW', Plaintext, signature.subarray(1)))
})

test('refuses keys for what they are not meant for', async () => {
  const symmetric = (await create()).KeyId
  const signing = (await create({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })).KeyId
  const rsa = (await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })).KeyId
  const EncryptionContext = { a: 'b' }
  const RSA = { KeyId: rsa, EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' } as const
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId: symmetric, Plaintext }))
  const Message = Plaintext
  const other = (await create()).KeyId
  const Recipient = {}
  const agreement = { KeyId: symmetric, KeyAgreementAlgorithm: 'ECDH', PublicKey: Message } as const
  const cases: [string, () => Promise<unknown>][] = [
    ['InvalidKeyUsageException', () => client.send(new EncryptCommand({ KeyId: signing, Plaintext }))],
    ['InvalidKeyUsageException', () => client.send(new EncryptCommand({ KeyId: rsa, Plaintext }))],
    ['InvalidKeyUsageException', () => client.send(new EncryptCommand({ ...RSA, KeyId: symmetric, Plaintext }))],
    ['InvalidKeyUsageException', () => client.send(new DecryptCommand({ ...RSA, KeyId: symmetric, CiphertextBlob }))],
    ['InvalidKeyUsageException', () => client.send(new DecryptCommand({ KeyId: rsa, CiphertextBlob }))],
    ['InvalidKeyUsageException', () => client.send(new GenerateDataKeyCommand({ KeyId: rsa, KeySpec: 'AES_256' }))],
    [
      'InvalidKeyUsageException',
      () => client.send(new GenerateDataKeyPairCommand({ KeyId: rsa, KeyPairSpec: 'ECC_NIST_P256' })),
    ],
    [
      'InvalidKeyUsageException',
      () => client.send(new SignCommand({ KeyId: symmetric, Message, SigningAlgorithm: 'ECDSA_SHA_256' })),
    ],
    [
      'InvalidKeyUsageException',
      () => client.send(new SignCommand({ KeyId: signing, Message, SigningAlgorithm: 'ECDSA_SHA_384' })),
    ],
    [
      'InvalidKeyUsageException',
      () => client.send(new GenerateMacCommand({ KeyId: symmetric, Message, MacAlgorithm: 'HMAC_SHA_256' })),
    ],
    ['ValidationException', () => client.send(new EncryptCommand({ ...RSA, Plaintext, EncryptionContext }))],
    [
      'ValidationException',
      () => client.send(new EncryptCommand({ KeyId: symmetric, Plaintext, EncryptionAlgorithm: 'SM2PKE' })),
    ],
    [
      'ValidationException',
      () => client.send(new SignCommand({ KeyId: signing, Message, SigningAlgorithm: 'SM2DSA' })),
    ],
    [
      'ValidationException',
      () => client.send(new SignCommand({ KeyId: signing, Message, SigningAlgorithm: undefined })),
    ],
    ...[
      () => client.send(new DecryptCommand({ CiphertextBlob, Recipient })),
      () => client.send(new GenerateDataKeyCommand({ KeyId: symmetric, KeySpec: 'AES_256', Recipient })),
      () => client.send(new GenerateDataKeyPairCommand({ KeyId: symmetric, KeyPairSpec: 'ECC_NIST_P256', Recipient })),
      () => client.send(new GenerateRandomCommand({ NumberOfBytes: 1, Recipient })),
      () => client.send(new DeriveSharedSecretCommand({ ...agreement, Recipient })),
    ].map((use): [string, () => Promise<unknown>] => ['UnsupportedOperationException', use]),
    ['IncorrectKeyException', () => client.send(new DecryptCommand({ KeyId: other, CiphertextBlob }))],
  ]
  for (const [name, use] of cases) await refuses(use(), name)
})

test('refuses keys that are disabled, pending deletion or missing', async () => {
  const { KeyId } = await create()
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext }))
  const uses = (KeyId: string) => [
    () => client.send(new EncryptCommand({ KeyId, Plaintext })),
    () => client.send(new DecryptCommand({ KeyId, CiphertextBlob })),
    () => client.send(new ReEncryptCommand({ CiphertextBlob, DestinationKeyId: KeyId })),
    () => client.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' })),
  ]
  await client.send(new DisableKeyCommand({ KeyId }))
  for (const use of uses(KeyId!)) await refuses(use(), 'DisabledException', /is disabled/)
  await refuses(client.send(new DecryptCommand({ CiphertextBlob })), 'DisabledException')
  await client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))
  for (const use of uses(KeyId!)) await refuses(use(), 'KMSInvalidStateException', /is pending deletion/)
  const missing = [
    '1234abcd-12ab-34cd-56ef-1234567890ab',
    'alias/missing',
    'not a key',
    'arn:aws:kms:us-east-1:999999999999:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    'arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    'arn:aws:kms:us-east-1:111122223333:alias/missing',
  ]
  for (const name of missing) for (const use of uses(name)) await refuses(use(), 'NotFoundException')
  for (const use of uses('arn:aws:s3:::bucket')) await refuses(use(), 'InvalidArnException')
})

test('a dry run checks and does nothing', async () => {
  const { KeyId } = await create()
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext }))
  const DryRun = true
  for (const use of [
    () => client.send(new EncryptCommand({ KeyId, Plaintext, DryRun })),
    () => client.send(new DecryptCommand({ CiphertextBlob, DryRun })),
    () => client.send(new ReEncryptCommand({ CiphertextBlob, DestinationKeyId: KeyId, DryRun })),
    () => client.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256', DryRun })),
    () => client.send(new GenerateDataKeyPairCommand({ KeyId, KeyPairSpec: 'RSA_4096', DryRun })),
  ]) {
    await refuses(use(), 'DryRunOperationException')
  }
  const told = await client.send(new EncryptCommand({ KeyId, Plaintext, DryRun })).catch((error: unknown) => error)
  assert.is((told as KMSServiceException).$metadata.httpStatusCode, 412)
  await refuses(client.send(new EncryptCommand({ KeyId: 'alias/none', Plaintext, DryRun })), 'NotFoundException')
  const rsa = (await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })).KeyId
  const pair = { KeyId, KeyPairSpec: 'RSA_4096', DryRun } as const
  const EncryptionContext = { long: 'x'.repeat(8192) }
  for (const [name, wrong] of [
    ['InvalidKeyUsageException', { KeyId: rsa }],
    ['ValidationException', { EncryptionContext }],
  ] as const) {
    await refuses(client.send(new GenerateDataKeyPairCommand({ ...pair, ...wrong })), name)
  }
})

test('a dry run can leave the ciphertext out', async () => {
  const { KeyId } = await create()
  const { KeyId: rsa } = await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
  const dry = { DryRun: true, DryRunModifiers: ['IGNORE_CIPHERTEXT' as const] }
  const decrypt = (more: object) => client.send(new DecryptCommand({ ...dry, ...more }))
  const reEncrypt = (more: object) => client.send(new ReEncryptCommand({ DestinationKeyId: KeyId, ...dry, ...more }))
  const CiphertextBlob = Buffer.from('nothing')
  const [EncryptionAlgorithm, SourceEncryptionAlgorithm] = ['RSAES_OAEP_SHA_256', 'RSAES_OAEP_SHA_256'] as const
  for (const use of [
    () => decrypt({ KeyId }),
    () => decrypt({ KeyId, CiphertextBlob }),
    () => decrypt({ KeyId: rsa, EncryptionAlgorithm }),
    () => reEncrypt({ SourceKeyId: KeyId }),
    () => reEncrypt({ SourceKeyId: rsa, SourceEncryptionAlgorithm }),
  ]) {
    await refuses(use(), 'DryRunOperationException')
  }
  await refuses(decrypt({}), 'ValidationException', /keyId/)
  await refuses(reEncrypt({}), 'ValidationException', /sourceKeyId/)
  await refuses(decrypt({ KeyId: rsa }), 'InvalidKeyUsageException')
  await refuses(reEncrypt({ SourceKeyId: KeyId, DestinationKeyId: rsa }), 'InvalidKeyUsageException')
  await refuses(decrypt({ KeyId: 'alias/none' }), 'NotFoundException')
  await refuses(decrypt({ KeyId, DryRunModifiers: ['OTHER'] }), 'ValidationException')
  // Without a dry run they mean nothing.
  await refuses(decrypt({ KeyId, DryRun: false }), 'ValidationException', /ciphertextBlob/)
  await refuses(decrypt({ KeyId, CiphertextBlob, DryRun: false }), 'InvalidCiphertextException')
})

test('no plaintext and no key outlives its request, whatever comes of it', async () => {
  const { KeyId } = await create()
  const { CiphertextBlob } = await client.send(new EncryptCommand({ KeyId, Plaintext }))
  const damaged = Uint8Array.from(CiphertextBlob!)
  damaged[damaged.length - 1]! ^= 1
  const pair = { KeyId, KeyPairSpec: 'ECC_NIST_P256' } as const
  const toSelf = { CiphertextBlob, DestinationKeyId: KeyId }
  const DestinationEncryptionContext = { long: 'x'.repeat(8192) }
  const cases: [string, () => Promise<unknown>][] = [
    ['Encrypt', () => client.send(new EncryptCommand({ KeyId, Plaintext }))],
    ['Decrypt', () => client.send(new DecryptCommand({ CiphertextBlob }))],
    ['Decrypt, wrong tag', () => client.send(new DecryptCommand({ CiphertextBlob: damaged }))],
    ['Decrypt, dry run', () => client.send(new DecryptCommand({ CiphertextBlob, DryRun: true }))],
    ['ReEncrypt', () => client.send(new ReEncryptCommand(toSelf))],
    ['ReEncrypt, wrong', () => client.send(new ReEncryptCommand({ ...toSelf, DestinationEncryptionContext }))],
    ['GenerateDataKey', () => client.send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' }))],
    [
      'GenerateDataKeyWithoutPlaintext',
      () => client.send(new GenerateDataKeyWithoutPlaintextCommand({ KeyId, KeySpec: 'AES_256' })),
    ],
    ['GenerateDataKeyPair', () => client.send(new GenerateDataKeyPairCommand(pair))],
    ['GenerateDataKeyPairWithoutPlaintext', () => client.send(new GenerateDataKeyPairWithoutPlaintextCommand(pair))],
    ['CreateKey', () => create()],
    ['RotateKeyOnDemand', () => client.send(new RotateKeyOnDemandCommand({ KeyId }))],
  ]
  for (const [name, use] of cases) {
    const seen = await secretsSeen(() => use().catch(() => {}))
    assert.ok(seen.length > 0, name)
    for (const bytes of seen)
      assert.ok(
        bytes.every((byte) => byte === 0),
        name,
      )
  }
})

test.run()

async function create(input: CreateKeyCommandInput = {}): Promise<KeyMetadata> {
  return (await client.send(new CreateKeyCommand(input))).KeyMetadata!
}
