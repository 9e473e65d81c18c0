// Memory runs out at every allocation in turn, of OpenSSL's and our own, once and for good: no crash, no leak (under
// the address sanitizer), no wrong answer, nothing released, and the next call works.
#include <openssl/rand.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <new>

#include "check.h"
#include "ecdsa.h"
#include "frames.h"
#include "hkdf.h"
#include "memory.h"
#include "message.h"
#include "pool.h"
#include "random.h"
#include "secret.h"
#include "segments.h"

#ifdef __linux__
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace sealwax;

namespace {

// The n-th allocation from now on fails, and all after it where `forGood`. 0: none does.
std::atomic<long> countdown{0};
std::atomic<bool> forGood{false};
std::atomic<bool> injected{false};

bool fails() {
  if (countdown == 0) return false;
  const long left = countdown.fetch_sub(1);
  if (left > 1) return false;
  if (forGood) countdown = 1;
  injected = true;
  return true;
}

void* cryptoAllocate(size_t length, const char*, int) {
  return fails() ? nullptr : std::malloc(length);
}
void* cryptoReallocate(void* data, size_t length, const char*, int) {
  return fails() ? nullptr : std::realloc(data, length);
}
void cryptoFree(void* data, const char*, int) {
  std::free(data);
}

// By pointer: else the compiler takes the pair of `new` and `free` for a mistake.
void (*volatile release)(void*) = std::free;

}  // namespace

void* operator new(size_t length) {
  void* const data = fails() ? nullptr : std::malloc(length);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}
void* operator new(size_t length, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : std::malloc(length);
}
void* operator new[](size_t length) {
  return operator new(length);
}
void* operator new[](size_t length, const std::nothrow_t& tag) noexcept {
  return operator new(length, tag);
}
void operator delete(void* data) noexcept {
  release(data);
}
void operator delete(void* data, size_t) noexcept {
  release(data);
}
void operator delete[](void* data) noexcept {
  release(data);
}
void operator delete[](void* data, size_t) noexcept {
  release(data);
}

namespace {

constexpr size_t kFrameLength = 64;
constexpr size_t kLength = 20 * kFrameLength;
constexpr size_t kMessages = 20;

// One call of the addon's, into `out`.
struct Entry {
  const char* name;
  size_t outLength;
  std::function<Status(MutableSpan out)> call;
  // Whether it gives the same every time.
  bool repeats = true;
  // Whether its failures are always told from refusals: OpenSSL's curves do not always say that memory ran out.
  bool tells = true;
};

// As the addon does: an exception is a failure too.
Status attempt(const Entry& entry, MutableSpan out) {
  try {
    return entry.call(out);
  } catch (const std::bad_alloc&) {
    return Status::failed;
  }
}

Bytes working(const Entry& entry) {
  Bytes out(entry.outLength, 0xaa);
  check(attempt(entry, span(out)) == Status::ok, entry.name);
  return out;
}

// Whether there was an n-th allocation to fail.
bool failNth(const Entry& entry, long n, bool lasting) {
  Bytes out(entry.outLength, 0xaa);
  injected = false;
  forGood = lasting;
  countdown = n;
  const Status status = attempt(entry, span(out));
  countdown = 0;
  const bool done = status == Status::ok;
  const std::string what =
      entry.name + (" without allocation " + std::to_string(n)) + (lasting ? " and all after: " : ": ");
  check(done || (injected && (status == Status::failed || !entry.tells)), (what + "the wrong error").c_str());
  check(done || allZero(out) || out == Bytes(entry.outLength, 0xaa), (what + "something was released").c_str());
  const Bytes again = working(entry);
  check(!done || !entry.repeats || out == again, (what + "a wrong answer").c_str());
  checkNoErrorLeft();
  return injected;
}

long failEach(const Entry& entry) {
  long count = 0;
  for (const bool lasting : {false, true}) {
    for (long n = 1; failNth(entry, n, lasting); n++) count++;
  }
  return count;
}

#ifdef __linux__
// The same for the first call of a process, each time in a new one.
long failEachFirst(const Entry& entry) {
  constexpr int kInjected = 10, kNone = 11;
  for (long n = 1;; n++) {
    const pid_t child = fork();
    if (child == 0) std::_Exit(failNth(entry, n, n % 2 == 0) ? kInjected : kNone);
    int status = 0;
    check(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status), "a process ends as it should");
    if (WEXITSTATUS(status) == kNone) return n - 1;
    check(WEXITSTATUS(status) == kInjected, entry.name);
  }
}
#else
long failEachFirst(const Entry&) {
  return 1;
}
#endif

}  // namespace

