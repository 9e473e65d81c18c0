// Frames of a message body; src/format/frame.ts is the definition of their layout.
//
//     regular frame   u32 sequence number || 12-byte IV || frame-length bytes || 16-byte tag
//     final frame     ff ff ff ff || u32 sequence number || 12-byte IV || u32 content length || content || 16-byte tag
#include "frames.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

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

uint64_t readUint32(const uint8_t* from) {
  return uint64_t{from[0]} << 24 | uint64_t{from[1]} << 16 | uint64_t{from[2]} << 8 | from[3];
}

// What stands before the content of a frame; returns its length. The IV is the 12 bytes behind the sequence number.
size_t putHeader(uint8_t* to, bool last, uint64_t sequenceNumber, uint64_t contentLength) {
  uint8_t* const number = last ? to + 4 : to;
  if (last) {
    std::memcpy(to, kFinalMarker, 4);
    putUint32(to + 20, contentLength);
  }
  putUint32(number, sequenceNumber);
  putIv(number + 4, sequenceNumber);
  return last ? kFinalHeaderLength : kRegularHeaderLength;
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

  // Whether they are too few for another thread to be of help.
  bool few() const { return shares_ < 2; }

  // Has one thread follow the others.
  void follow() {
    followed_ = true;
    done_.reset(new std::atomic<bool>[(frames_ + step_ - 1) / step_]());
  }

  // How many threads are of help besides the calling one. To follow is a share of work too.
  unsigned helpers() const {
    const uint64_t shares = shares_ == 0 ? 0 : shares_ + (followed_ ? 1 : 0);
    if (shares < 2) return 0;
    return static_cast<unsigned>(std::min<uint64_t>(Pool::instance().threads(), shares) - 1);
  }

  bool take(uint64_t& from, uint64_t& to) {
    from = next_.fetch_add(step_, std::memory_order_relaxed);
    return bounds(from, to);
  }

  // Where the piece from `from` on ends; false after the last.
  bool bounds(uint64_t from, uint64_t& to) const {
    to = std::min(from + step_, frames_);
    return from < frames_;
  }

  void setDone(uint64_t from) {
    if (done_) done_[from / step_].store(true, std::memory_order_release);
  }
  bool done(uint64_t from) const { return done_[from / step_].load(std::memory_order_acquire); }

 private:
  const uint64_t frames_;
  bool followed_ = false;
  uint64_t step_;
  uint64_t shares_;
  std::unique_ptr<std::atomic<bool>[]> done_;
  std::atomic<uint64_t> next_{0};
};

// Called for each piece in order, when it is done; false ends it.
using Follow = std::function<bool(uint64_t from, uint64_t to)>;

// Has all pieces worked on, by a `Worker(job)` on each thread. One thread follows, where there is something to, and
// works like the others while the next piece is not done. A piece that was taken is always done some time, and pieces
// are taken in order: so `follow` comes to the first one that failed.
template <class Worker, class Job>
void runPieces(Pieces& pieces, Job& job, const Follow& follow) {
  std::atomic<bool> followed{!follow};
  Pool::instance().run(pieces.helpers(), [&] {
    std::optional<Worker> worker;
    const auto workOn = [&] {
      uint64_t from, to;
      if (!pieces.take(from, to)) return false;
      if (!worker) worker.emplace(job);
      const bool more = worker->run(from, to);
      pieces.setDone(from);
      return more;
    };
    if (followed.exchange(true)) {
      while (workOn()) {
      }
      return;
    }
    uint64_t from = 0, to;
    while (pieces.bounds(from, to)) {
      if (pieces.done(from)) {
        if (!follow(from, to)) return;
        from = to;
      } else if (!workOn()) {
        std::this_thread::yield();
      }
    }
  });
}

bool valid(const FrameRun& run) {
  const size_t id = run.messageId.length;
  return isKeyLength(run.key.length) && (id == 16 || id == 32) && run.frameLength >= 1 &&
         run.frameLength <= kMaxUint32 && run.firstSequenceNumber >= 1 && run.firstSequenceNumber <= kMaxUint32;
}

bool overlapsInput(const FrameRun& run, Span input, Span out) {
  return overlap(input, out) || overlap(run.key, out) || overlap(run.messageId, out);
}

