/** Rewraps a bucket, for a test that ends it on its way: `rewrap-child.ts <endpoint> <bucket> <journal>`. */
import { S3Client } from '@aws-sdk/client-s3'
import { rewrapObjects, S3RawAesKeyring } from '../../src/s3'
import { bytes } from '../support/keys'
import { CREDENTIALS } from '../support/s3-server'

const [endpoint = '', Bucket = '', journal = ''] = process.argv.slice(2)
const client = new S3Client({ endpoint, region: 'us-east-1', credentials: CREDENTIALS, forcePathStyle: true })
const from = new S3RawAesKeyring({ wrappingKey: bytes(32) })
const to = new S3RawAesKeyring({ wrappingKey: bytes(32, 77), materialDescription: { key: 'new' } })
void rewrapObjects(client, { Bucket, from, to, journal, concurrency: 4 })
