import { createECDH, createHash, createPublicKey, diffieHellman, generateKeyPairSync, verify } from 'node:crypto'
import {
  CreateKeyCommand,
  type CreateKeyCommandInput,
  DeriveSharedSecretCommand,
  GenerateMacCommand,
  GetPublicKeyCommand,
  type KeyMetadata,
  type MacAlgorithmSpec,
  SignCommand,
  type SigningAlgorithmSpec,
  VerifyCommand,
  VerifyMacCommand,
} from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { clientOf, refuses } from './support'

let kms: LocalKms
let client: ReturnType<typeof clientOf>

test.before(async () => {
  kms = await startLocalKms()
  client = clientOf(kms)
})

test.after(async () => {
  client.destroy()
  await kms.close()
})

const RSA_ALGORITHMS = ['PKCS1_V1_5', 'PSS'].flatMap((padding) =>
  [256, 384, 512].map((bits) => `RSASSA_${padding}_SHA_${bits}` as SigningAlgorithmSpec),
)

for (const [spec, algorithms] of [
  ['RSA_2048', RSA_ALGORITHMS],
  ['RSA_3072', ['RSASSA_PSS_SHA_256']],
  ['ECC_NIST_P256', ['ECDSA_SHA_256']],
  ['ECC_NIST_P384', ['ECDSA_SHA_384']],
  ['ECC_NIST_P521', ['ECDSA_SHA_512']],
  ['ECC_SECG_P256K1', ['ECDSA_SHA_256']],
] as const) {
  test(`signs and verifies messages and digests with ${spec}`, async () => {
    const { KeyId, SigningAlgorithms } = await create({ KeySpec: spec, KeyUsage: 'SIGN_VERIFY' })
    if (algorithms.length !== 1) assert.equal(SigningAlgorithms, algorithms)
    const { PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId }))
    const message = Buffer.from('a message')
    for (const SigningAlgorithm of algorithms as readonly SigningAlgorithmSpec[]) {
      const hash = `sha${SigningAlgorithm.slice(-3)}`
      const digest = createHash(hash).update(message).digest()
      const forms = [
        { MessageType: 'RAW', Message: message },
        { MessageType: 'DIGEST', Message: digest },
      ] as const
      for (const form of forms) {
        const request = { KeyId, SigningAlgorithm }
        const { Signature } = await client.send(new SignCommand({ ...request, ...form }))
        assert.ok(isValid(PublicKey!, hash, message, Signature!, SigningAlgorithm))
        for (const form of forms) {
          const { SignatureValid } = await client.send(new VerifyCommand({ ...request, ...form, Signature }))
          assert.is(SignatureValid, true)
          for (const wrong of wrongSignatures(Signature!)) {
            const command = new VerifyCommand({ ...request, ...form, Signature: wrong })
            await refuses(client.send(command), 'KMSInvalidSignatureException')
          }
          const Message = Buffer.from(form.Message)
          Message[0]! ^= 1
          const other = new VerifyCommand({ ...request, ...form, Message, Signature })
          await refuses(client.send(other), 'KMSInvalidSignatureException')
        }
      }
      for (const Message of [digest.subarray(1), Buffer.concat([digest, Buffer.alloc(1)])]) {
        const wrong = { KeyId, SigningAlgorithm, MessageType: 'DIGEST', Message } as const
        for (const DryRun of [false, true])
          await refuses(client.send(new SignCommand({ ...wrong, DryRun })), 'ValidationException', /length/)
      }
    }
  })
}

test('makes and verifies MACs', async () => {
  for (const [spec, MacAlgorithm, length] of [
    ['HMAC_224', 'HMAC_SHA_224', 28],
    ['HMAC_256', 'HMAC_SHA_256', 32],
    ['HMAC_384', 'HMAC_SHA_384', 48],
    ['HMAC_512', 'HMAC_SHA_512', 64],
  ] as const) {
    const { KeyId, MacAlgorithms } = await create({ KeySpec: spec, KeyUsage: 'GENERATE_VERIFY_MAC' })
    assert.equal(MacAlgorithms, [MacAlgorithm])
    const request = { KeyId, MacAlgorithm, Message: Buffer.from('a message') }
    const { Mac } = await client.send(new GenerateMacCommand(request))
    assert.is(Mac!.length, length)
    assert.is((await client.send(new VerifyMacCommand({ ...request, Mac }))).MacValid, true)
    for (const wrong of wrongSignatures(Mac!)) {
      await refuses(client.send(new VerifyMacCommand({ ...request, Mac: wrong })), 'KMSInvalidMacException')
    }
    const other: MacAlgorithmSpec = spec === 'HMAC_224' ? 'HMAC_SHA_256' : 'HMAC_SHA_224'
    await refuses(client.send(new GenerateMacCommand({ ...request, MacAlgorithm: other })), 'InvalidKeyUsageException')
  }
})

