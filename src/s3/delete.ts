import type {
  DeleteObjectCommandInput,
  DeleteObjectCommandOutput,
  DeleteObjectsCommandInput,
  DeleteObjectsCommandOutput,
} from '@aws-sdk/client-s3'
import { type Call, s3Sdk } from './call'
import { instructionFileKey } from './instruction-file'

/** Deletes the instruction file too, if there is one; not where a version is named: the file has its own versions. */
export async function deleteObject(
  call: Call<DeleteObjectCommandInput, DeleteObjectCommandOutput>,
): Promise<DeleteObjectCommandOutput> {
  const output = await call.next(call.input)
  const { Bucket, Key, ExpectedBucketOwner, RequestPayer, MFA, VersionId } = call.input
  const file = instructionFileKey(Key)
  if (VersionId === undefined && file) {
    const { DeleteObjectCommand } = s3Sdk()
    await call.send(new DeleteObjectCommand({ Bucket, Key: file, ExpectedBucketOwner, RequestPayer, MFA }))
  }
  return output
}

/** The same for many; files that could not be deleted are among the `Errors`. */
export async function deleteObjects(
  call: Call<DeleteObjectsCommandInput, DeleteObjectsCommandOutput>,
): Promise<DeleteObjectsCommandOutput> {
  const output = await call.next(call.input)
  const { Bucket, Delete, ExpectedBucketOwner, RequestPayer, MFA } = call.input
  const objects = Delete?.Objects ?? []
  // What was said of a version that was named is not said of the object.
  const ofVersion = (Key?: string, VersionId?: string) =>
    VersionId !== undefined && objects.some((named) => named.Key === Key && named.VersionId === VersionId)
  const errors = (output.Errors ?? []).filter(({ Key, VersionId }) => !ofVersion(Key, VersionId))
  const failed = new Set(errors.map(({ Key }) => Key))
  const files = objects
    .filter(({ Key, VersionId }) => VersionId === undefined && !failed.has(Key))
    .flatMap(({ Key }) => instructionFileKey(Key) ?? [])
    .map((Key) => ({ Key }))
  if (files.length === 0) return output
  const { DeleteObjectsCommand } = s3Sdk()
  const input = { Bucket, Delete: { Objects: files, Quiet: true }, ExpectedBucketOwner, RequestPayer, MFA }
  const { Errors = [] } = await call.send(new DeleteObjectsCommand(input))
  return Errors.length === 0 ? output : { ...output, Errors: [...(output.Errors ?? []), ...Errors] }
}
