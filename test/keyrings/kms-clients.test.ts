import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import * as sdk from '@aws-sdk/client-kms'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  cacheClients,
  cacheKmsClients,
  excludeRegions,
  getClient,
  getKmsClient,
  KMS,
  limitRegions,
} from '../../src/index'
import { throws } from '../support/expect'
import { FakeKms } from '../support/kms'

const kms = new FakeKms()
const config = { region: 'us-east-1', credentials: { accessKeyId: 'id', secretAccessKey: 'secret' } }

test('the AWS SDK is loaded when it is first used, not before', () => {
  // Reading every export is what `import` does to a CommonJS module.
  const program = `
    const { KMS } = Object.fromEntries(Object.entries(require('./src/index.ts')))
    const loaded = () => Object.keys(require.cache).some((file) => file.includes('@aws-sdk'))
    const before = loaded()
    new KMS({ region: 'us-east-1' })
    console.log(before, loaded())`
  const args = ['--no-warnings', '--import', 'tsx', '--input-type=commonjs', '--eval', program]
  const output = execFileSync(process.execPath, args, { cwd: join(__dirname, '../..'), encoding: 'utf8' })
  assert.is(output.trim(), 'false true')
})

test('KMS is the class of the SDK in every way that counts', () => {
  const client = new KMS(config)
  assert.is(client.constructor, sdk.KMS)
  assert.instance(client, KMS)
  assert.instance(client, sdk.KMS)
  assert.instance(new sdk.KMS(config), KMS)
  assert.is(KMS.prototype, sdk.KMS.prototype)
  assert.is(KMS.name, 'KMS')
  assert.is(typeof KMS, 'function')
  class Mine extends KMS {
    own(): string {
      return typeof this.decrypt
    }
  }
  const mine = new Mine(config)
  assert.instance(mine, Mine)
  assert.instance(mine, sdk.KMS)
  assert.is(mine.own(), 'function')
  for (const each of [client, mine]) each.destroy()
})

test('getClient makes a client for the Region asked for, over the default configuration', async () => {
  const supplier = getClient(KMS, { ...config, maxAttempts: 7 })
  const [first, second, standard] = [supplier('eu-west-1'), supplier('eu-west-1'), supplier('')]
  assert.ok(first && second && standard)
  assert.is.not(first, second)
  assert.is(await first.config.region(), 'eu-west-1')
  assert.is(await first.config.maxAttempts(), 7)
  assert.is(await standard.config.region(), 'us-east-1')
  assert.equal(config.region, 'us-east-1')
  for (const client of [first, second, standard]) client.destroy()
})

test('getClient refuses a client without a Region', () => {
  class Nowhere {
    config = {}
    generateDataKey = async () => ({})
    encrypt = async () => ({})
    decrypt = async () => ({})
  }
  throws(() => getClient(Nowhere)('us-east-1'), TypeError, /^A region is required/)
})

test('getKmsClient makes clients of the SDK that name this library and give up connecting soon', async () => {
  const client = getKmsClient('eu-west-1')
  assert.instance(client, sdk.KMS)
  if (!client) return
  const { configProvider } = client.config.requestHandler as unknown as {
    configProvider: Promise<{ connectionTimeout: number }>
  }
  assert.is((await configProvider).connectionTimeout, 1000)
  client.destroy()
  const cached = cacheKmsClients('eu-west-1')
  assert.is(cacheKmsClients('eu-west-1'), cached)
  if (cached) cached.destroy()
})

test('limitRegions and excludeRegions bound the Regions', () => {
  const only = limitRegions(['us-east-1', 'eu-west-1'], kms.clientProvider)
  assert.ok(only('eu-west-1'))
  for (const region of ['us-west-2', '']) assert.is(only(region), false)
  const except = excludeRegions(['us-east-1'], kms.clientProvider)
  assert.is(except('us-east-1'), false)
  assert.ok(except('eu-west-1'))
  for (const regions of [[''], [5], 'us-east-1', undefined]) {
    throws(() => limitRegions(regions as string[], kms.clientProvider), TypeError, /^Can only limit on region strings/)
    throws(
      () => excludeRegions(regions as string[], kms.clientProvider),
      TypeError,
      /^Can only exclude on region strings/,
    )
  }
})

test('cacheClients keeps one client for each Region, and remembers a refusal', () => {
  const asked: string[] = []
  const supplier = cacheClients((region) => {
    asked.push(region)
    return region !== 'us-west-2' && kms.clientProvider(region)
  })
  assert.is(supplier('us-east-1'), supplier('us-east-1'))
  assert.is.not(supplier('us-east-1'), supplier('eu-west-1'))
  assert.is(supplier('us-west-2'), false)
  assert.is(supplier('us-west-2'), false)
  assert.equal(asked, ['us-east-1', 'eu-west-1', 'us-west-2'])
})

test('cacheClients does not grow with the Regions that messages name', () => {
  let made = 0
  const supplier = cacheClients((region) => {
    made += 1
    return kms.clientProvider(region)
  })
  const first = supplier('us-east-1')
  for (let i = 0; i < 1000; i++) {
    supplier(`spurious-${i}`)
    assert.is(supplier('us-east-1'), first)
  }
  assert.is(made, 1001)
  supplier('spurious-0')
  assert.is(made, 1002)
})

test.run()
