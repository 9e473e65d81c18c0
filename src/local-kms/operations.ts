import type { Handler } from './call'
import { cryptoOperations } from './crypto-operations'
import { KmsError, unsupported } from './errors'
import { keyOperations } from './key-operations'
import { resourceOperations } from './resource-operations'

/** Every operation this server knows, by name. */
export const OPERATIONS: ReadonlyMap<string, Handler> = new Map(
  Object.entries({ ...cryptoOperations, ...keyOperations, ...resourceOperations }),
)

/** Operations of AWS KMS that need what this server does not have: imported material, custom key stores, enclaves. */
const OTHER_OPERATIONS: ReadonlySet<string> = new Set([
  'ConnectCustomKeyStore',
  'CreateCustomKeyStore',
  'Decapsulate',
  'DeleteCustomKeyStore',
  'DeleteImportedKeyMaterial',
  'DescribeCustomKeyStores',
  'DisconnectCustomKeyStore',
  'Encapsulate',
  'GetKeyLastUsage',
  'GetParametersForImport',
  'ImportKeyMaterial',
  'UpdateCustomKeyStore',
])

export function handlerOf(operation: string): Handler {
  const handler = OPERATIONS.get(operation)
  if (handler) return handler
  if (OTHER_OPERATIONS.has(operation)) throw unsupported(`${operation} is not supported by the local KMS.`)
  throw new KmsError('UnknownOperationException', 'The operation is not known.')
}
