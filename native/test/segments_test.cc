#include "segments.h"

#include <algorithm>

#include "check.h"
#include "pool.h"

using namespace sealwax;

namespace {

Bytes pattern(size_t length) {
  Bytes bytes(length);
  for (size_t i = 0; i < length; i++) bytes[i] = static_cast<uint8_t>(i * 31 + (i >> 8));
  return bytes;
}

void putUint64(Bytes& to, uint64_t value) {
  for (int i = 56; i >= 0; i -= 8) to.push_back(static_cast<uint8_t>(value >> i));
}

// Seals in segments of so many blocks, from the last to the first; returns ciphertext and tag.
Bytes inSegments(Span key, Span iv, Span aad, const Bytes& plaintext, size_t blocks) {
  const size_t step = blocks * 16;
  Bytes sealed(plaintext.size() + 16), table;
  std::vector<Bytes> hashes((plaintext.size() + step - 1) / step, Bytes(16));
  for (size_t i = hashes.size(); i-- > 0;) {
    const size_t length = std::min(step, plaintext.size() - i * step);
    const Span part = view(plaintext).sub(i * step, length);
    const MutableSpan out = span(sealed).sub(i * step, length);
    check(runSegment(SegmentWork::seal, key, iv, i * blocks, part, out, span(hashes[i])) == Status::ok, "seals");
    Bytes hash(16), opened(length);
    check(runSegment(SegmentWork::hash, key, iv, i * blocks, out, {}, span(hash)) == Status::ok, "hashes");
    check(hash == hashes[i], "the hash of the ciphertext is the segment's");
    check(runSegment(SegmentWork::open, key, iv, i * blocks, out, span(opened), span(hash)) == Status::ok, "opens");
    check(hash == hashes[i] && std::equal(opened.begin(), opened.end(), part.data), "opens to the same");
  }
  for (size_t i = 0; i < hashes.size(); i++) {
    putUint64(table, std::min(step, plaintext.size() - i * step));
    table.insert(table.end(), hashes[i].begin(), hashes[i].end());
  }
  const MutableSpan tag = span(sealed).sub(plaintext.size(), 16);
  check(combineSegments(key, iv, aad, view(table), tag) == Status::ok, "combines");
  return sealed;
}

}  // namespace

