/** Keyrings with the clients of the AWS SDK, against a server that misbehaves on purpose. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { CreateKeyCommand, KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  buildClient,
  getClient,
  getLocalCryptographicMaterialsCache,
  KMS,
  KmsKeyring,
  NodeCachingMaterialsManager,
  type SealwaxError,
} from '../../src/index'
import { type LocalKms, startLocalKms } from '../../src/local-kms'
import { rejects } from '../support/expect'

const CREDENTIALS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
const { encrypt, decrypt, encryptStream, decryptStream } = buildClient()

/** What the server in front does with a request; `forward` has the local KMS answer it. */
type Behaviour = (
  response: ServerResponse,
  forward: () => Promise<{ status: number; body: Buffer }>,
  request: IncomingMessage,
) => unknown

let local: LocalKms
let front: Server
let keyArn: string
let requests: string[] = []
let behaviour: Behaviour
const open: Behaviour = async (response, forward) => {
  const { status, body } = await forward()
  answer(response, status, body)
}

test.before(async () => {
  local = await startLocalKms()
  const admin = new KMSClient({ endpoint: local.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  keyArn = (await admin.send(new CreateKeyCommand({}))).KeyMetadata!.Arn!
  admin.destroy()
  front = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const headers = Object.fromEntries(
      ['x-amz-target', 'content-type'].map((name) => [name, String(request.headers[name])]),
    )
    requests.push(headers['x-amz-target']!.replace('TrentService.', ''))
    const forward = async () => {
      const reply = await fetch(local.endpoint, { method: 'POST', headers, body: Buffer.concat(chunks) })
      return { status: reply.status, body: Buffer.from(await reply.arrayBuffer()) }
    }
    await behaviour(response, forward, request)
  })
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
})

test.before.each(() => {
  requests = []
  behaviour = open
})

test.after(async () => {
  front.closeAllConnections()
  front.close()
  await local.close()
})

/** A keyring with a client of its own, destroyed when `use` has ended. */
async function withKeyring<T>(
  use: (keyring: KmsKeyring) => Promise<T>,
  config: KMSClientConfig = {},
  timeout?: number,
) {
  const endpoint = `http://127.0.0.1:${(front.address() as AddressInfo).port}`
  const client = getClient(KMS, { endpoint, credentials: CREDENTIALS, ...config })('us-east-1') as InstanceType<
    typeof KMS
  >
  try {
    return await use(new KmsKeyring({ generatorKeyId: keyArn, clientProvider: () => client, timeout }))
  } finally {
    client.destroy()
  }
}

const roundTrip = async (keyring: KmsKeyring) => {
  const { result } = await encrypt(keyring, 'text')
  return (await decrypt(keyring, result)).plaintext.toString()
}

test('goes through the SDK and back', async () => {
  assert.is(await withKeyring(roundTrip), 'text')
  assert.equal(requests, ['GenerateDataKey', 'Decrypt'])
})

for (const [name, status] of [
  ['ThrottlingException', 400],
  ['TooManyRequestsException', 429],
  ['KMSInternalException', 500],
  ['ServiceUnavailable', 503],
] as const) {
  test(`the SDK retries ${name} (${status}): two are no failure, three are`, async () => {
    for (const faults of [1, 2, 3]) {
      requests = []
      let left: number = faults
      behaviour = (response, forward, request) => {
        if (left-- > 0) return answer(response, status, awsError(name))
        return open(response, forward, request)
      }
      if (faults < 3) assert.is(await withKeyring(roundTrip), 'text')
      else await rejects(withKeyring(roundTrip), 'ERR_KEY_SERVICE', new RegExp(`failed: ${name}: `))
      assert.is(requests.filter((target) => target === 'GenerateDataKey').length, Math.min(faults + 1, 3))
    }
  })
}

for (const name of ['AccessDeniedException', 'NotFoundException', 'DisabledException', 'InvalidCiphertextException']) {
  test(`${name} is not retried`, async () => {
    behaviour = (response) => answer(response, 400, awsError(name))
    await rejects(withKeyring(roundTrip), 'ERR_KEY_SERVICE', new RegExp(`failed: ${name}: `))
    assert.equal(requests, ['GenerateDataKey'])
  })
}

