/**
 * The main job, end to end: a file of 256 MiB through the command line and back, under a KMS key of a local KMS, then
 * the same bytes through the library beside a plain loop over node:crypto. `npm run quickstart`
 */
import { execFile } from 'node:child_process'
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSign,
  createVerify,
  generateKeyPairSync,
} from 'node:crypto'
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { CreateKeyCommand, KMS, KMSClient } from '@aws-sdk/client-kms'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getEngine } from '#built/engine'
import { AlgorithmSuiteIdentifier, buildClient, RawAesKeyring } from '#built/index'
import { startLocalKms } from '#built/local-kms'
import { S3EncryptionClient, S3KmsKeyring } from '#built/s3'
import { startS3 } from '../test/support/s3-server'

const LENGTH = 256 * 2 ** 20
const FRAME_LENGTH = 4096
const TAG_LENGTH = 16
const ROUNDS = 3
const CLI = join(__dirname, '../dist/cli/main.js')

const folder = mkdtempSync(join(tmpdir(), 'sealwax-quickstart-'))
main()
  .catch((error) => {
    console.error(error)
    process.exitCode = 1
  })
  .finally(() => rmSync(folder, { recursive: true, force: true }))
process.once('SIGINT', () => process.exit(130))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

async function main(): Promise<void> {
  if (!existsSync(CLI)) throw new Error('dist/ is missing: npm run setup builds it')
  await throughCommandLine()
  console.log()
  await throughLibrary()
  console.log()
  await throughS3()
}