// `to` has room for the whole frame.
Status sealFrame(Gcm& gcm, FrameAad& aad, bool last, uint64_t sequenceNumber, Span content, uint8_t* to) {
  const size_t headerLength = putHeader(to, last, sequenceNumber, content.length);
  return gcm.seal({to + (last ? 8 : 4), kIvLength}, aad.of(sequenceNumber, content.length), content,
                  {to + headerLength, content.length + kTagLength});
}

Status openFrame(Gcm& gcm, FrameAad& aad, uint64_t sequenceNumber, Span frame, MutableSpan out) {
  if (std::memcmp(frame.data, kFinalMarker, 4) == 0) return Status::finalFrame;
  uint8_t header[kRegularHeaderLength];
  putHeader(header, false, sequenceNumber, out.length);
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

struct SealJob {
  const FrameRun& run;
  Span plaintext;
  MutableSpan out;
  std::atomic<bool> failed{false};
};

class SealWorker {
 public:
  explicit SealWorker(SealJob& job)
      : job_(job),
        gcm_(Gcm::Direction::seal, job.run.key),
        regularAad_(job.run.messageId, kRegularContent),
        finalAad_(job.run.messageId, kFinalContent) {}

  bool run(uint64_t from, uint64_t to) {
    for (uint64_t frame = from; frame < to && !job_.failed; frame++) {
      if (seal(frame) != Status::ok) job_.failed = true;
    }
    return !job_.failed;
  }

 private:
  // The frame after all regular ones is the final one.
  Status seal(uint64_t frame) {
    const uint64_t frameLength = job_.run.frameLength;
    const bool last = frame == job_.plaintext.length / frameLength;
    const size_t content = last ? job_.plaintext.length % frameLength : frameLength;
    return sealFrame(gcm_, last ? finalAad_ : regularAad_, last, job_.run.firstSequenceNumber + frame,
                     job_.plaintext.sub(frame * frameLength, content),
                     job_.out.data + frame * (frameLength + kRegularFrameOverhead));
  }

  SealJob& job_;
  Gcm gcm_;
  FrameAad regularAad_;
  FrameAad finalAad_;
};

struct OpenJob {
  const FrameRun& run;
  Span body;
  MutableSpan out;
  FirstFailure failure;
};

class OpenWorker {
 public:
  explicit OpenWorker(OpenJob& job)
      : job_(job), gcm_(Gcm::Direction::open, job.run.key), aad_(job.run.messageId, kRegularContent) {}

  bool run(uint64_t from, uint64_t to) {
    const uint64_t frameLength = job_.run.frameLength, frameBytes = frameLength + kRegularFrameOverhead;
    // Frames after a failure need no opening; those before it do, as one of them may fail too.
    for (uint64_t frame = from; frame < to && frame < job_.failure.frame(); frame++) {
      const Status status =
          openFrame(gcm_, aad_, job_.run.firstSequenceNumber + frame, job_.body.sub(frame * frameBytes, frameBytes),
                    job_.out.sub(frame * frameLength, frameLength));
      if (status != Status::ok) job_.failure.report(frame, status);
    }
    return from < job_.failure.frame();
  }

 private:
  OpenJob& job_;
  Gcm gcm_;
  FrameAad aad_;
};

}  // namespace

Status sealFrames(const FrameRun& run, Span plaintext, bool final, MutableSpan out, Digest* digest) {
  if (!valid(run)) return Status::invalid;
  const uint64_t regular = plaintext.length / run.frameLength;
  if (!final && plaintext.length % run.frameLength != 0) return Status::invalid;
  // The last number there is must be a final frame's: in place of a regular one's it would be the final marker.
  if (run.firstSequenceNumber + regular > kMaxUint32) return Status::invalid;
  if (out.length != plaintext.length + regular * kRegularFrameOverhead + (final ? kFinalFrameOverhead : 0)) {
    return Status::invalid;
  }
  if (overlapsInput(run, plaintext, out)) return Status::overlapping;

  const uint64_t frames = regular + (final ? 1 : 0);
  Pieces pieces(frames, run.frameLength);
  SealJob job{run, plaintext, out};
  Follow follow;
  // Nothing comes after the final frame that could be done meanwhile.
  const bool later = digest != nullptr && !final && pieces.few();
  if (digest != nullptr && !later) {
    pieces.follow();
    follow = [&](uint64_t from, uint64_t to) {
      const uint64_t frameBytes = run.frameLength + kRegularFrameOverhead;
      const size_t start = from * frameBytes, end = to == frames ? out.length : to * frameBytes;
      if (!job.failed && !digest->update(out.sub(start, end - start))) job.failed = true;
      return !job.failed;
    };
  }
  runPieces<SealWorker>(pieces, job, follow);
  if (later && !job.failed && !digest->updateLater(out)) job.failed = true;
  if (!job.failed) return Status::ok;
  wipe(out);
  return Status::failed;
}

