#include "frames.h"

#include "check.h"
#include "pool.h"

using namespace sealwax;

namespace {

constexpr size_t kFrameLength = 100;
constexpr size_t kFrames = 50;
constexpr size_t kFrameBytes = kFrameLength + kRegularFrameOverhead;

}  // namespace

namespace {

Bytes finished(Digest& digest) {
  Bytes out(digest.length());
  check(digest.finish(out.data()), "finishes");
  return out;
}

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

      Digest whole(Hash::sha384), followed(Hash::sha384), opening(Hash::sha384);
      Bytes again(sealed.size());
      check(sealFrames(run, view(plaintext), true, span(again), &followed) == Status::ok && again == sealed,
            "the same bytes with a hash that follows");
      check(openFrames(run, view(sealed), span(opened), &opening).count == kFrames, "opens with a hash that follows");
      check(whole.update(view(sealed)), "hashes");
      check(opening.update(view(sealed).sub(kFrames * kFrameBytes, sealed.size() - kFrames * kFrameBytes)), "hashes");
      const Bytes expected = finished(whole);
      check(finished(followed) == expected, "follows what is sealed");
      check(finished(opening) == expected, "follows what is opened");

      // Two broken frames: the earlier one counts.
      sealed[30 * kFrameBytes + 20] ^= 1;
      sealed[40 * kFrameBytes + 3] ^= 1;
      Digest before(Hash::sha384), start(Hash::sha384);
      const OpenedFrames some = openFrames(run, view(sealed), span(opened), &before);
      check(start.update(view(sealed).sub(0, 30 * kFrameBytes)), "hashes");
      check(finished(before) == finished(start), "follows to the first broken frame");
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
