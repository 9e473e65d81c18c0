// Whole messages; src/format/message-header.ts is the definition of their headers.
//
//     version 1    01 || 80 || u16 suite || 16-byte message ID || … || 12-byte IV || 16-byte tag || frames
//     version 2    02 || u16 suite || 32-byte message ID || … || 32-byte commitment || 16-byte tag || frames
#include "message.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "frames.h"
#include "gcm.h"
#include "hkdf.h"
#include "pool.h"
#include "secret.h"

namespace sealwax {
namespace {

constexpr size_t kCommitmentLength = 32;
constexpr size_t kMaxKeyLength = 32;
constexpr uint64_t kMaxUint32 = 0xffffffff;

// What a thread takes at a time, and from how much on it is of help (bench/batch.ts): a message costs some 4 us, a
// waking 40 us.
constexpr size_t kGrain = 8;
constexpr size_t kShare = 16;

constexpr uint8_t kDeriveKey[] = {'D', 'E', 'R', 'I', 'V', 'E', 'K', 'E', 'Y'};
constexpr uint8_t kCommitKey[] = {'C', 'O', 'M', 'M', 'I', 'T', 'K', 'E', 'Y'};

// Where things stand in a header's body.
struct Layout {
  size_t suite, messageId, messageIdLength, commitment, commitmentLength, ivLength;

  explicit Layout(Span header) {
    const bool first = header.length != 0 && header.data[0] == 1;
    suite = first ? 2 : 1;
    messageId = suite + 2;
    messageIdLength = first ? 16 : 32;
    commitmentLength = first ? 0 : kCommitmentLength;
    commitment = header.length - commitmentLength;
    ivLength = first ? kIvLength : 0;
  }

  size_t authLength() const { return ivLength + kTagLength; }
  size_t restOffset() const { return messageId + messageIdLength; }
};

bool valid(const MessageRun& run) {
  const Layout layout(run.header);
  return isKeyLength(run.dataKey.length) && run.header.length >= layout.restOffset() + layout.commitmentLength &&
         (run.header.data[0] == 1 || (run.header.data[0] == 2 && run.kdf)) && run.frameLength >= 1 &&
         run.frameLength <= kMaxUint32;
}

// algorithm-suites.md "Key Derivation", "Key Commitment". `commitment` is empty for suites without.
bool deriveKey(const MessageRun& run, Span suite, Span messageId, MutableSpan key, MutableSpan commitment) {
  if (!run.kdf) {
    std::memcpy(key.data, run.dataKey.data, key.length);
    return true;
  }
  const bool commits = commitment.length != 0;
  const Span rest = commits ? Span{kDeriveKey, sizeof kDeriveKey} : messageId;
  uint8_t info[2 + 16];
  std::memcpy(info, suite.data, suite.length);
  std::memcpy(info + suite.length, rest.data, rest.length);
  const HkdfOutput outputs[] = {{{info, suite.length + rest.length}, key},
                                {{kCommitKey, sizeof kCommitKey}, commitment}};
  return hkdf(*run.kdf, run.dataKey, commits ? messageId : Span{}, outputs, commits ? 2 : 1) == Status::ok;
}

// What the tag of a header is over, in one piece. No exception may leave a thread of the pool.
class HeaderAad {
 public:
  HeaderAad(Span body, Span unstored) : span_(body) {
    if (unstored.length == 0) return;
    const size_t length = body.length + unstored.length;
    both_.reset(new (std::nothrow) uint8_t[length]);
    if (both_) std::copy_n(unstored.data, unstored.length, std::copy_n(body.data, body.length, both_.get()));
    span_ = {both_.get(), length};
  }
  // False where memory ran out.
  explicit operator bool() const { return span_.data != nullptr; }
  operator Span() const { return span_; }

