#pragma once
#include <openssl/err.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "span.h"

namespace sealwax {

using Bytes = std::vector<uint8_t>;

// Ends the test program where something is not as it must be.
inline void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  std::exit(1);
}

inline MutableSpan span(Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}
inline Span view(const Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}

inline Bytes fromHex(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

inline bool allZero(const Bytes& bytes, size_t from = 0) {
  for (size_t i = from; i < bytes.size(); i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

inline void checkNoErrorLeft() {
  check(ERR_peek_error() == 0, "OpenSSL's error queue is empty");
}

}  // namespace sealwax
