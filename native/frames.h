#pragma once
#include "digest.h"
#include "gcm.h"
#include "span.h"
#include "status.h"

namespace sealwax {

// Bytes that a frame adds to its content.
constexpr size_t kRegularFrameOverhead = 4 + 12 + 16;
constexpr size_t kFinalFrameOverhead = 4 + 4 + 12 + 4 + 16;

// How many bytes all frames of a message take.
inline uint64_t bodyLength(uint64_t plaintextLength, uint64_t frameLength) {
  return plaintextLength + plaintextLength / frameLength * kRegularFrameOverhead + kFinalFrameOverhead;
}

// Consecutive frames of one message (FrameRun in src/engine/engine.ts).
struct FrameRun {
  Span key;
  Span messageId;
  uint64_t frameLength;
  uint64_t firstSequenceNumber;
};

struct OpenedFrames {
  uint64_t count;
  Status status;
};

// Seals `plaintext` into `out`, which is exactly as long as the frames. `out` is wiped when something fails.
// `digest`, where there is one, takes in `out` while later frames are being sealed.
Status sealFrames(const FrameRun& run, Span plaintext, bool final, MutableSpan out, Digest* digest = nullptr);

// Opens the complete regular frames at the start of `body`, as many as fit `out`, up to the first that is not the one
// expected. The same answer for every number of threads; what follows the opened frames in `out` is wiped or untouched.
// `digest`, where there is one, takes in the opened frames, whole.
OpenedFrames openFrames(const FrameRun& run, Span body, MutableSpan out, Digest* digest = nullptr);

// All frames of a short message, on this thread, under the key that `gcm` has. `out` is `bodyLength` bytes.
bool sealBody(Gcm& gcm, Span messageId, uint64_t frameLength, Span plaintext, MutableSpan out);

struct OpenedBody {
  size_t plaintextLength;
  size_t used;  // 0 where a frame is not what it must be
};

// Opens all frames of a short message, down to the final one; `body` may go on behind it. What was opened before a
// failure is the caller's to wipe.
OpenedBody openBody(Gcm& gcm, Span messageId, uint64_t frameLength, Span body, MutableSpan out);

}  // namespace sealwax