const BROKEN: [why: string, change: (body: Buffer) => string | Buffer][] = [
  ['a page in HTML', () => '<html>gateway</html>'],
  ['half an answer', (body) => body.subarray(0, body.length >> 1)],
  ['an answer cut inside the plaintext', (body) => body.subarray(0, body.indexOf('"Plaintext":"') + 30)],
  ['an empty object', () => '{}'],
  ['nothing', () => ''],
  ['a list', () => '[]'],
  ['fields in __proto__', (body) => `{"__proto__":${body}}`],
  ['a plaintext that is a number', () => JSON.stringify({ KeyId: keyArn, Plaintext: 5, CiphertextBlob: 'AAAA' })],
  ['a short plaintext', () => JSON.stringify({ KeyId: keyArn, Plaintext: 'c2hvcnQ=', CiphertextBlob: 'AAAA' })],
  [
    'a plaintext of 1 MiB',
    () => JSON.stringify({ KeyId: keyArn, Plaintext: 'QUFB'.repeat(1 << 18), CiphertextBlob: 'AAAA' }),
  ],
  ['another KeyId', (body) => body.toString().replace(/:key\/[^"]*/, ':key/other')],
]
for (const [why, change] of BROKEN) {
  test(`refuses ${why}, and shows no plaintext`, async () => {
    let plaintext = ''
    behaviour = async (response, forward) => {
      const { body } = await forward()
      plaintext = JSON.parse(body.toString()).Plaintext
      answer(response, 200, change(body))
    }
    const error = await rejects(withKeyring(roundTrip), 'ERR_KEY_SERVICE')
    const shown = inspect(error, { depth: 20, showHidden: true })
    assert.ok(plaintext.length > 40)
    for (const secret of [plaintext.slice(0, 12), plaintext.slice(-12), ...Object.values(CREDENTIALS)]) {
      assert.not(shown.includes(secret), shown)
    }
  })
}

test('a server that hangs is left at the deadline, and its socket closed', async () => {
  const closed = new Promise<void>((resolve) => {
    behaviour = (response) => response.once('close', resolve)
  })
  await rejects(withKeyring(roundTrip, {}, 200), 'ERR_KEY_SERVICE', /gave no answer within \d+ ms/)
  await closed
})

test('a server that stops in the middle of an answer is left at the deadline', async () => {
  const closed = new Promise<void>((resolve) => {
    behaviour = (response) => {
      response.once('close', resolve)
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.1', 'content-length': 500 })
      response.write('{"Plaintext":"')
    }
  })
  await rejects(withKeyring(roundTrip, {}, 200), 'ERR_KEY_SERVICE', /gave no answer within \d+ ms/)
  await closed
})

test('an answer that is too long is not read to its end', async () => {
  for (const length of [undefined, 64 << 20]) {
    let written = 0
    const closed = new Promise<void>((resolve) => {
      behaviour = (response) => {
        response.once('close', resolve)
        response.writeHead(200, {
          'content-type': 'application/x-amz-json-1.1',
          ...(length && { 'content-length': length }),
        })
        const more = () => {
          while (written < 64 << 20 && !response.destroyed) {
            written += 65_536
            if (!response.write(Buffer.alloc(65_536, ' '))) return void response.once('drain', more)
          }
        }
        more()
      }
    })
    await rejects(withKeyring(roundTrip), 'ERR_KEY_SERVICE', /the answer is longer than 65536 bytes/)
    await closed
    // What the sockets hold; not what the server would have given.
    assert.ok(written < 16 << 20, `${written} bytes were taken`)
    assert.is(requests.filter((target) => target === 'GenerateDataKey').length, 1)
    requests = []
  }
})

test('an aborted message and a destroyed stream leave no call and no connection', async () => {
  const { result } = await withKeyring(async (keyring) => await encrypt(keyring, 'text'))
  const given: ((keyring: KmsKeyring, giveUp: AbortSignal) => Promise<unknown>)[] = [
    (keyring, signal) => encrypt(keyring, 'text', { signal }),
    (keyring, signal) => decrypt(keyring, result, { signal }),
    ...[encryptStream, decryptStream].map((streamOf) => async (keyring: KmsKeyring, signal: AbortSignal) => {
      const stream = streamOf(keyring)
      stream.on('error', () => {}).write(result)
      signal.addEventListener('abort', () => stream.destroy())
      await new Promise((resolve) => stream.once('close', resolve))
    }),
  ]
  for (const run of given) {
    const giveUp = new AbortController()
    const closed = new Promise<void>((resolve) => {
      behaviour = (response) => {
        response.once('close', resolve)
        giveUp.abort()
      }
    })
    await withKeyring(async (keyring) => {
      await run(keyring, giveUp.signal).catch(() => {})
      // The client is still there: it was the call that was ended.
      await closed
    })
  }
})

test('many who wait for one call through a cache: who gives up does not end it for the others', async () => {
  const cache = getLocalCryptographicMaterialsCache(10)
  await withKeyring(async (backingMaterials) => {
    const manager = new NodeCachingMaterialsManager({ backingMaterials, cache, maxAge: 60_000 })
    const giveUp = new AbortController()
    const first = encrypt(manager, 'text', { signal: giveUp.signal })
    const second = encrypt(manager, 'text')
    behaviour = (response, forward, request) => {
      giveUp.abort()
      return open(response, forward, request)
    }
    await rejects(first, 'ERR_ABORTED')
    assert.is((await decrypt(manager, (await second).result)).plaintext.toString(), 'text')
  })
  assert.equal(requests, ['GenerateDataKey', 'Decrypt'])
})

test('credentials that KMS calls expired are asked for once more, and no oftener', async () => {
  for (const faults of [1, 2]) {
    let left: number = faults
    let asked = 0
    requests = []
    behaviour = (response, forward, request) => {
      if (left-- > 0) return answer(response, 400, awsError('ExpiredTokenException'))
      return open(response, forward, request)
    }
    const credentials = async () => {
      asked++
      return CREDENTIALS
    }
    if (faults === 1) assert.is(await withKeyring(roundTrip, { credentials }), 'text')
    else await rejects(withKeyring(roundTrip, { credentials }), 'ERR_KEY_SERVICE', /failed: ExpiredTokenException: /)
    assert.is(asked, 2)
    assert.is(requests.filter((target) => target === 'GenerateDataKey').length, 2)
  }
})

test('connections that are reset or refused are failures, after the retries of the SDK', async () => {
  behaviour = (response) => response.destroy()
  await rejects(withKeyring(roundTrip), 'ERR_KEY_SERVICE', /failed: /)
  assert.is(requests.length, 3)
  await rejects(withKeyring(roundTrip, { endpoint: 'http://127.0.0.1:1' }), 'ERR_KEY_SERVICE', /ECONNREFUSED/)
})

test('credentials that cannot be had are a failure which names none', async () => {
  const credentials = async () => {
    throw new Error(`expired: ${CREDENTIALS.secretAccessKey}`)
  }
  const error = await rejects(withKeyring(roundTrip, { credentials }), 'ERR_KEY_SERVICE', /failed: Error: expired: …/)
  assert.not(inspect(error, { depth: 20, showHidden: true }).includes(CREDENTIALS.secretAccessKey))
})

test('credentials that never come end at the deadline', async () => {
  const credentials = () => new Promise<never>(() => {})
  await rejects(withKeyring(roundTrip, { credentials }, 50), 'ERR_KEY_SERVICE', /gave no answer/)
})

test('a logger on the client sees no plaintext, of calls that work and of calls that fail', async () => {
  const lines: string[] = []
  const log = (...values: unknown[]) =>
    lines.push(inspect(values, { depth: 20, maxArrayLength: 1000, maxStringLength: 10_000 }))
  const logger = { trace: log, debug: log, info: log, warn: log, error: log }
  const keys: Buffer[] = []
  behaviour = async (response, forward) => {
    const { status, body } = await forward()
    const { Plaintext } = JSON.parse(body.toString())
    keys.push(Buffer.from(Plaintext, 'base64'))
    answer(response, status, body)
  }
  assert.is(await withKeyring(roundTrip, { logger }), 'text')
  await withKeyring(
    async (keyring) => {
      const { result } = await encrypt(keyring, 'text', { encryptionContext: { purpose: 'log' } })
      behaviour = (response) => answer(response, 400, awsError('InvalidCiphertextException'))
      const error = await rejects(decrypt(keyring, result), 'ERR_NO_DATA_KEY')
      assert.is((error as SealwaxError).errors?.length, 1)
    },
    { logger },
  )
  const shown = lines.join('\n')
  assert.match(shown, /GenerateDataKeyCommand/)
  assert.match(shown, /DecryptCommand/)
  assert.ok(keys.length >= 3)
  for (const key of keys) {
    for (const secret of [key.toString('base64'), key.toString('hex'), [...key.subarray(0, 8)].join(', ')]) {
      assert.not(shown.replace(/\s+/g, ' ').includes(secret))
    }
  }
})

function answer(response: ServerResponse, status: number, body: string | Buffer): void {
  response
    .writeHead(status, { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': 'request-1' })
    .end(body)
}

function awsError(name: string): string {
  return JSON.stringify({ __type: name, message: `this is a ${name}` })
}

test.run()