test('derives the shared secret of ECDH', async () => {
  for (const [KeySpec, namedCurve] of [
    ['ECC_NIST_P256', 'prime256v1'],
    ['ECC_NIST_P384', 'secp384r1'],
    ['ECC_NIST_P521', 'secp521r1'],
  ] as const) {
    const { KeyId } = await create({ KeySpec, KeyUsage: 'KEY_AGREEMENT' })
    const peer = generateKeyPairSync('ec', { namedCurve })
    const der = (key: typeof peer.publicKey) => key.export({ format: 'der', type: 'spki' })
    const derive = (PublicKey: Uint8Array) =>
      client.send(new DeriveSharedSecretCommand({ KeyId, KeyAgreementAlgorithm: 'ECDH', PublicKey }))
    const { PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId }))
    const publicKey = createPublicKey({ key: Buffer.from(PublicKey!), format: 'der', type: 'spki' })
    const { SharedSecret, KeyOrigin } = await derive(der(peer.publicKey))
    assert.equal(Buffer.from(SharedSecret!), diffieHellman({ privateKey: peer.privateKey, publicKey }))
    assert.is(KeyOrigin, 'AWS_KMS')
    await refuses(derive(der(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)), 'ValidationException')
    await refuses(derive(createECDH(namedCurve).generateKeys()), 'ValidationException')
  }
})

test('a dry run tells what is wrong, and makes nothing', async () => {
  const signer = { KeyId: (await create({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'SIGN_VERIFY' })).KeyId }
  const signing = { ...signer, Message: Buffer.from('a message'), SigningAlgorithm: 'ECDSA_SHA_256' } as const
  const { Signature } = await client.send(new SignCommand(signing))
  const macs = { KeyId: (await create({ KeySpec: 'HMAC_256', KeyUsage: 'GENERATE_VERIFY_MAC' })).KeyId }
  const authenticating = { ...macs, Message: Buffer.from('a message'), MacAlgorithm: 'HMAC_SHA_256' } as const
  const { Mac } = await client.send(new GenerateMacCommand(authenticating))
  const { KeyId } = await create({ KeySpec: 'ECC_NIST_P256', KeyUsage: 'KEY_AGREEMENT' })
  const { PublicKey } = await client.send(new GetPublicKeyCommand({ KeyId }))
  const DryRun = true
  const agreement = { KeyId, KeyAgreementAlgorithm: 'ECDH', PublicKey, DryRun } as const
  for (const dry of [
    () => client.send(new SignCommand({ ...signing, DryRun })),
    () => client.send(new VerifyCommand({ ...signing, Signature, DryRun })),
    () => client.send(new GenerateMacCommand({ ...authenticating, DryRun })),
    () => client.send(new VerifyMacCommand({ ...authenticating, Mac, DryRun })),
    () => client.send(new DeriveSharedSecretCommand(agreement)),
  ]) {
    await refuses(dry(), 'DryRunOperationException')
  }
  const wrong = Buffer.from('wrong')
  for (const [name, dry] of [
    ['KMSInvalidSignatureException', () => client.send(new VerifyCommand({ ...signing, Signature: wrong, DryRun }))],
    ['KMSInvalidMacException', () => client.send(new VerifyMacCommand({ ...authenticating, Mac: wrong, DryRun }))],
    ['ValidationException', () => client.send(new DeriveSharedSecretCommand({ ...agreement, PublicKey: wrong }))],
    ['InvalidKeyUsageException', () => client.send(new DeriveSharedSecretCommand({ ...agreement, ...signer }))],
  ] as const) {
    await refuses(dry(), name)
  }
})

test('tells public keys of asymmetric keys only', async () => {
  const { KeyId, Arn } = await create({ KeySpec: 'RSA_2048', KeyUsage: 'ENCRYPT_DECRYPT' })
  const told = await client.send(new GetPublicKeyCommand({ KeyId }))
  assert.is(told.KeyId, Arn)
  assert.is(told.KeySpec, 'RSA_2048')
  assert.is(told.KeyUsage, 'ENCRYPT_DECRYPT')
  assert.equal(told.EncryptionAlgorithms, ['RSAES_OAEP_SHA_1', 'RSAES_OAEP_SHA_256'])
  const symmetric = await create()
  await refuses(client.send(new GetPublicKeyCommand({ KeyId: symmetric.KeyId })), 'UnsupportedOperationException')
})

test.run()

async function create(input: CreateKeyCommandInput = {}): Promise<KeyMetadata> {
  return (await client.send(new CreateKeyCommand(input))).KeyMetadata!
}

function isValid(spki: Uint8Array, hash: string, message: Buffer, signature: Uint8Array, algorithm: string): boolean {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
  const pss = algorithm.includes('PSS') ? { padding: 6, saltLength: Number(hash.slice(3)) / 8 } : {}
  return verify(hash, message, { key, ...pss }, signature)
}

function wrongSignatures(signature: Uint8Array): Uint8Array[] {
  const flipped = [0, 1, 4, signature.length >> 1, signature.length - 1].map((index) => {
    const changed = Uint8Array.from(signature)
    changed[index]! ^= 1
    return changed
  })
  return [
    ...flipped,
    signature.subarray(1),
    signature.subarray(0, -1),
    Buffer.concat([signature, Buffer.alloc(1)]),
    Buffer.alloc(1),
  ]
}
