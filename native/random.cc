#include "random.h"

#include <openssl/rand.h>

#include <cstring>

#include "evp.h"
#include "secret.h"

#if defined(_WIN32)
#include <windows.h>
// Needs the types of that one.
#include <bcrypt.h>
#else
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sealwax {
namespace {

constexpr size_t kSystemLength = 32;
constexpr size_t kCpuWords = 2;
// Bits.
constexpr unsigned kStrength = 256;
// Intel's and AMD's guides: more failures in a row mean a broken generator.
constexpr int kMaxTries = 10;
// RDSEED is drained by its own use and takes microseconds; RDRAND serves between.
constexpr unsigned kSeedEvery = 64;

bool systemRandom(uint8_t* out, size_t length) {
#if defined(_WIN32)
  return BCryptGenRandom(nullptr, out, static_cast<ULONG>(length), BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
#elif defined(__linux__)
  for (size_t done = 0; done < length;) {
    const ssize_t got = getrandom(out + done, length - done, 0);
    if (got < 0 && errno != EINTR) return false;
    if (got > 0) done += static_cast<size_t>(got);
  }
  return true;
#else
  return getentropy(out, length) == 0;
#endif
}

#if defined(__x86_64__)
// By hand, as the intrinsics need their own compiler flags. The 64-bit forms: the short ones of Zen 5's RDSEED return
// zero as a success (AMD-SB-7055). Carry tells success.
bool rdrand(uint64_t& word) {
  unsigned char success;
  asm volatile("rdrand %0; setc %1" : "=r"(word), "=qm"(success) : : "cc");
  return success != 0;
}

bool rdseed(uint64_t& word) {
  unsigned char success;
  asm volatile("rdseed %0; setc %1" : "=r"(word), "=qm"(success) : : "cc");
  return success != 0;
}

CpuRandom detect() {
  unsigned a, b, c, d;
  const bool hasRdrand = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_RDRND) != 0;
  const bool hasRdseed = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_RDSEED) != 0;
  return {hasRdseed, hasRdrand};
}
#else
CpuRandom detect() {
  return {false, false};
}
#endif

}  // namespace

CpuRandom cpuRandom() {
  static const CpuRandom found = detect();
  return found;
}

CpuSource cpuSource(bool seed) {
#if defined(__x86_64__)
  const CpuRandom has = cpuRandom();
  if (has.rdseed && (seed || !has.rdrand)) return rdseed;
  if (has.rdrand) return rdrand;
#endif
  static_cast<void>(seed);
  return nullptr;
}

size_t drawWords(CpuSource source, uint64_t* words, size_t wanted) {
  if (source == nullptr) return 0;
  size_t got = 0;
  uint64_t previous = 0;
  for (int tries = 0; got < wanted && tries < kMaxTries; tries++) {
    uint64_t word = 0;
    if (!source(word)) continue;
    // Stuck generators have been seen to give all zeros, all ones and one same word.
    if (word == 0 || word == ~uint64_t{0} || word == previous) continue;
    words[got++] = previous = word;
  }
  return got;
}

Status randomBytes(MutableSpan out) {
  static thread_local unsigned requests = 0;
  return randomBytes(out, cpuSource(requests++ % kSeedEvery == 0));
}

Status randomBytes(MutableSpan out, CpuSource source) {
  const ErrorScope errors;
  SecretBytes<kSystemLength + kCpuWords * sizeof(uint64_t)> additional;
  uint64_t words[kCpuWords] = {};
  drawWords(source, words, kCpuWords);
  std::memcpy(additional.data() + kSystemLength, words, sizeof words);
  OPENSSL_cleanse(words, sizeof words);
  EVP_RAND_CTX* const drbg = RAND_get0_private(nullptr);
  const bool filled =
      systemRandom(additional.data(), kSystemLength) && drbg != nullptr &&
      EVP_RAND_generate(drbg, out.data, out.length, kStrength, 0, additional.data(), kSystemLength + sizeof words) == 1;
  if (filled) return Status::ok;
  wipe(out);
  return Status::failed;
}

}  // namespace sealwax