int main() {
  check(CRYPTO_set_mem_functions(cryptoAllocate, cryptoReallocate, cryptoFree) == 1, "takes OpenSSL's allocations");
  // As in Node.js, OpenSSL itself is at work already: what it does not get when it first lists its algorithms, it never
  // has.
  uint8_t drawn[32];
  check(RAND_priv_bytes(drawn, sizeof drawn) == 1, "draws");
  EVP_MD_free(EVP_MD_fetch(nullptr, "MD5", nullptr));
  EVP_KEYMGMT_free(EVP_KEYMGMT_fetch(nullptr, "EC", nullptr));
  EVP_SIGNATURE_free(EVP_SIGNATURE_fetch(nullptr, "ECDSA", nullptr));

  const Bytes key(32, 1), iv(kIvLength, 2), aad(33, 3), plaintext(kLength, 4), messageId(32, 5), unstored(5, 6);
  const FrameRun frames{view(key), view(messageId), kFrameLength, 1};
  Bytes header(3 + 32 + 9 + 32, 7);
  header[0] = 2;
  const Bytes ids(kMessages * 32, 8);
  const MessageRun messages{view(key), Hash::sha512, view(header), view(unstored), kFrameLength};
  const std::vector<Span> plaintexts(kMessages, view(plaintext).sub(0, 100));
  const size_t overhead = header.size() + kTagLength;
  const size_t messageLength = overhead + bodyLength(100, kFrameLength);
  // RFC 6979, A.2.5.
  const Bytes scalar = fromHex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
  const Bytes point = fromHex("0360fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6");
  const Bytes digest(32, 10);

  const std::vector<Entry> first = {
      {"sealMessage", kLength + kTagLength,
       [&](MutableSpan out) { return sealMessage(view(key), view(iv), view(aad), view(plaintext), out); }},
      {"sealFrames", kLength + kLength / kFrameLength * kRegularFrameOverhead,
       [&](MutableSpan out) { return sealFrames(frames, view(plaintext), false, out); }},
      {"sealMessages", kMessages * messageLength,
       [&](MutableSpan out) { return sealMessages(messages, view(ids), plaintexts.data(), plaintexts.size(), out); }},
      {"hkdf", 132,
       [&](MutableSpan out) {
         const HkdfOutput outputs[] = {{view(aad), out.sub(0, 32)}, {view(iv), out.sub(32, 100)}};
         return hkdf(Hash::sha256, view(key), view(messageId), outputs, 2);
       }},
      {"a hash", 64,
       [&](MutableSpan out) {
         Digest running(Hash::sha512);
         return running.update(view(plaintext)) && running.finish(out.data) ? Status::ok : Status::failed;
       }},
      {"signDigest", kMaxSignatureLength,
       [&](MutableSpan out) {
         size_t length;
         return signDigest(Curve::p256, view(scalar), view(digest), out, length);
       },
       false, false},
      {"randomBytes", 100, [&](MutableSpan out) { return randomBytes(out); }, false},
  };
  for (const Entry& entry : first) check(failEachFirst(entry) > 0, "something was injected");

  const Bytes sealed = working(first[0]), body = working(first[1]), all = working(first[2]);
  std::vector<Span> sealedMessages;
  for (size_t i = 0; i < kMessages; i++) sealedMessages.push_back(view(all).sub(i * messageLength, messageLength));
  Bytes table(24), signature(kMaxSignatureLength);
  table[6] = kLength >> 8, table[7] = kLength & 0xff;
  size_t signatureLength;
  check(signDigest(Curve::p256, view(scalar), view(digest), span(signature), signatureLength) == Status::ok, "signs");

  std::vector<Entry> entries = first;
  entries.insert(
      entries.end(),
      {{"openMessage", kLength,
        [&](MutableSpan out) { return openMessage(view(key), view(iv), view(aad), view(sealed), out); }},
       {"runSegment", 16,
        [&](MutableSpan out) {
          return runSegment(SegmentWork::hash, view(key), view(iv), 0, view(sealed).sub(0, kLength), {}, out);
        }},
       {"combineSegments", kTagLength,
        [&](MutableSpan out) { return combineSegments(view(key), view(iv), view(aad), view(table), out); }},
       {"sealFrames and a hash", body.size(),
        [&](MutableSpan out) {
          Digest running(Hash::sha384);
          return sealFrames(frames, view(plaintext), false, out, &running);
        }},
       {"openFrames", kLength, [&](MutableSpan out) { return openFrames(frames, view(body), out).status; }},
       {"openFrames and a hash", kLength,
        [&](MutableSpan out) {
          Digest running(Hash::sha384);
          return openFrames(frames, view(body), out, &running).status;
        }},
       {"openMessages", kMessages * (messageLength - overhead - kFinalFrameOverhead),
        [&](MutableSpan out) {
          OpenedMessage opened[kMessages];
          const Status status = openMessages(messages, sealedMessages.data(), kMessages, opened, out);
          const bool whole = std::all_of(opened, opened + kMessages, [](const auto& each) { return each.used != 0; });
          if (status != Status::ok || whole) return status;
          // Those that cannot be opened are wiped; the others are right. The caller opens them once more, on their own.
          const size_t share = out.length / kMessages;
          for (size_t i = 0; i < kMessages; i++) {
            const MutableSpan one = out.sub(i * share, share);
            check(
                opened[i].used != 0 || std::all_of(one.data, one.data + share, [](uint8_t byte) { return byte == 0; }),
                "a share is wiped");
          }
          wipe(out);
          return Status::failed;
        }},
       {"verifyDigest", 0,
        [&](MutableSpan) {
          return verifyDigest(Curve::p256, view(point), view(digest), view(signature).sub(0, signatureLength));
        },
        true, false},
       {"a pool of memory", 0, [&](MutableSpan) {
          const MemoryPool::Block block = MemoryPool::instance().take(1 << 20);
          if (block.data == nullptr) return Status::failed;
          MemoryPool::instance().give(block);
          return Status::ok;
        }}});
  for (const unsigned threads : {1, 3}) {
    Pool::instance().force(threads, threads == 1 ? 0 : kFrameLength);
    for (const Entry& entry : entries) {
      const long count = failEach(entry);
      std::printf("%s, %u threads: %ld allocations failed\n", entry.name, threads, count);
    }
  }
  return 0;
}
