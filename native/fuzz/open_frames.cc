#include <vector>

#include "frames.h"

// Bytes of a stranger as a message body: whatever they are, nothing is read or written out of bounds.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const uint8_t key[32] = {1};
  const sealwax::FrameRun run{{key, 32}, {key, data[0] % 2 == 0 ? size_t{16} : size_t{32}}, data[1], 1};
  std::vector<uint8_t> out(size);
  sealwax::openFrames(run, {data + 2, size - 2}, {out.data(), out.size()});
  return 0;
}
