#include <cstdlib>
#include <cstring>
#include <vector>

#include "frames.h"

// What was sealed opens to the same bytes, at any frame length.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1 || data[0] == 0) return 0;
  static const uint8_t key[32] = {1};
  const sealwax::FrameRun run{{key, 32}, {key, 32}, data[0], 1};
  const size_t frames = (size - 1) / run.frameLength;
  std::vector<uint8_t> sealed(size - 1 + frames * sealwax::kRegularFrameOverhead + sealwax::kFinalFrameOverhead);
  std::vector<uint8_t> opened(size - 1);
  if (sealwax::sealFrames(run, {data + 1, size - 1}, true, {sealed.data(), sealed.size()}) != sealwax::Status::ok)
    abort();
  const auto [count, status] = sealwax::openFrames(run, {sealed.data(), sealed.size()}, {opened.data(), opened.size()});
  if (count != frames || status != sealwax::Status::finalFrame) abort();
  if (count != 0 && std::memcmp(opened.data(), data + 1, count * run.frameLength) != 0) abort();
  return 0;
}
