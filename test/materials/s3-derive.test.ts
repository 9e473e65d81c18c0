import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { getEngine } from '../../src/engine/engine'
import { nodeEngine } from '../../src/engine/node'
import { deriveCommittedObjectKey, deriveObjectKey } from '../../src/materials/s3-derive'
import { throws } from '../support/expect'

const hex = (text: string) => Buffer.from(text, 'hex')

/** Known answers that AWS publishes with its SDK for PHP. */
const KNOWN = [
  {
    dataKey: hex('80d90dc4cc7e77d8a6332efa44eba56230a7fe7b89af37d1e501ab2e07c0a163'),
    messageId: hex('b8ea76bed24c7b85382a148cb9dcd1cfdfb765f55ded4dfa6e0c4c79'),
    key: '6dd14f546cc006e639126e83f5d4d1b118576bb5df97f38c6fb3a1db87bbc338',
    commitment: 'f89818bc0a346d3a3426b68e9509b6b2ae5fe1f904aa329fb73625db',
  },
  {
    dataKey: hex('501afb8227d22e75e68010414b8abdaf3064c081e8e922dafef4992036394d60'),
    messageId: hex('61a00b4981a5aacfd136c55cb726e32d2a547dc7600a7d4675c69127'),
    key: 'e14786a714748d1d2c3a4a6816dec56ddf1881bbeabb4f39420ffb9f63700b2f',
    commitment: '5c1e73e47f6fe3a70d6d094283aceaa76d2975feb829212d88f0afc1',
  },
  {
    dataKey: hex('f331a37a67de41312aba59889b0a7153beddc8c1603e4b307244c12f7960ebbb'),
    messageId: hex('61678bbe745d80302928e5b5a82ba73de86deb959824b4342da62443'),
    key: '5c8bc1c3d2d866f3724143a0d48ddc134cd1088312313d503497eac33cca6d4a',
    commitment: 'abe6c3a3f7223dddbbceaa382a1bdbdbf064746b7898aec3a0f4c1ae',
  },
]

for (const engine of [getEngine(), nodeEngine]) {
  test(`${engine.info().backend}: content key and commitment are those of AWS`, () => {
    for (const { dataKey, messageId, ...expected } of KNOWN) {
      const { key, commitment } = deriveObjectKey(engine, dataKey, messageId)
      assert.is(Buffer.from(key).toString('hex'), expected.key)
      assert.is(Buffer.from(commitment).toString('hex'), expected.commitment)
    }
  })

  test(`${engine.info().backend}: a commitment of another length or value is refused`, () => {
    const { dataKey, messageId, key, commitment } = KNOWN[0]!
    const derive = (committed: Uint8Array) => deriveCommittedObjectKey(engine, dataKey, messageId, committed)
    assert.is(Buffer.from(derive(hex(commitment))).toString('hex'), key)
    for (const wrong of [
      commitment.slice(2),
      `${commitment}00`,
      '',
      `00${commitment.slice(2)}`,
      KNOWN[1]!.commitment,
    ]) {
      throws(() => derive(hex(wrong)), 'ERR_AUTHENTICATION_FAILED')
    }
  })

  test(`${engine.info().backend}: the content key of a wrong commitment is wiped`, () => {
    const { dataKey, messageId } = KNOWN[0]!
    const [key, commitment] = [new Uint8Array(32).fill(1), new Uint8Array(28)]
    const deriving = Object.assign(Object.create(engine), { hkdfPair: () => [key, commitment] })
    const committed = hex(KNOWN[1]!.commitment)
    throws(() => deriveCommittedObjectKey(deriving, dataKey, messageId, committed), 'ERR_AUTHENTICATION_FAILED')
    assert.equal(key, new Uint8Array(32))
  })
}

test.run()
