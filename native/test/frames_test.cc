#include "frames.h"

#include "check.h"
#include "pool.h"

using namespace sealwax;

namespace {

constexpr size_t kFrameLength = 100;
constexpr size_t kFrames = 50;
constexpr size_t kFrameBytes = kFrameLength + kRegularFrameOverhead;

}  // namespace

int main() {
  const Bytes key(32, 1);
  const Bytes messageId(32, 2);
  const FrameRun run{view(key), view(messageId), kFrameLength, 1};
  Bytes plaintext(kFrames * kFrameLength + 7);
  for (size_t i = 0; i < plaintext.size(); i++) plaintext[i] = static_cast<uint8_t>(i * 31);

  Bytes first;
  for (const unsigned threads : {1, 2, 3, 7, 16}) {
    for (const size_t grain : {1, 250, 100000}) {
      Pool::instance().force(threads, grain);
      Bytes sealed(plaintext.size() + kFrames * kRegularFrameOverhead + kFinalFrameOverhead);
      check(sealFrames(run, view(plaintext), true, span(sealed)) == Status::ok, "seals");
      if (first.empty()) first = sealed;
      check(sealed == first, "the same bytes for every number of threads");

      Bytes opened(kFrames * kFrameLength);
      const OpenedFrames all = openFrames(run, view(sealed), span(opened));
      check(all.count == kFrames && all.status == Status::finalFrame, "opens up to the final frame");
      check(std::equal(opened.begin(), opened.end(), plaintext.begin()), "to the same plaintext");

      // Two broken frames: the earlier one counts.
      sealed[30 * kFrameBytes + 20] ^= 1;
      sealed[40 * kFrameBytes + 3] ^= 1;
      const OpenedFrames some = openFrames(run, view(sealed), span(opened));
      check(some.count == 30 && some.status == Status::unauthentic, "stops at the first broken frame");
      check(allZero(opened, 30 * kFrameLength), "wipes the rest");
    }
  }

  Bytes out(kFrameBytes);
  Bytes content(kFrameLength);
  const FrameRun last{view(key), view(messageId), kFrameLength, 0xffffffff};
  check(sealFrames(last, view(content), false, span(out)) == Status::invalid, "the last number is a final frame's");
  const FrameRun none{view(key), view(messageId), 0, 1};
  check(sealFrames(none, view(content), false, span(out)) == Status::invalid, "refuses a frame length of 0");
  check(openFrames(none, view(out), span(content)).status == Status::invalid, "refuses a frame length of 0");
  MutableSpan memory = span(out);
  check(sealFrames(run, memory.sub(0, kFrameLength), false, memory) == Status::overlapping, "refuses in place");
  check(openFrames(run, memory, memory.sub(1, kFrameLength)).status == Status::overlapping, "refuses in place");
  checkNoErrorLeft();
  return 0;
}
