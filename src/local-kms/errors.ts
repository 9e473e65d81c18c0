/** The exceptions of AWS KMS that this server answers with, and those of the protocol around it. */
export type KmsErrorType =
  | 'AccessDeniedException'
  | 'AlreadyExistsException'
  | 'DisabledException'
  | 'DryRunOperationException'
  | 'IncompleteSignatureException'
  | 'IncorrectKeyException'
  | 'InvalidAliasNameException'
  | 'InvalidArnException'
  | 'InvalidCiphertextException'
  | 'InvalidGrantIdException'
  | 'InvalidGrantTokenException'
  | 'InvalidKeyUsageException'
  | 'InvalidMarkerException'
  | 'InvalidSignatureException'
  | 'KMSInternalException'
  | 'KMSInvalidMacException'
  | 'KMSInvalidSignatureException'
  | 'KMSInvalidStateException'
  | 'LimitExceededException'
  | 'MalformedPolicyDocumentException'
  | 'MissingAuthenticationTokenException'
  | 'NotFoundException'
  | 'RequestEntityTooLargeException'
  | 'SerializationException'
  | 'TagException'
  | 'ThrottlingException'
  | 'UnknownOperationException'
  | 'UnrecognizedClientException'
  | 'UnsupportedOperationException'
  | 'ValidationException'

/** An answer to the client, not a failure of the server. `status` is the HTTP status, 400 where AWS has no other. */
export class KmsError extends Error {
  constructor(
    readonly type: KmsErrorType,
    message: string,
    readonly status = 400,
  ) {
    super(message)
  }
}

export function validation(message: string): KmsError {
  return new KmsError('ValidationException', message)
}

export function notFound(message: string): KmsError {
  return new KmsError('NotFoundException', message)
}

export function unsupported(message: string): KmsError {
  return new KmsError('UnsupportedOperationException', message)
}

/** For a request whose client has gone: its work ends here, and nobody reads this. */
export function abandoned(): KmsError {
  return new KmsError('KMSInternalException', 'The request is not waited for any more.', 500)
}

/** One answer for every blob that is not exactly what was sealed: it does not tell what is wrong with it. */
export function invalidCiphertext(): KmsError {
  return new KmsError('InvalidCiphertextException', 'The ciphertext or its encryption context is not valid.')
}