 private:
  std::unique_ptr<uint8_t[]> both_;
  Span span_;
};

bool sealOne(const MessageRun& run, const Layout& layout, Span messageId, Span plaintext, MutableSpan out) {
  const size_t headerLength = run.header.length;
  const MutableSpan header = out.sub(0, headerLength);
  std::memcpy(header.data, run.header.data, headerLength);
  std::memcpy(header.data + layout.messageId, messageId.data, messageId.length);
  SecretBytes<kMaxKeyLength> room;
  const MutableSpan key = room.first(run.dataKey.length);
  if (!deriveKey(run, header.sub(layout.suite, 2), messageId, key,
                 header.sub(layout.commitment, layout.commitmentLength))) {
    return false;
  }
  Gcm gcm(Gcm::Direction::seal, key);
  // Version 1 carries the header's IV, zeros; version 2 does not.
  const uint8_t iv[kIvLength] = {};
  std::memset(out.data + headerLength, 0, layout.ivLength);
  const MutableSpan tag = out.sub(headerLength + layout.ivLength, kTagLength);
  const size_t start = headerLength + layout.authLength();
  const HeaderAad aad(header, run.unstored);
  return aad && gcm.seal({iv, kIvLength}, aad, {}, tag) == Status::ok &&
         sealBody(gcm, messageId, run.frameLength, plaintext, out.sub(start, out.length - start));
}

// A header is what it must be where it is the expected one but for message ID and commitment: its tag tells the rest.
bool expected(const MessageRun& run, const Layout& layout, Span message) {
  const size_t rest = layout.restOffset();
  return message.length >= run.header.length + layout.authLength() &&
         std::memcmp(message.data, run.header.data, layout.messageId) == 0 &&
         std::memcmp(message.data + rest, run.header.data + rest, layout.commitment - rest) == 0;
}

bool openOne(const MessageRun& run, const Layout& layout, Span message, MutableSpan out, OpenedMessage& opened) {
  if (message.length > kMaxUint32 || !expected(run, layout, message)) return false;
  const Span header = message.sub(0, run.header.length);
  const Span messageId = header.sub(layout.messageId, layout.messageIdLength);
  SecretBytes<kMaxKeyLength> room;
  const MutableSpan key = room.first(run.dataKey.length);
  SecretBytes<kCommitmentLength> commitment;
  if (!deriveKey(run, header.sub(layout.suite, 2), messageId, key, commitment.first(layout.commitmentLength)) ||
      CRYPTO_memcmp(commitment.data(), header.data + layout.commitment, layout.commitmentLength) != 0) {
    return false;
  }
  Gcm gcm(Gcm::Direction::open, key);
  const uint8_t zeros[kIvLength] = {};
  const uint8_t* const iv = layout.ivLength == 0 ? zeros : message.data + header.length;
  const Span tag = message.sub(header.length + layout.ivLength, kTagLength);
  const HeaderAad aad(header, run.unstored);
  if (!aad || gcm.open({iv, kIvLength}, aad, tag, {}) != Status::ok) return false;

  const size_t start = header.length + layout.authLength();
  const OpenedBody body = openBody(gcm, messageId, run.frameLength, message.sub(start, message.length - start), out);
  if (body.used == 0) return false;
  opened = {static_cast<uint32_t>(body.plaintextLength), static_cast<uint32_t>(start + body.used)};
  return true;
}

// Runs `work` for every index below `count`, on as many threads as pay.
template <class Work>
void forEach(size_t count, const Work& work) {
  Pool& pool = Pool::instance();
  const bool forced = pool.forcedGrain() != 0;
  const size_t grain = forced ? 1 : kGrain;
  const size_t shares = std::min<size_t>(pool.threads(), forced ? count : count / kShare);
  std::atomic<size_t> next{0};
  const std::function<void()> share = [&] {
    for (size_t from; (from = next.fetch_add(grain, std::memory_order_relaxed)) < count;) {
      for (size_t i = from; i < std::min(count, from + grain); i++) work(i);
    }
  };
  pool.run(shares < 2 ? 0 : static_cast<unsigned>(shares - 1), share);
}

// Where each share of an output starts, and where the last one ends.
template <class LengthOf>
std::vector<size_t> startsOf(size_t count, const LengthOf& lengthOf) {
  std::vector<size_t> starts(count + 1);
  for (size_t i = 0; i < count; i++) starts[i + 1] = starts[i] + lengthOf(i);
  return starts;
}

bool overlapsInput(const MessageRun& run, const Span* inputs, size_t count, Span out) {
  return overlap(run.dataKey, out) || overlap(run.header, out) || overlap(run.unstored, out) ||
         std::any_of(inputs, inputs + count, [&](Span input) { return overlap(input, out); });
}

}  // namespace

Status sealMessages(const MessageRun& run, Span messageIds, const Span* plaintexts, size_t count, MutableSpan out) {
  const Layout layout(run.header);
  if (!valid(run) || messageIds.length != count * layout.messageIdLength) return Status::invalid;
  const size_t headerLength = run.header.length + layout.authLength();
  for (size_t i = 0; i < count; i++) {
    if (plaintexts[i].length / run.frameLength >= kMaxUint32) return Status::invalid;
  }
  const std::vector<size_t> starts =
      startsOf(count, [&](size_t i) { return headerLength + bodyLength(plaintexts[i].length, run.frameLength); });
  if (out.length != starts[count]) return Status::invalid;
  if (overlapsInput(run, plaintexts, count, out) || overlap(messageIds, out)) return Status::overlapping;

  std::atomic<bool> failed{false};
  forEach(count, [&](size_t i) {
    const Span messageId = messageIds.sub(i * layout.messageIdLength, layout.messageIdLength);
    if (!sealOne(run, layout, messageId, plaintexts[i], out.sub(starts[i], starts[i + 1] - starts[i]))) {
      failed = true;
    }
  });
  if (!failed) return Status::ok;
  wipe(out);
  return Status::failed;
}

Status openMessages(const MessageRun& run, const Span* messages, size_t count, OpenedMessage* opened, MutableSpan out) {
  const Layout layout(run.header);
  if (!valid(run)) return Status::invalid;
  const size_t overhead = run.header.length + layout.authLength() + kFinalFrameOverhead;
  const std::vector<size_t> starts =
      startsOf(count, [&](size_t i) { return messages[i].length < overhead ? 0 : messages[i].length - overhead; });
  if (out.length != starts[count]) return Status::invalid;
  if (overlapsInput(run, messages, count, out)) return Status::overlapping;

  forEach(count, [&](size_t i) {
    const MutableSpan share = out.sub(starts[i], starts[i + 1] - starts[i]);
    opened[i] = {0, 0};
    if (!openOne(run, layout, messages[i], share, opened[i])) wipe(share);
  });
  return Status::ok;
}

}  // namespace sealwax
