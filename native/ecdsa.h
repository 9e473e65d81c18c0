#pragma once
#include "span.h"
#include "status.h"

namespace sealwax {

enum class Curve { p256 = 0, p384 = 1 };

// The most bytes of a DER signature.
constexpr size_t kMaxSignatureLength = 104;

// Signs a hash under the private scalar, big-endian and as long as the curve's order. `signature` has room for
// kMaxSignatureLength bytes and `length` says how many the DER form took.
Status signDigest(Curve curve, Span scalar, Span digest, MutableSpan signature, size_t& length);

// Whether the DER signature is that of the hash under the point, compressed or not: ok, unauthentic, or invalid where
// there is no such point. Only the one DER form of a signature counts.
Status verifyDigest(Curve curve, Span point, Span digest, Span signature);

}  // namespace sealwax
