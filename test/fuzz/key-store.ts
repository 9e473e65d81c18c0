import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Store } from '../../src/local-kms/store'
import { folder } from '../cli/cli'
import type { Target } from './fuzzer'

const directory = join(folder, 'store')
const file = join(directory, 'keys.sealed')
mkdirSync(directory, { mode: 0o700 })

/** The file of the local KMS: its header and what is authenticated. */
export const keyStore: Target = {
  seeds: [Buffer.from('SEALWAX KEYS\x01\x00\x00'.padEnd(90, 'x'), 'latin1')],
  async run(input) {
    writeFileSync(file, input, { mode: 0o600 })
    const store = await Store.open(directory)
    await store.close()
  },
}