async function throughCommandLine(): Promise<void> {
  const [plain, sealed, back] = ['plain', 'plain.sealed', 'back'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  console.log(`A file of ${LENGTH / 2 ** 20} MiB through the command line, under a key of a local KMS`)
  const digest = makeFile(plain)
  await using kms = await startLocalKms()
  const key = ['--wrapping-key', await createKey(kms.endpoint), '--kms-endpoint', kms.endpoint]
  const encryptSeconds = await sealwax('encrypt', plain, ...key, '--encryption-context', 'purpose=quickstart')
  console.log(`  plain.sealed  ${statSync(sealed).size} bytes`)
  const decryptSeconds = await sealwax('decrypt', sealed, ...key, '-c', 'purpose=quickstart', '--output', back)
  if ((await sha256(back)) !== digest) throw new Error('the decrypted file differs from the original')
  console.log(`  same SHA-256  ${digest}`)
  console.log(
    `  whole commands, start and disk included: encrypt ${speed(encryptSeconds)}, decrypt ${speed(decryptSeconds)} MiB/s`,
  )
}

/** The local KMS takes any signature, but the AWS SDK wants something to sign with. */
const CREDENTIALS = { accessKeyId: 'quickstart', secretAccessKey: 'quickstart' }
const ENVIRONMENT = {
  ...process.env,
  AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
}

async function createKey(endpoint: string): Promise<string> {
  const client = new KMSClient({ endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  try {
    return (await client.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
  } finally {
    client.destroy()
  }
}

/** Runs one command, says so, and returns its seconds. */
async function sealwax(...args: string[]): Promise<number> {
  console.log(`  $ sealwax ${args.join(' ').replaceAll(`${folder}/`, '')}`)
  const start = performance.now()
  await promisify(execFile)(process.execPath, [CLI, ...args], { env: ENVIRONMENT })
  return (performance.now() - start) / 1000
}

/** Writes bytes that do not compress, faster than a random generator would make them; returns their SHA-256. */
function makeFile(path: string): string {
  const hash = createHash('sha256')
  const fd = openSync(path, 'w')
  for (const piece of incompressible()) {
    hash.update(piece)
    writeSync(fd, piece)
  }
  fsyncSync(fd)
  closeSync(fd)
  return hash.digest('hex')
}

function* incompressible(): Generator<Buffer> {
  const keystream = createCipheriv('aes-128-ctr', getEngine().randomBytes(16), Buffer.alloc(16))
  const zeros = Buffer.alloc(2 ** 24)
  for (let done = 0; done < LENGTH; done += zeros.length) yield keystream.update(zeros)
}

/** An object under a key of a local KMS, to an S3 server in this process and back. */
async function throughS3(): Promise<void> {
  // As much as that server takes in one piece.
  const plaintext = getEngine().randomBytes(10 * 2 ** 20)
  const digest = createHash('sha256').update(plaintext).digest('hex')
  console.log(`An object of ${plaintext.length / 2 ** 20} MiB through S3, under a key of a local KMS`)
  await using kms = await startLocalKms()
  const s3 = await startS3()
  const kmsClient = new KMS({ endpoint: kms.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  const keyring = new S3KmsKeyring({ keyId: await createKey(kms.endpoint), clientProvider: () => kmsClient })
  const client = new S3EncryptionClient(s3.config, { keyring })
  try {
    const object = { Bucket: s3.bucket, Key: 'quickstart', EncryptionContext: { purpose: 'quickstart' } }
    await client.send(new PutObjectCommand({ ...object, Body: plaintext }))
    const { Body } = await client.send(new GetObjectCommand(object))
    const back = createHash('sha256').update(await Body!.transformToByteArray())
    if (back.digest('hex') !== digest) throw new Error('the object that came back differs from the original')
    console.log(`  same SHA-256  ${digest}`)
  } finally {
    client.destroy()
    kmsClient.destroy()
    await s3.close()
  }
}

/** One way to do the job; `decrypt` gets what `encrypt` gave. */
interface Contender {
  name: string
  encrypt(plaintext: Buffer): Promise<Buffer>
  decrypt(message: Buffer): Promise<Buffer>
}

async function throughLibrary(): Promise<void> {
  const plaintext = Buffer.concat([...incompressible()])
  const { backend, openssl, threads } = getEngine().info()
  console.log(`The same ${LENGTH / 2 ** 20} MiB in memory, frames of ${FRAME_LENGTH} bytes, best of ${ROUNDS}`)
  console.log(`  engine: ${backend}, ${openssl}, ${threads} threads; Node.js ${process.versions.node}\n`)
  const { ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY: unsigned } = AlgorithmSuiteIdentifier
  console.log(row('MiB/s', 'encrypt', 'decrypt', 'ratio', 'ratio'))
  await compare(plaintext, plainLoop(false), library('sealwax 0x0478 (unsigned)', unsigned))
  await compare(plaintext, plainLoop(true), library('sealwax 0x0578 (signed, default)'))
}

async function compare(plaintext: Buffer, baseline: Contender, ours: Contender): Promise<void> {
  const base = await measure(plaintext, baseline)
  const own = await measure(plaintext, ours)
  console.log(row(baseline.name, speed(base.encrypt), speed(base.decrypt)))
  const ratios = [base.encrypt / own.encrypt, base.decrypt / own.decrypt].map((ratio) => `${ratio.toFixed(2)}x`)
  console.log(row(ours.name, speed(own.encrypt), speed(own.decrypt), ...ratios))
}

async function measure(plaintext: Buffer, { name, encrypt, decrypt }: Contender) {
  const best = { encrypt: Infinity, decrypt: Infinity }
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now()
    const message = await encrypt(plaintext)
    const middle = performance.now()
    const back = await decrypt(message)
    const end = performance.now()
    if (!back.equals(plaintext)) throw new Error(`${name} did not give the plaintext back`)
    best.encrypt = Math.min(best.encrypt, (middle - start) / 1000)
    best.decrypt = Math.min(best.decrypt, (end - middle) / 1000)
  }
  return best
}

function library(name: string, suiteId?: AlgorithmSuiteIdentifier): Contender {
  const unencryptedMasterKey = getEngine().randomBytes(32)
  const keyring = new RawAesKeyring({
    keyNamespace: 'quickstart',
    keyName: 'key',
    unencryptedMasterKey,
    wrappingSuite: 0x78,
  })
  const client = buildClient()
  return {
    name,
    encrypt: async (plaintext) => (await client.encrypt(keyring, plaintext, suiteId ? { suiteId } : {})).result,
    decrypt: async (message) => (await client.decrypt(keyring, message)).plaintext,
  }
}

/** What one writes by hand with node:crypto: every frame bound to its number, into one buffer, signed if `signed`. */
function plainLoop(signed: boolean): Contender {
  const key = getEngine().randomBytes(32)
  const keys = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
  let signature: Buffer
  const aad = Buffer.alloc(64)
  const iv = Buffer.alloc(12)
  const bind = (frame: number, length: number) => {
    aad.writeUInt32BE(frame, 52)
    aad.writeUInt32BE(length, 60)
    iv.writeUInt32BE(frame, 8)
  }
  return {
    name: `plain node:crypto loop${signed ? ', signed' : ''}`,
    async encrypt(plaintext) {
      const frames = Math.ceil(plaintext.length / FRAME_LENGTH)
      const out = Buffer.allocUnsafeSlow(plaintext.length + frames * TAG_LENGTH)
      const sign = signed ? createSign('sha384') : undefined
      let end = 0
      for (let frame = 1; frame <= frames; frame++) {
        const start = end
        const content = plaintext.subarray((frame - 1) * FRAME_LENGTH, frame * FRAME_LENGTH)
        bind(frame, content.length)
        const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_LENGTH })
        cipher.setAAD(aad)
        end += cipher.update(content).copy(out, end)
        cipher.final()
        end += cipher.getAuthTag().copy(out, end)
        sign?.update(out.subarray(start, end))
      }
      if (sign) signature = sign.sign(keys.privateKey)
      return out
    },
    async decrypt(message) {
      const frames = Math.ceil(message.length / (FRAME_LENGTH + TAG_LENGTH))
      const out = Buffer.allocUnsafeSlow(message.length - frames * TAG_LENGTH)
      const verify = signed ? createVerify('sha384') : undefined
      let end = 0
      for (let frame = 1; frame <= frames; frame++) {
        const wire = message.subarray((frame - 1) * (FRAME_LENGTH + TAG_LENGTH), frame * (FRAME_LENGTH + TAG_LENGTH))
        const content = wire.subarray(0, -TAG_LENGTH)
        bind(frame, content.length)
        const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_LENGTH })
        decipher.setAAD(aad)
        decipher.setAuthTag(wire.subarray(-TAG_LENGTH))
        end += decipher.update(content).copy(out, end)
        decipher.final()
        verify?.update(wire)
      }
      if (verify && !verify.verify(keys.publicKey, signature)) throw new Error('wrong signature')
      return out
    },
  }
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 2 ** 20 }), hash)
  return hash.digest('hex')
}

function speed(seconds: number): string {
  return (LENGTH / 2 ** 20 / seconds).toFixed(0)
}

function row(name: string, ...cells: string[]): string {
  return `  ${name.padEnd(34)}${cells.map((cell) => cell.padStart(9)).join('')}`
}
