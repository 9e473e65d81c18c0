/** An object that stays, because the one that was to replace it is not stored, keeps the instruction file that opens it. */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { S3EncryptionClient, type S3EncryptionSettings, S3RawAesKeyring } from '../../src/s3'
import { rejectionOf, rejects } from '../support/expect'
import { errorXml, type FaultRule, startFaultProxy } from '../support/fault-proxy'
import { bytes } from '../support/keys'
import { startS3 } from '../support/s3-server'

const KEY = 'a'
const keyring = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const FILE = { method: 'PUT', path: /a\.instruction/ }

async function main(): Promise<void> {
  const s3 = await startS3()
  const proxy = await startFaultProxy({ origin: s3.endpoint })
  const Bucket = s3.bucket
  const clientOf = (more: Partial<S3EncryptionSettings> = {}) =>
    new S3EncryptionClient(
      { ...s3.config, endpoint: proxy.endpoint, maxAttempts: 3 },
      { keyring, putInstructionFiles: true, ...more },
    )
  const client = clientOf()
  const put = (Key: string, Body: string) => client.send(new PutObjectCommand({ Bucket, Key, Body }))
  const text = async () => {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: KEY }))
    return await Body!.transformToString()
  }
  const WAYS: Record<string, () => Promise<unknown>> = {
    PutObject: () => put(KEY, 'new'),
    CopyObject: () => client.send(new CopyObjectCommand({ Bucket, Key: KEY, CopySource: `${Bucket}/source` })),
    Upload: () => new Upload({ client, params: { Bucket, Key: KEY, Body: Buffer.alloc(6 * 2 ** 20) } }).done(),
  }
  const underFault = async (work: () => Promise<unknown>, rule: FaultRule) => {
    await put('source', 'other')
    await put(KEY, 'old')
    proxy.setRules([rule])
    const error = (await rejectionOf(work())) as Error
    assert.ok(proxy.seen.some(({ fault }) => fault))
    proxy.setRules([])
    return error
  }

  for (const [name, work] of Object.entries(WAYS)) {
    test(`${name}: no attempt to store the file is answered, though it is stored`, async () => {
      await underFault(work, { fault: 'lost-answer', match: FILE, when: { first: 3 } })
      assert.is(await text(), 'old')
    })

    test(`${name}: the store is overloaded at every attempt`, async () => {
      const object =
        name === 'Upload' ? { method: 'POST', query: /uploadId/ } : { method: 'PUT', path: new RegExp(`/${KEY}$`) }
      const rule = { fault: 'status', status: 503, body: errorXml('SlowDown', 'slower'), match: object } as const
      assert.is((await underFault(work, rule)).name, 'SlowDown')
      assert.is(await text(), 'old')
    })

    test(`${name}: the store fails, and has stored it all the same`, async () => {
      await put('source', 'other')
      await put(KEY, 'old')
      let failed = 0
      const failing = (next: (args: object) => Promise<unknown>, { commandName = '' }: { commandName?: string }) => {
        return async (args: { input: { Key?: string } }) => {
          const result = await next(args)
          const stores = /^(?:PutObject|CopyObject|CompleteMultipartUpload)Command$/.test(commandName)
          if (!stores || args.input.Key !== KEY) return result
          failed++
          const $metadata = { attempts: 1, httpStatusCode: 500 }
          throw Object.assign(new Error('failed'), { name: 'InternalError', $metadata })
        }
      }
      client.middlewareStack.add(failing as never, { step: 'build', name: 'failing' })
      try {
        await work()
      } finally {
        client.middlewareStack.remove('failing')
      }
      assert.is(failed, 1)
      assert.is.not(await text(), 'old')
    })
  }

  test('the store does not say that it encrypted the file', async () => {
    await put(KEY, 'old')
    const asking = clientOf({ serverSide: { mode: 's3' } })
    const refused = asking.send(new PutObjectCommand({ Bucket, Key: KEY, Body: 'new' }))
    await rejects(refused, 'ERR_SERVER_SIDE_ENCRYPTION')
    assert.is(await text(), 'old')
    asking.destroy()
  })

  test('an upload is aborted while the file of its object is written', async () => {
    await put(KEY, 'old')
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key: KEY }))
    const upload = { Bucket, Key: KEY, UploadId }
    const { ETag } = await client.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: 'new' }))
    const stop = new AbortController()
    const written = new Promise<void>((resolve) => {
      const noting = (next: (args: object) => Promise<unknown>, { commandName }: { commandName?: string }) => {
        return async (args: { input: { Key?: string } }) => {
          const isFile = commandName === 'PutObjectCommand' && args.input.Key === `${KEY}.instruction`
          if (isFile && !stop.signal.aborted) stop.abort()
          const result = await next(args)
          if (isFile) resolve()
          return result
        }
      }
      client.middlewareStack.add(noting as never, { step: 'build', name: 'noting' })
    })
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] }
    const complete = new CompleteMultipartUploadCommand({ ...upload, MultipartUpload })
    const error = (await rejectionOf(client.send(complete, { abortSignal: stop.signal }))) as Error
    assert.is(error.name, 'AbortError')
    await client.send(new AbortMultipartUploadCommand(upload))
    await written
    client.middlewareStack.remove('noting')
    for (let asked = 0; asked < 100 && (await rejectionOf(text())) !== undefined; asked++)
      await new Promise(setImmediate)
    assert.is(await text(), 'old')
  })

  test.after(async () => {
    client.destroy()
    await proxy.close()
    await s3.close()
  })
  test.run()
}

void main()
