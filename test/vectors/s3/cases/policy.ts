import { bad, drop, flip, inFile, set, type Vector } from './case'
import { POLICY, LEGACY, CONTEXT, CBC, LEGACY_OBJECTS, v3, v2, v1, kms3, kms2 } from './objects'

const REQUIRE = { commitmentPolicy: 'REQUIRE_ENCRYPT_REQUIRE_DECRYPT' }

/** A reader's rules: what it must refuse though the object is intact. */
export const policy: Vector[] = [
  bad('version 2 under a policy that requires commitment', POLICY, v2, { options: REQUIRE }),
  bad('version 2, KMS, under a policy that requires commitment', POLICY, kms2, { options: REQUIRE }),
  bad('version 2 in an instruction file, under a policy that requires commitment', POLICY, v2, {
    options: REQUIRE,
    ...inFile(),
  }),
  ...Object.entries(LEGACY_OBJECTS).flatMap(([name, draft]) => [
    bad(`${name} under a policy that requires commitment`, POLICY, draft, { options: REQUIRE }),
    bad(`${name} without the switch for wrapping`, LEGACY, draft, {
      options: { enableLegacyWrappingAlgorithms: false },
    }),
  ]),
  ...(['version 1', 'version 1, RSA', 'kms with AES-CBC'] as const).map((name) =>
    bad(`${name} without the switch for AES-CBC`, LEGACY, LEGACY_OBJECTS[name]!, {
      options: { enableLegacyUnauthenticatedModes: false },
    }),
  ),
  bad(
    'a bad padding of RSA without the switch for wrapping',
    LEGACY,
    { version: 1, wrap: 'RSA', pkcs1Block: (block) => flip(block, 9) },
    {
      options: { enableLegacyWrappingAlgorithms: false },
    },
  ),
  ...Object.entries({ 'version 3': kms3, 'version 2': kms2 }).flatMap(([name, draft]) => [
    bad(`${name}, no context given`, CONTEXT, draft, { options: { encryptionContext: {} } }),
    bad(`${name}, another value given`, CONTEXT, draft, { options: { encryptionContext: { a: 'c' } } }),
    bad(`${name}, another name given`, CONTEXT, draft, { options: { encryptionContext: { A: 'b' } } }),
    bad(`${name}, a pair more given`, CONTEXT, draft, { options: { encryptionContext: { a: 'b', c: 'd' } } }),
    bad(
      `${name}, a pair fewer given`,
      CONTEXT,
      { ...draft, description: { a: 'b', c: 'd' } },
      { options: { encryptionContext: { a: 'b' } } },
    ),
    bad(`${name}, the reserved pair given`, CONTEXT, draft, {
      options: { encryptionContext: { a: 'b', 'aws:x-amz-cek-alg': '115' } },
    }),
    bad(`${name}, the context stored is another version's`, CONTEXT, {
      ...draft,
      bound: draft.version === 3 ? 'AES/GCM/NoPadding' : '115',
    }),
    bad(`${name}, the context stored is that of AES-CBC`, CONTEXT, { ...draft, bound: CBC }),
  ]),
  bad('version 3, no context stored', CONTEXT, kms3, { metadata: drop('x-amz-t'), options: { encryptionContext: {} } }),
  bad('version 2, no context stored', CONTEXT, kms2, {
    metadata: drop('x-amz-matdesc'),
    options: { encryptionContext: {} },
  }),
  bad('version 3, the context in the place of the materials description', CONTEXT, kms3, {
    metadata: (metadata) => ({ ...drop('x-amz-t')(metadata), 'x-amz-m': metadata['x-amz-t']! }),
  }),
  bad('kms+context relabelled as kms, with a context given', CONTEXT, kms2, {
    metadata: set(['x-amz-wrap-alg', 'kms']),
    options: { enableLegacyWrappingAlgorithms: true },
  }),
  bad('kms+context relabelled as kms, without the switch', LEGACY, kms2, { metadata: set(['x-amz-wrap-alg', 'kms']) }),
  bad('version 3, a context given for a raw key', CONTEXT, v3, { options: { encryptionContext: { a: 'b' } } }),
  bad('version 2, a context given for a raw key', CONTEXT, v2, { options: { encryptionContext: { a: 'b' } } }),
  bad('version 3, a keyring of another kind', 'ERR_NO_DATA_KEY', v3, { keyring: 'rsa' }),
  bad('version 2, a keyring of another kind', 'ERR_NO_DATA_KEY', kms2, { keyring: 'aes-256' }),
  bad('version 1, RSA, an AES key', 'ERR_NO_DATA_KEY', { version: 1, wrap: 'RSA' }, { keyring: 'aes-256' }),
  bad('version 1, AES, an RSA key', 'ERR_NO_DATA_KEY', v1, { keyring: 'rsa' }),
  bad('version 3, a KMS key of another account', 'ERR_WRAPPING_KEY', kms3, {
    keyring: 'kms in discovery mode, another account',
  }),
]
