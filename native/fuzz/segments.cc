#include "segments.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "gcm.h"

// A message sealed in segments, cut where the first byte says, is the one that a single operation makes; and any bytes
// as a table of segments are taken or refused.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  static const uint8_t key[32] = {1};
  static const uint8_t iv[12] = {2};
  const sealwax::Span keySpan{key, 32}, ivSpan{iv, 12}, input{data + 1, size - 1};

  uint8_t tag[16];
  sealwax::combineSegments(keySpan, ivSpan, {}, input, {tag, 16});

  const size_t step = 16 * (size_t{data[0]} + 1);
  std::vector<uint8_t> sealed(input.length), whole(input.length + 16), table;
  for (size_t at = 0; at < input.length; at += step) {
    const size_t length = input.length - at < step ? input.length - at : step;
    for (int shift = 56; shift >= 0; shift -= 8) table.push_back(static_cast<uint8_t>(uint64_t{length} >> shift));
    table.resize(table.size() + 16);
    const auto status = sealwax::runSegment(sealwax::SegmentWork::seal, keySpan, ivSpan, at / 16, input.sub(at, length),
                                            {sealed.data() + at, length}, {&table[table.size() - 16], 16});
    if (status != sealwax::Status::ok) abort();
  }
  const sealwax::Span tableSpan{table.data(), table.size()};
  if (sealwax::combineSegments(keySpan, ivSpan, {}, tableSpan, {tag, 16}) != sealwax::Status::ok) abort();
  if (sealwax::sealMessage(keySpan, ivSpan, {}, input, {whole.data(), whole.size()}) != sealwax::Status::ok) abort();
  if (input.length != 0 && std::memcmp(sealed.data(), whole.data(), input.length) != 0) abort();
  if (std::memcmp(tag, whole.data() + input.length, 16) != 0) abort();
  return 0;
}
