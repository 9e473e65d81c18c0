// differs: Options that are all inherited
const { buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { failure, report } = require('./lib/report')

report(async () => {
  class Settings {
    get commitmentPolicy() {
      return CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT
    }
  }
  return await failure(() => buildClient(new Settings()))
})
