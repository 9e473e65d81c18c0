import type { MultipartUpload } from './multipart-upload'
import { partError } from './part-geometry'

/** Past this, the upload that was not used for longest is given up: nobody completed or aborted it. */
const MAX_UPLOADS = 10_000

/** The multipart uploads that a client has begun and not ended, by their upload IDs. */
export class OpenUploads {
  readonly #uploads = new Map<string, MultipartUpload>()

  add(uploadId: string, upload: MultipartUpload): void {
    // With the parts of two objects under one key, neither could be read.
    if (this.#uploads.has(uploadId)) throw partError('S3 gave an upload ID that is in use')
    const [oldest] = this.#uploads.keys()
    if (oldest !== undefined && this.#uploads.size >= MAX_UPLOADS) this.end(oldest, 'was given up: too many are open')
    this.#uploads.set(uploadId, upload)
  }

  find(uploadId: unknown): MultipartUpload | undefined {
    return this.#uploads.get(uploadId as string)
  }

  get(uploadId: unknown): MultipartUpload {
    const upload = this.find(uploadId)
    if (!upload) {
      throw partError(
        'this client does not hold the key of the upload: it was begun elsewhere, or has ended. ' +
          'What resumeToken() gives there, resumeUpload() takes here',
      )
    }
    // The last used is the last in order.
    this.#uploads.delete(uploadId as string)
    this.#uploads.set(uploadId as string, upload)
    return upload
  }

  /** Wipes its keys, if it is open. */
  end(uploadId: unknown, why: string): void {
    this.find(uploadId)?.end(why)
    this.#uploads.delete(uploadId as string)
  }

  endAll(why: string): void {
    for (const uploadId of this.#uploads.keys()) this.end(uploadId, why)
  }
}
