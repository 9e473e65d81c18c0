// An AWS Lambda function: the custom message sender of an Amazon Cognito user pool. Clients and keyrings are made once for
// each container, not once for each call. Cognito's messages are signed and do not commit to their key.
import { buildDecrypt, CommitmentPolicy, KmsKeyring, SealwaxError } from 'sealwax'

const { decrypt } = buildDecrypt({
  commitmentPolicy: CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT,
  maxEncryptedDataKeys: 1,
})

/** The handler for keys in `keyIds`; `send` delivers a code to a user. `clientProvider` is for tests. */
export function senderOf(keyIds, send, clientProvider) {
  const keyring = new KmsKeyring({ keyIds, clientProvider })
  return async (event) => {
    if (!event.request.code) return event
    let text
    try {
      const { plaintext } = await decrypt(keyring, event.request.code, { encoding: 'base64' })
      text = plaintext.toString()
    } catch (error) {
      // A code is stable, a text is not. Where KMS did not open the data key, it may later; Lambda tries again.
      const attempts = error instanceof SealwaxError ? (error.errors ?? []) : []
      if (attempts.some(({ code }) => code === 'ERR_KEY_SERVICE')) throw error
      console.error(JSON.stringify({ message: 'code not sent', code: error.code }))
      return event
    }
    await send(event.request.userAttributes, text) // where that fails, Lambda tries again too
    return event
  }
}
