#include "field.h"

#include "check.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(address, length) static_cast<void>(address)
#define VALGRIND_MAKE_MEM_DEFINED(address, length) static_cast<void>(address)
#endif

using namespace sealwax;

namespace {

bool operator==(const Element& a, const Element& b) {
  return a.high == b.high && a.low == b.low;
}

Element element(const char* hex) {
  return Element::parse(fromHex(hex).data());
}

// SplitMix64: the same elements in every run.
Element next() {
  static uint64_t state = 1;
  const auto word = [] {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  };
  const uint64_t high = word();
  return {high, word()};
}

}  // namespace

int main() {
  const Element zero, one(uint64_t{1} << 63, 0), x(uint64_t{1} << 62, 0);

  // The GCM specification, test case 2: X1 = C * H, and (X1 + len) * H is the GHASH.
  const Element h = element("66e94bd4ef8a2c3b884cfa59ca342b2e");
  const Element x1 = element("0388dace60b6a392f328c2b971b2fe78") * h;
  check(x1 == element("5e2ec746917062882c85b0685353deb7"), "multiplies as the specification does");
  check((x1 ^ Element(0, 128)) * h == element("f38cbb1ad69223dcc3457ae5b6b0f885"), "hashes as the specification does");

  check(power(x, 128) == element("e1000000000000000000000000000000"), "x^128 is 1 + x + x^2 + x^7");
  Element powerOfX = one;
  for (int i = 0; i < 256; i++, powerOfX = powerOfX * x) {
    check(square(powerOfX) == powerOfX * powerOfX, "squares every power of x");
    check(power(x, i) == powerOfX, "raises x");
    check(inverse(powerOfX) * powerOfX == one, "inverts every power of x");
  }
  check(inverse(zero) == zero && inverse(one) == one && power(zero, 0) == one, "0 and 1");

  for (int i = 0; i < 500; i++) {
    const Element a = next(), b = next(), c = next();
    check(a * b == b * a, "products commute");
    check((a * b) * c == a * (b * c), "products associate");
    check(a * (b ^ c) == (a * b ^ a * c), "products distribute");
    check(a * one == a && a * zero == zero, "1 and 0 are what they are");
    check(square(a) == a * a, "squares are products");
    check(a * inverse(a) == one, "an inverse inverts");
    check(power(a, 1) == a && power(a, 5) == a * a * a * a * a, "powers are products");
    check(power(a, 1000 + i) == power(a, 1000) * power(a, i), "powers add up");
    Element frobenius = a;
    for (int n = 0; n < 128; n++) frobenius = square(frobenius);
    check(frobenius == a, "a^(2^128) is a");
    uint8_t block[16];
    a.serialize(block);
    check(Element::parse(block) == a, "parses what it wrote");
  }

  // Under valgrind, a branch or an address that depends on these is an error.
  Element secret = next(), other = next();
  const Element expected = inverse(secret * other) ^ power(other, 77);
  VALGRIND_MAKE_MEM_UNDEFINED(&secret, sizeof secret);
  VALGRIND_MAKE_MEM_UNDEFINED(&other, sizeof other);
  Element result = inverse(secret * other) ^ power(other, 77);
  VALGRIND_MAKE_MEM_DEFINED(&result, sizeof result);
  check(result == expected, "the same of secrets");
  return 0;
}
