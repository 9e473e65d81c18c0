// A handler for node:http, Express or Connect: bodies are stored sealed, for the user they belong to, and only that user's
// requests open them.
import { buildClient, SealwaxError } from 'sealwax'

const client = buildClient()

/** Reads a sealed store through `load(id)`, which gives bytes if there are any, and writes it through `save(id, bytes)`. */
export function sealedStore(keyring, { load, save }) {
  return async (request, response, next) => {
    const user = request.headers['x-user'] // in production: from your authentication
    const id = request.url
    const encryptionContext = { user, id }
    try {
      if (request.method === 'PUT') {
        const { result } = await client.encrypt(keyring, request, { encryptionContext })
        await save(id, result)
        response.writeHead(204).end()
      } else if (request.method === 'GET') {
        const sealed = await load(id)
        if (!sealed) return void response.writeHead(404).end()
        const { plaintext } = await client.decrypt(keyring, sealed, { encryptionContext })
        response.writeHead(200, { 'content-length': plaintext.length }).end(plaintext)
      } else next()
    } catch (error) {
      // Another user's document: the same answer as for one that is not there.
      if (error instanceof SealwaxError && error.code === 'ERR_ENCRYPTION_CONTEXT') response.writeHead(404).end()
      else next(error)
    }
  }
}
