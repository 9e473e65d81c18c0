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

      // Nothing follows a hash that is finished.
      opened.assign(opened.size(), 1);
      check(openFrames(run, view(first), span(opened), &before).status == Status::failed, "opens nothing unhashed");
      check(allZero(opened), "and leaves nothing");
      check(sealFrames(run, view(plaintext), true, span(again), &before) == Status::failed, "seals nothing unhashed");
      check(allZero(again), "and leaves nothing");
    }
  }

  Bytes out(kFrameBytes);
  Bytes content(kFrameLength);
  const FrameRun last{view(key), view(messageId), kFrameLength, 0xffffffff};
  check(sealFrames(last, view(content), false, span(out)) == Status::invalid, "the last number is a final frame's");
  const uint64_t tooMuch = uint64_t{1} << 32;
  for (const FrameRun& wrong :
       {FrameRun{view(key), view(messageId), 0, 1}, FrameRun{view(key), view(messageId), tooMuch, 1},
        FrameRun{view(key), view(messageId), kFrameLength, 0},
        FrameRun{view(key), view(messageId), kFrameLength, tooMuch},
        FrameRun{view(key), view(messageId).sub(0, 17), kFrameLength, 1},
        FrameRun{view(key).sub(0, 31), view(messageId), kFrameLength, 1}}) {
    check(sealFrames(wrong, view(content), false, span(out)) == Status::invalid, "seals in no such run");
    check(openFrames(wrong, view(out), span(content)).status == Status::invalid, "opens in no such run");
  }
  MutableSpan memory = span(out);
  check(sealFrames(run, memory.sub(0, kFrameLength), false, memory) == Status::overlapping, "refuses in place");
  check(openFrames(run, memory, memory.sub(1, kFrameLength)).status == Status::overlapping, "refuses in place");
  for (const FrameRun& over : {FrameRun{memory.sub(0, 32), view(messageId), kFrameLength, 1},
                               FrameRun{view(key), memory.sub(kFrameBytes - 32, 32), kFrameLength, 1}}) {
    check(sealFrames(over, view(content), false, memory) == Status::overlapping, "refuses over key and message ID");
    check(openFrames(over, view(first), memory).status == Status::overlapping, "refuses over key and message ID");
  }
  checkNoErrorLeft();
  return 0;
}
