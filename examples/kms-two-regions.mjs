// A message that keys in two Regions open, so that the loss of one Region loses no data. Runs against a local KMS; without
// `clientProvider`, the same keyrings go to AWS. `node examples/kms-two-regions.mjs`
import { buildClient, cacheClients, getClient, KMS, KmsKeyring, limitRegions } from 'sealwax'
import { startLocalKms } from 'sealwax/local-kms'

const kms = await startLocalKms()
const credentials = { accessKeyId: 'local', secretAccessKey: 'local' }
const clientProvider = cacheClients(getClient(KMS, { endpoint: kms.endpoint, credentials }))

const createKey = async (region) => (await clientProvider(region).createKey({})).KeyMetadata.Arn
const frankfurt = await createKey('eu-central-1')
const dublin = await createKey('eu-west-1')

const { encrypt, decrypt } = buildClient()
const writer = new KmsKeyring({ generatorKeyId: frankfurt, keyIds: [dublin], clientProvider })
const { result } = await encrypt(writer, 'in two places', { encryptionContext: { table: 'orders' } })

// Frankfurt is away: this reader only ever asks Dublin.
const reader = new KmsKeyring({
  discovery: true,
  discoveryFilter: { accountIDs: ['111122223333'], partition: 'aws' },
  clientProvider: limitRegions(['eu-west-1'], clientProvider),
})
const { plaintext, messageHeader } = await decrypt(reader, result, { encryptionContext: { table: 'orders' } })
const regions = messageHeader.encryptedDataKeys.map(({ providerInfo }) => providerInfo.split(':')[3])
console.log(`${plaintext}: ${regions.join(' and ')}`)

for (const region of ['eu-central-1', 'eu-west-1']) clientProvider(region).destroy()
await kms.close()
