#pragma once
// GCM's field, GF(2^128) (NIST SP 800-38D, 6.3). Bits are coefficients from the left: multiplying by x shifts right,
// and x^128 = 1 + x + x^2 + x^7. No branch and no address depends on an element.
#include <openssl/crypto.h>

#include <cstdint>

namespace sealwax {

// Every copy is cleansed when it goes.
struct Element {
  uint64_t high = 0;  // coefficients 0 to 63
  uint64_t low = 0;   // coefficients 64 to 127

  Element() = default;
  Element(uint64_t h, uint64_t l) : high(h), low(l) {}
  Element(const Element&) = default;
  Element& operator=(const Element&) = default;
  ~Element() { OPENSSL_cleanse(this, sizeof *this); }

  static Element parse(const uint8_t* block) {
    Element element;
    for (int i = 0; i < 8; i++) {
      element.high = element.high << 8 | block[i];
      element.low = element.low << 8 | block[8 + i];
    }
    return element;
  }

  void serialize(uint8_t* block) const {
    for (int i = 0; i < 8; i++) {
      block[i] = static_cast<uint8_t>(high >> (56 - 8 * i));
      block[8 + i] = static_cast<uint8_t>(low >> (56 - 8 * i));
    }
  }
};

// Addition.
inline Element operator^(const Element& a, const Element& b) {
  return {a.high ^ b.high, a.low ^ b.low};
}

inline Element operator*(const Element& a, const Element& b) {
  constexpr uint64_t kReduction = uint64_t{0xe1} << 56;
  uint64_t high = 0, low = 0, shiftedHigh = b.high, shiftedLow = b.low;
  for (int i = 0; i < 128; i++) {
    const uint64_t taken = 0 - ((i < 64 ? a.high : a.low) >> (63 - i % 64) & 1);
    high ^= shiftedHigh & taken;
    low ^= shiftedLow & taken;
    const uint64_t carry = 0 - (shiftedLow & 1);
    shiftedLow = shiftedLow >> 1 | shiftedHigh << 63;
    shiftedHigh = shiftedHigh >> 1 ^ (kReduction & carry);
  }
  return {high, low};
}

// Bit i of 32 becomes bit 2i + 1 of 64: coefficients move to twice their place.
inline uint64_t spread(uint64_t half) {
  half = (half | half << 16) & 0x0000ffff0000ffff;
  half = (half | half << 8) & 0x00ff00ff00ff00ff;
  half = (half | half << 4) & 0x0f0f0f0f0f0f0f0f;
  half = (half | half << 2) & 0x3333333333333333;
  half = (half | half << 1) & 0x5555555555555555;
  return half << 1;
}

// Linear, so some 20 times faster than a product.
inline Element square(const Element& a) {
  const uint64_t second = spread(a.low >> 32), first = spread(a.low & 0xffffffff);
  // The coefficients from 128 on, times 1 + x + x^2 + x^7; what that moves past 127 goes round again.
  const uint64_t past = first << 63 ^ first << 62 ^ first << 57;
  const uint64_t top = second ^ past;
  const uint64_t high = top ^ top >> 1 ^ top >> 2 ^ top >> 7;
  const uint64_t low = first ^ (first >> 1 | second << 63) ^ (first >> 2 | second << 62) ^ (first >> 7 | second << 57);
  return {spread(a.high >> 32) ^ high, spread(a.high & 0xffffffff) ^ low};
}

// a^-1 = a^(2^128 - 2), by Itoh and Tsujii's chain; 0 for 0.
inline Element inverse(const Element& a) {
  Element chain = a;  // a^(2^n - 1)
  for (int n = 1; n < 127; n = 2 * n + 1) {
    Element shifted = chain;
    for (int i = 0; i < n; i++) shifted = square(shifted);
    chain = square(shifted * chain) * a;
  }
  return square(chain);
}

// The exponent is public.
inline Element power(const Element& a, uint64_t exponent) {
  Element result(uint64_t{1} << 63, 0);
  int bit = 63;
  while (bit > 0 && exponent >> bit == 0) bit--;
  for (; bit >= 0; bit--) {
    result = square(result);
    if (exponent >> bit & 1) result = result * a;
  }
  return result;
}

}  // namespace sealwax
