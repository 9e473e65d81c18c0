import type { GetObjectCommandInput, HeadObjectCommandOutput, S3ServiceException } from '@aws-sdk/client-s3'
import { discardBody } from './body'
import { type Call, s3Sdk } from './call'

/**
 * HeadObject before something else is done with the object. Its answers have no body, and so no name for what is wrong: that
 * is asked of GetObject then, whose errors callers know.
 */
export async function headObject(
  { send }: Pick<Call<unknown, unknown>, 'send'>,
  input: GetObjectCommandInput,
): Promise<HeadObjectCommandOutput> {
  const { GetObjectCommand, HeadObjectCommand } = s3Sdk()
  try {
    return await send(new HeadObjectCommand({ ...input }))
  } catch (error) {
    const { $metadata: { httpStatusCode = 0 } = {} } = (error ?? {}) as Partial<S3ServiceException>
    const isNameless = httpStatusCode >= 300 && httpStatusCode < 500
    if (isNameless) discardBody((await send(new GetObjectCommand({ ...input, Range: 'bytes=0-0' }))).Body)
    throw error
  }
}
