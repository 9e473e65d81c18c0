#pragma once
#include "evp.h"
#include "field.h"
#include "gcm.h"
#include "span.h"
#include "status.h"

namespace sealwax {

enum class SegmentWork { seal, open, hash };

// One AES-GCM message (a key and an IV) in segments, which are sealed or opened in any order. A segment starts at a
// block and only the last one may end inside a block. Each yields its GHASH, a secret; together they make the tag.
// Every call is spread over the pool, and the bytes are the same as those of one serial operation.
//
// Whoever calls sees to it that a position is sealed once, and that nothing opened is released before the tag was
// compared.
class SegmentedGcm {
 public:
  // `key` is 16, 24 or 32 bytes, `iv` 12; both are the caller's, for as long as this lives.
  SegmentedGcm(Span key, Span iv);

  // Runs one segment; `out` is as long as `input`, and not used where only a hash is wanted.
  Status run(SegmentWork work, uint64_t firstBlock, Span input, uint8_t* out, Element& hash) const;

  // Appends to `hash`, the GHASH of what comes before, a segment of `length` bytes.
  void append(Element& hash, const Element& segment, uint64_t length) const;
  // The tag of a message of `length` bytes, whose GHASH is `hash`.
  Status tag(Span aad, const Element& hash, uint64_t length, uint8_t* tag) const;

 private:
  class Worker;
  Element counter(uint64_t block) const;

  const Span key_;
  const Span iv_;
  bool ready_ = false;
  Element h_;
  Element inverse_;
  Element mask_;  // AES(K, J0), which covers the tag
};

// One AES-GCM message in one call, over the pool where that pays. As Gcm::seal and Gcm::open.
Status sealMessage(Span key, Span iv, Span aad, Span plaintext, MutableSpan out);
Status openMessage(Span key, Span iv, Span aad, Span sealed, MutableSpan out);

// One segment, in one call: the rest of SegmentedGcm's promises, checked. `hash` is 16 bytes.
Status runSegment(SegmentWork work, Span key, Span iv, uint64_t firstBlock, Span input, MutableSpan out,
                  MutableSpan hash);

// The tag from all segments of a message in order: `table` holds u64 length || 16-byte hash for each.
Status combineSegments(Span key, Span iv, Span aad, Span table, MutableSpan tag);

}  // namespace sealwax
