#pragma once
#include "digest.h"
#include "span.h"
#include "status.h"

namespace sealwax {

struct HkdfOutput {
  Span info;
  MutableSpan out;  // at most 255 hashes
};

// HKDF (RFC 5869): one extract, and an expand for each output. An empty salt counts as zeros. Outputs are wiped when
// something fails.
Status hkdf(Hash hash, Span key, Span salt, const HkdfOutput* outputs, size_t count);

}  // namespace sealwax
