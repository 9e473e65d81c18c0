import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serializeKeyFile, toKeyring } from '../../src/cli/keys'
import { folder } from '../cli/cli'
import type { Target } from './fuzzer'

const path = join(folder, 'fuzzed.key')

/** The command's key file. */
export const keyFile: Target = {
  seeds: [16, 24, 32].map((length) => serializeKeyFile('namespace', 'name', Buffer.alloc(length, 1))),
  words: ['__proto__', '"key": "', '"namespace": 1', '\\u0000', 'aws-kms', '": null', '": {}', '\ufeff'],
  async run(input) {
    writeFileSync(path, input, { mode: 0o600 })
    await toKeyring({ key: [path] }, 'decrypt')
  },
}