int main() {
  const Bytes iv = pattern(12);
  for (const size_t keyLength : {16, 24, 32}) {
    const Bytes key = pattern(keyLength);
    for (const size_t length : {0, 1, 15, 16, 17, 31, 32, 33, 257, 1000, 4096, 5001}) {
      const Bytes plaintext = pattern(length), aad = pattern(length % 37);
      Bytes expected(length + 16);
      Pool::instance().force(1);
      check(sealMessage(view(key), view(iv), view(aad), view(plaintext), span(expected)) == Status::ok, "seals");
      for (const size_t blocks : {1, 2, 3, 100}) {
        check(inSegments(view(key), view(iv), view(aad), plaintext, blocks) == expected, "segments are the message");
      }
      for (const unsigned threads : {2, 3, 16}) {
        Pool::instance().force(threads, 1);
        Bytes sealed(length + 16), opened(length);
        check(sealMessage(view(key), view(iv), view(aad), view(plaintext), span(sealed)) == Status::ok, "seals");
        check(sealed == expected, "the same bytes for every number of threads");
        check(openMessage(view(key), view(iv), view(aad), view(sealed), span(opened)) == Status::ok, "opens");
        check(opened == plaintext, "to the same plaintext");
        for (const size_t place : {size_t{0}, length / 2, length, length + 15}) {
          sealed[place] ^= 4;
          opened.assign(length, 1);
          check(openMessage(view(key), view(iv), view(aad), view(sealed), span(opened)) == Status::unauthentic,
                "refuses a changed byte");
          check(allZero(opened), "wipes the output");
          sealed[place] ^= 4;
        }
      }
    }
  }

  const Bytes key = pattern(32), aad;
  Bytes block = pattern(16), out(16), hash(16), tag(16);
  const auto seal = [&](uint64_t firstBlock) {
    return runSegment(SegmentWork::seal, view(key), view(iv), firstBlock, view(block), span(out), span(hash));
  };
  constexpr uint64_t kLastBlock = 0xfffffffd;
  check(seal(kLastBlock) == Status::ok, "the last counter is 2^32 - 1");
  check(seal(kLastBlock + 1) == Status::invalid && seal(~uint64_t{0}) == Status::invalid, "and there is none after it");
  check(runSegment(SegmentWork::seal, view(key), view(iv), 0, view(block), span(block), span(hash)) ==
            Status::overlapping,
        "refuses in place");
  constexpr size_t kWraps = ~size_t{0} - 15;
  check(runSegment(SegmentWork::seal, view(key), view(iv), 1, {block.data(), kWraps}, {out.data(), kWraps},
                   span(hash)) == Status::invalid,
        "refuses an end that is past all numbers");
  Bytes shared(48);
  const auto at = [&](size_t start, size_t length) { return span(shared).sub(start, length); };
  for (const Status status : {
           runSegment(SegmentWork::seal, at(0, 32), view(iv), 0, view(block), at(31, 16), span(hash)),
           runSegment(SegmentWork::seal, view(key), at(0, 12), 0, view(block), at(11, 16), span(hash)),
           runSegment(SegmentWork::hash, at(0, 32), view(iv), 0, view(block), {}, at(31, 16)),
           runSegment(SegmentWork::seal, view(key), view(iv), 0, view(block), at(0, 16), at(15, 16)),
           combineSegments(at(0, 32), view(iv), view(aad), {}, at(31, 16)),
           combineSegments(view(key), at(0, 12), view(aad), {}, at(11, 16)),
           combineSegments(view(key), view(iv), at(0, 1), {}, at(0, 16)),
           combineSegments(view(key), view(iv), view(aad), at(0, 24), at(23, 16)),
       }) {
    check(status == Status::overlapping, "refuses outputs over what they are made of, and over each other");
  }
  check(combineSegments(view(key), view(iv), view(aad), {}, at(0, 15)) == Status::invalid, "refuses a short tag");

  // Where threads share a message, one would read what another has written.
  Pool::instance().force(2, 16);
  constexpr size_t kLength = 200;
  Bytes room(kLength + 2 * kTagLength);
  for (const size_t shift : {0, 1, 16}) {
    check(sealMessage(view(key), view(iv), view(aad), view(room).sub(shift, kLength),
                      span(room).sub(0, kLength + kTagLength)) == Status::overlapping,
          "seals no message in place");
    check(openMessage(view(key), view(iv), view(aad), view(room).sub(0, kLength + kTagLength),
                      span(room).sub(shift, kLength)) == Status::overlapping,
          "opens no message in place");
  }
  const Span wholeAad = view(room).sub(kLength, 1), wholeIv = view(room).sub(kLength, kIvLength);
  const MutableSpan sealed = span(room).sub(0, kLength + kTagLength), opened = span(room).sub(1, kLength);
  const Bytes plaintext(kLength), message(kLength + kTagLength);
  for (const Status status : {
           sealMessage(view(key), wholeIv, view(aad), view(plaintext), sealed),
           sealMessage(view(key), view(iv), wholeAad, view(plaintext), sealed),
           openMessage(view(key), wholeIv, view(aad), view(message), opened),
           openMessage(view(key), view(iv), wholeAad, view(message), opened),
       }) {
    check(status == Status::overlapping, "nor over its IV or AAD");
  }
  // Nothing is touched: there need not be so much.
  constexpr size_t kTooLong = kMaxGcmLength + 1;
  check(sealMessage(view(key), view(iv), view(aad), {room.data(), kTooLong}, {room.data(), kTooLong + kTagLength}) ==
            Status::invalid,
        "seals no more than one IV may");
  check(openMessage(view(key), view(iv), view(aad), {room.data(), kTooLong + kTagLength}, {room.data(), kTooLong}) ==
            Status::invalid,
        "opens no more than one IV may seal");

  Bytes table;
  for (const uint64_t length : {17, 16}) {
    putUint64(table, length);
    table.insert(table.end(), hash.begin(), hash.end());
  }
  check(combineSegments(view(key), view(iv), view(aad), view(table), span(tag)) == Status::invalid,
        "only the last segment ends inside a block");
  std::fill_n(table.begin(), 8, 0xf0);
  check(combineSegments(view(key), view(iv), view(aad), view(table), span(tag)) == Status::invalid, "refuses too much");
  table.pop_back();
  check(combineSegments(view(key), view(iv), view(aad), view(table), span(tag)) == Status::invalid,
        "refuses part rows");
  checkNoErrorLeft();
  return 0;
}
