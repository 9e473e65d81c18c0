import { parsePkcs11Uri } from '../../src/keyrings/pkcs11-uri'
import type { Target } from './fuzzer'

export const pkcs11Uri: Target = {
  seeds: [
    'pkcs11:token=my%20token;object=key;id=%01%ff;type=secret-key?module-path=/usr/lib/p11.so',
    'pkcs11:serial=1;slot-id=0;manufacturer=m;model=x?pin-source=file:/pin',
  ].map((uri) => Buffer.from(uri)),
  words: ['%00', '%c3', '%', 'pin-value=1', '__proto__=x', ';token=', '?', '&', 'constructor=1'],
  run: (input) => parsePkcs11Uri(Buffer.from(input).toString('latin1')),
  // The URI is an option of the caller's.
  refusal: (error) => error instanceof RangeError,
}
