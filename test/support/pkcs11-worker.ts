/** A thread, or a process, that opens a message with a token, wraps a hundred keys, and tells. */
import { parentPort, workerData } from 'node:worker_threads'
import { buildClient } from '../../src/index'
import { Pkcs11AesKeyring, Pkcs11Token, type Pkcs11TokenInput } from '../../src/pkcs11'

interface Task {
  input: Pkcs11TokenInput
  pin: string
  message: string | Uint8Array
}

if (parentPort) void run(workerData as Task).then((answer) => parentPort?.postMessage(answer))
else
  process.once(
    'message',
    (task) => void run(task as Task).then((answer) => process.send!(answer, () => process.exit())),
  )

async function run({ input, pin, message }: Task): Promise<string> {
  const token = new Pkcs11Token({ ...input, pin: () => pin, sessions: 2 })
  const keyring = new Pkcs11AesKeyring({ token, key: 'aes', keyNamespace: 'tests', keyName: 'aes' })
  const { encrypt, decrypt } = buildClient()
  const bytes = typeof message === 'string' ? Buffer.from(message, 'base64') : message
  const { plaintext } = await decrypt(keyring, Buffer.from(bytes))
  const written = await Promise.all(Array.from({ length: 100 }, async () => await encrypt(keyring, 'x')))
  await token.close()
  return `${plaintext} ${written.length}`
}
