#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

namespace sealwax {

// Bytes that someone else owns. C++17 has no std::span.
template <class T>
struct BasicSpan {
  T* data = nullptr;
  size_t length = 0;

  BasicSpan sub(size_t offset, size_t count) const { return {data + offset, count}; }
  operator BasicSpan<const T>() const { return {data, length}; }
};
using Span = BasicSpan<const uint8_t>;
using MutableSpan = BasicSpan<uint8_t>;

inline bool overlap(Span a, Span b) {
  const std::less<const uint8_t*> before;  // unlike `<`, defined for unrelated pointers
  return a.length != 0 && b.length != 0 && before(a.data, b.data + b.length) && before(b.data, a.data + a.length);
}

}  // namespace sealwax
