// The small tools for authors of keyrings.
const client = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(async () => {
  class Base {
    method() {
      return 'original'
    }
  }
  class Frozen {}
  client.immutableClass(Base)
  client.frozenClass(Frozen)
  const replace = () => {
    'use strict'
    Base.prototype.method = () => 'replaced'
  }
  const object = {}
  client.readOnlyProperty(object, 'x', 1)
  const unsupported = new client.NotSupported('no')
  return {
    replaced: (await failure(replace)).isError,
    method: new Base().method(),
    frozen: [Object.isFrozen(Base), Object.isFrozen(Frozen), Object.isFrozen(Frozen.prototype)],
    property: Object.getOwnPropertyDescriptor(object, 'x'),
    needs: await failure(() => client.needs(0, 'needed'), 'needed'),
    needsType: (await client.needs(true, 'x')) === undefined,
    unsupported: [unsupported instanceof Error, unsupported.code, unsupported.message],
    keyringFrozen: Object.isFrozen(client.KeyringNode),
  }
})