OpenedFrames openFrames(const FrameRun& run, Span body, MutableSpan out, Digest* digest) {
  if (!valid(run)) return {0, Status::invalid};
  if (overlapsInput(run, body, out)) return {0, Status::overlapping};
  const uint64_t frameBytes = run.frameLength + kRegularFrameOverhead;
  const uint64_t frames = std::min(body.length / frameBytes, out.length / run.frameLength);

  Pieces pieces(frames, run.frameLength);
  OpenJob job{run, body, out, FirstFailure(frames)};
  Follow follow;
  const bool later = digest != nullptr && pieces.few();
  if (digest != nullptr && !later) {
    pieces.follow();
    follow = [&](uint64_t from, uint64_t to) {
      const uint64_t end = std::min(to, job.failure.frame());
      if (!digest->update(body.sub(from * frameBytes, (end - from) * frameBytes))) {
        job.failure.report(from, Status::failed);
        return false;
      }
      return end == to;
    };
  }
  runPieces<OpenWorker>(pieces, job, follow);
  if (later && !digest->updateLater(body.sub(0, job.failure.frame() * frameBytes)))
    job.failure.report(0, Status::failed);

  const Status status = job.failure.status();
  const bool failed = status == Status::failed || status == Status::overlapping || status == Status::invalid;
  const uint64_t opened = failed ? 0 : job.failure.frame();
  wipe(out.sub(opened * run.frameLength, (frames - opened) * run.frameLength));
  if (failed) return {0, Status::failed};
  // The final frame may be shorter than a regular one.
  const size_t next = opened * frameBytes;
  if (body.length - next >= 4 && std::memcmp(body.data + next, kFinalMarker, 4) == 0) {
    return {opened, Status::finalFrame};
  }
  return {opened, status};
}

bool sealBody(Gcm& gcm, Span messageId, uint64_t frameLength, Span plaintext, MutableSpan out) {
  const uint64_t regular = plaintext.length / frameLength;
  FrameAad regularAad(messageId, kRegularContent), finalAad(messageId, kFinalContent);
  for (uint64_t frame = 0; frame <= regular; frame++) {
    const bool last = frame == regular;
    const Span content = plaintext.sub(frame * frameLength, last ? plaintext.length % frameLength : frameLength);
    uint8_t* const to = out.data + frame * (frameLength + kRegularFrameOverhead);
    if (sealFrame(gcm, last ? finalAad : regularAad, last, 1 + frame, content, to) != Status::ok) return false;
  }
  return true;
}

OpenedBody openBody(Gcm& gcm, Span messageId, uint64_t frameLength, Span body, MutableSpan out) {
  FrameAad regularAad(messageId, kRegularContent), finalAad(messageId, kFinalContent);
  const uint64_t frameBytes = frameLength + kRegularFrameOverhead;
  uint64_t sequenceNumber = 1;
  size_t used = 0, opened = 0;
  for (; body.length - used >= frameBytes && out.length - opened >= frameLength; sequenceNumber++) {
    const Status status =
        openFrame(gcm, regularAad, sequenceNumber, body.sub(used, frameBytes), out.sub(opened, frameLength));
    if (status == Status::finalFrame) break;
    if (status != Status::ok) return {0, 0};
    used += frameBytes;
    opened += frameLength;
  }

  const Span last = body.sub(used, body.length - used);
  if (last.length < kFinalFrameOverhead) return {0, 0};
  const size_t contentLength = readUint32(last.data + kFinalHeaderLength - 4);
  const size_t room = std::min<size_t>(last.length - kFinalFrameOverhead, out.length - opened);
  uint8_t header[kFinalHeaderLength];
  putHeader(header, true, sequenceNumber, contentLength);
  if (contentLength > frameLength || contentLength > room || std::memcmp(last.data, header, sizeof header) != 0 ||
      gcm.open({header + 8, kIvLength}, finalAad.of(sequenceNumber, contentLength),
               last.sub(kFinalHeaderLength, contentLength + kTagLength),
               out.sub(opened, contentLength)) != Status::ok) {
    return {0, 0};
  }
  return {opened + contentLength, used + kFinalFrameOverhead + contentLength};
}

}  // namespace sealwax
