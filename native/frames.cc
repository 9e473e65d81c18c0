// Frames of a message body; src/format/frame.ts is the definition of their layout.
//
//     regular frame   u32 sequence number || 12-byte IV || frame-length bytes || 16-byte tag
//     final frame     ff ff ff ff || u32 sequence number || 12-byte IV || u32 content length || content || 16-byte tag
#include "frames.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "gcm.h"
#include "pool.h"
#include "secret.h"

namespace sealwax {
namespace {

constexpr uint64_t kMaxUint32 = 0xffffffff;
constexpr size_t kRegularHeaderLength = 4 + kIvLength;
constexpr size_t kFinalHeaderLength = 4 + 4 + kIvLength + 4;
constexpr uint8_t kFinalMarker[4] = {0xff, 0xff, 0xff, 0xff};

// What a frame costs besides its bytes, in bytes: setting the IV, the AAD and the tag.
constexpr uint64_t kFrameCost = 1024;
// What a thread takes at a time: little enough that all end together.
constexpr uint64_t kGrain = 64 << 10;
// A thread is woken for no less than this. Waking it takes 30 to 40 us, in which one AES-NI core seals 150 KiB and one
// AVX-512 core 500 KiB: with 4 KiB frames two threads overtake one between 256 and 512 KiB (bench/engine.ts).
constexpr uint64_t kShare = 256 << 10;

void putUint32(uint8_t* to, uint64_t value) {
  for (int i = 0; i < 4; i++) to[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

// A frame's IV: its sequence number, big-endian in 12 bytes.
void putIv(uint8_t* to, uint64_t sequenceNumber) {
  std::memset(to, 0, kIvLength - 4);
  putUint32(to + kIvLength - 4, sequenceNumber);
}

// message-body-aad.md: message ID || content string || u32 sequence number || u64 content length
class FrameAad {
 public:
  FrameAad(Span messageId, const char* content) {
    std::memcpy(bytes_, messageId.data, messageId.length);
    std::memcpy(bytes_ + messageId.length, content, std::strlen(content));
    fixed_ = messageId.length + std::strlen(content);
  }

  Span of(uint64_t sequenceNumber, uint64_t contentLength) {
    putUint32(bytes_ + fixed_, sequenceNumber);
    putUint32(bytes_ + fixed_ + 4, contentLength >> 32);
    putUint32(bytes_ + fixed_ + 8, contentLength);
    return {bytes_, fixed_ + 12};
  }

 private:
  uint8_t bytes_[32 + 34 + 12];
  size_t fixed_;
};

constexpr char kRegularContent[] = "AWSKMSEncryptionClient Frame";
constexpr char kFinalContent[] = "AWSKMSEncryptionClient Final Frame";

// Hands out the frames of a run in ascending pieces, to any number of threads.
class Pieces {
 public:
  Pieces(uint64_t frames, uint64_t frameLength) : frames_(frames) {
    const uint64_t forced = Pool::instance().forcedGrain();
    const uint64_t cost = frameLength + kFrameCost;
    step_ = std::max<uint64_t>(1, forced != 0 ? forced / frameLength : kGrain / cost);
    const uint64_t pieces = (frames + step_ - 1) / step_;
    shares_ = forced != 0 ? pieces : std::min(pieces, frames * cost / kShare);
  }

  // How many threads are of help besides the calling one.
  unsigned helpers() const {
    if (shares_ < 2) return 0;
    return static_cast<unsigned>(std::min<uint64_t>(Pool::instance().threads(), shares_) - 1);
  }

  bool take(uint64_t& from, uint64_t& to) {
    from = next_.fetch_add(step_, std::memory_order_relaxed);
    to = std::min(from + step_, frames_);
    return from < frames_;
  }

 private:
  const uint64_t frames_;
  uint64_t step_;
  uint64_t shares_;
  std::atomic<uint64_t> next_{0};
};

bool valid(const FrameRun& run) {
  const size_t id = run.messageId.length;
  return isKeyLength(run.key.length) && (id == 16 || id == 32) && run.frameLength >= 1 &&
         run.frameLength <= kMaxUint32 && run.firstSequenceNumber >= 1 && run.firstSequenceNumber <= kMaxUint32;
}

bool overlapsInput(const FrameRun& run, Span input, Span out) {
  return overlap(input, out) || overlap(run.key, out) || overlap(run.messageId, out);
}

Status openFrame(Gcm& gcm, FrameAad& aad, uint64_t sequenceNumber, Span frame, MutableSpan out) {
  if (std::memcmp(frame.data, kFinalMarker, 4) == 0) return Status::finalFrame;
  uint8_t header[kRegularHeaderLength];
  putUint32(header, sequenceNumber);
  putIv(header + 4, sequenceNumber);
  if (sequenceNumber > kMaxUint32 || std::memcmp(frame.data, header, 4) != 0) return Status::outOfOrder;
  if (std::memcmp(frame.data + 4, header + 4, kIvLength) != 0) return Status::wrongIv;
  return gcm.open({header + 4, kIvLength}, aad.of(sequenceNumber, out.length),
                  frame.sub(kRegularHeaderLength, out.length + kTagLength), out);
}

// The first frame that could not be opened, and why: the lowest one, whichever thread meets it when.
class FirstFailure {
 public:
  explicit FirstFailure(uint64_t frames) : packed_(frames << 4) {}

  uint64_t frame() const { return packed_.load(std::memory_order_relaxed) >> 4; }
  Status status() const { return static_cast<Status>(packed_.load(std::memory_order_relaxed) & 15); }

  void report(uint64_t frame, Status status) {
    const uint64_t mine = frame << 4 | static_cast<uint64_t>(status);
    uint64_t lowest = packed_.load(std::memory_order_relaxed);
    while (mine < lowest && !packed_.compare_exchange_weak(lowest, mine, std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<uint64_t> packed_;
};

}  // namespace

Status sealFrames(const FrameRun& run, Span plaintext, bool final, MutableSpan out) {
  if (!valid(run)) return Status::invalid;
  const uint64_t regular = plaintext.length / run.frameLength;
  const size_t rest = plaintext.length % run.frameLength;
  const uint64_t frames = regular + (final ? 1 : 0);
  if (!final && rest != 0) return Status::invalid;
  // The last number there is must be a final frame's: in place of a regular one's it would be the final marker.
  if (run.firstSequenceNumber + regular > kMaxUint32) return Status::invalid;
  if (out.length != plaintext.length + regular * kRegularFrameOverhead + (final ? kFinalFrameOverhead : 0)) {
    return Status::invalid;
  }
  if (overlapsInput(run, plaintext, out)) return Status::overlapping;

  const auto sealFrame = [&](Gcm& gcm, FrameAad& aad, uint64_t frame) {
    const uint64_t sequenceNumber = run.firstSequenceNumber + frame;
    const bool last = frame == regular;
    const size_t content = last ? rest : run.frameLength;
    const size_t headerLength = last ? kFinalHeaderLength : kRegularHeaderLength;
    uint8_t* const header = out.data + frame * (run.frameLength + kRegularFrameOverhead);
    uint8_t* const iv = header + (last ? 8 : 4);
    if (last) {
      std::memcpy(header, kFinalMarker, 4);
      putUint32(header + 20, content);
    }
    putUint32(iv - 4, sequenceNumber);
    putIv(iv, sequenceNumber);
    return gcm.seal({iv, kIvLength}, aad.of(sequenceNumber, content), plaintext.sub(frame * run.frameLength, content),
                    {header + headerLength, content + kTagLength});
  };

  Pieces pieces(frames, run.frameLength);
  std::atomic<bool> failed{false};
  Pool::instance().run(pieces.helpers(), [&] {
    uint64_t from, to;
    if (!pieces.take(from, to)) return;
    Gcm gcm(Gcm::Direction::seal, run.key);
    FrameAad regularAad(run.messageId, kRegularContent);
    FrameAad finalAad(run.messageId, kFinalContent);
    do {
      for (uint64_t frame = from; frame < to && !failed; frame++) {
        if (sealFrame(gcm, frame == regular ? finalAad : regularAad, frame) != Status::ok) failed = true;
      }
    } while (!failed && pieces.take(from, to));
  });
  if (!failed) return Status::ok;
  wipe(out);
  return Status::failed;
}

OpenedFrames openFrames(const FrameRun& run, Span body, MutableSpan out) {
  if (!valid(run)) return {0, Status::invalid};
  if (overlapsInput(run, body, out)) return {0, Status::overlapping};
  const size_t frameBytes = run.frameLength + kRegularFrameOverhead;
  const uint64_t frames = std::min(body.length / frameBytes, out.length / run.frameLength);

  Pieces pieces(frames, run.frameLength);
  FirstFailure failure(frames);
  Pool::instance().run(pieces.helpers(), [&] {
    uint64_t from, to;
    if (!pieces.take(from, to)) return;
    Gcm gcm(Gcm::Direction::open, run.key);
    FrameAad aad(run.messageId, kRegularContent);
    do {
      // Frames after a failure need no opening; those before it do, as one of them may fail too.
      for (uint64_t frame = from; frame < to && frame < failure.frame(); frame++) {
        const Status status =
            openFrame(gcm, aad, run.firstSequenceNumber + frame, body.sub(frame * frameBytes, frameBytes),
                      out.sub(frame * run.frameLength, run.frameLength));
        if (status != Status::ok) failure.report(frame, status);
      }
    } while (from < failure.frame() && pieces.take(from, to));
  });

  const uint64_t opened = failure.frame();
  const Status status = failure.status();
  wipe(out.sub(opened * run.frameLength, (frames - opened) * run.frameLength));
  if (status == Status::failed || status == Status::overlapping || status == Status::invalid) {
    wipe(out.sub(0, opened * run.frameLength));
    return {0, Status::failed};
  }
  // The final frame may be shorter than a regular one.
  const size_t next = opened * frameBytes;
  if (status == Status::ok && body.length - next >= 4 && std::memcmp(body.data + next, kFinalMarker, 4) == 0) {
    return {opened, Status::finalFrame};
  }
  return {opened, status};
}

}  // namespace sealwax
