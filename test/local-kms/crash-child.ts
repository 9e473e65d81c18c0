/** Makes keys in the store of argv[2] until it is killed, and prints the ID of each once it is promised to be kept. */
import { Input } from '../../src/local-kms/input'
import { OPERATIONS } from '../../src/local-kms/operations'
import { Store } from '../../src/local-kms/store'
import { Vault } from '../../src/local-kms/vault'

void main(process.argv[2]!, Number(process.argv[3] ?? Number.POSITIVE_INFINITY))

async function main(directory: string, keys: number): Promise<void> {
  const vault = await Vault.open(await Store.open(directory))
  process.stdout.write('open\n')
  for (let made = 0; made < keys; made++) {
    const { signal } = new AbortController()
    const scope = { signal, now: Date.now(), region: 'us-east-1', account: '111122223333' }
    const call = { input: new Input(new Uint8Array(0)), vault, state: vault.state, ...scope }
    const answer = await OPERATIONS.get('CreateKey')!(call)
    process.stdout.write(`${(answer!.KeyMetadata as { Arn: string }).Arn}\n`)
  }
  await vault.close()
}
