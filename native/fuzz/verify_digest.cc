#include "ecdsa.h"

// Bytes of a stranger as public key and DER signature.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const uint8_t digest[48] = {1};
  const auto curve = data[0] % 2 == 0 ? sealwax::Curve::p256 : sealwax::Curve::p384;
  const sealwax::Span input{data + 2, size - 2};
  const size_t pointLength = data[1] % (input.length + 1);
  const size_t digestLength = curve == sealwax::Curve::p256 ? 32 : 48;
  sealwax::verifyDigest(curve, input.sub(0, pointLength), {digest, digestLength},
                        input.sub(pointLength, input.length - pointLength));
  return 0;
}
