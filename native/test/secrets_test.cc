// Under valgrind, a branch or an address that depends on a key, a plaintext or what is derived from them is an error.
#include <new>

#include "check.h"
#include "frames.h"
#include "hkdf.h"
#include "message.h"
#include "pool.h"
#include "secret.h"
#include "segments.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_UNDEFINED(address, length) static_cast<void>(address)
#define VALGRIND_MAKE_MEM_DEFINED(address, length) static_cast<void>(address)
#endif

using namespace sealwax;

namespace {

Bytes secret(size_t length, uint8_t value) {
  Bytes bytes(length, value);
  VALGRIND_MAKE_MEM_UNDEFINED(bytes.data(), bytes.size());
  return bytes;
}

// What was sealed is public.
Bytes published(Bytes bytes) {
  VALGRIND_MAKE_MEM_DEFINED(bytes.data(), bytes.size());
  return bytes;
}

}  // namespace

int main() {
  const Bytes iv(kIvLength, 2), aad(33, 3), messageId(32, 5);
  for (const size_t keyLength : {16, 24, 32}) {
    const Bytes key = secret(keyLength, 1), plaintext = secret(1000, 4), known(keyLength, 1), knownPlaintext(1000, 4);
    for (const size_t grain : {0, 64}) {
      Pool::instance().force(grain == 0 ? 1 : 2, grain);
      Bytes sealed(1000 + kTagLength), expected(sealed);
      check(sealMessage(view(key), view(iv), view(aad), view(plaintext), span(sealed)) == Status::ok, "seals");
      check(sealMessage(view(known), view(iv), view(aad), view(knownPlaintext), span(expected)) == Status::ok, "seals");
      check(published(sealed) == expected, "the same as of what is no secret");

      const FrameRun run{view(key), view(messageId), 100, 1};
      Bytes frames(1000 + 10 * kRegularFrameOverhead);
      Digest digest(Hash::sha384);
      check(sealFrames(run, view(plaintext), false, span(frames), &digest) == Status::ok, "seals frames");

      Bytes hash(16), table(24), tag(kTagLength);
      check(runSegment(SegmentWork::hash, view(key), view(iv), 0, view(published(sealed)).sub(0, 1000), {},
                       span(hash)) == Status::ok,
            "hashes");
      table[6] = 1000 >> 8, table[7] = 1000 & 0xff;
      std::copy(hash.begin(), hash.end(), table.begin() + 8);
      check(combineSegments(view(key), view(iv), view(aad), view(table), span(tag)) == Status::ok, "combines");
      check(published(tag) == Bytes(expected.end() - kTagLength, expected.end()), "to the tag");
    }
  }

  const Bytes dataKey = secret(32, 6), plaintext = secret(100, 7), unstored(5, 8);
  Bytes header(3 + 32 + 9 + 32, 9);
  header[0] = 2;
  for (const Hash hash : {Hash::sha256, Hash::sha384, Hash::sha512}) {
    const MessageRun run{view(dataKey), hash, view(header), view(unstored), 40};
    const Span one = view(plaintext);
    Bytes sealed(header.size() + kTagLength + bodyLength(100, 40));
    check(sealMessages(run, view(messageId), &one, 1, span(sealed)) == Status::ok, "seals a message");
    Bytes derived(77);
    const HkdfOutput output = {view(aad), span(derived)};
    check(hkdf(hash, view(dataKey), view(messageId), &output, 1) == Status::ok, "derives");
  }

  // What a secret was in outlives it.
  alignas(SecretBytes<32>) volatile uint8_t room[sizeof(SecretBytes<32>)];
  auto* held = new (const_cast<uint8_t*>(room)) SecretBytes<32>;
  for (volatile uint8_t& byte : room) byte = 0xa5;
  held->~SecretBytes();
  for (const volatile uint8_t& byte : room) check(byte == 0, "a secret is wiped where its scope ends");

  // Whether two secrets are the same is public, and nothing else about them.
  for (const uint8_t value : {uint8_t{1}, uint8_t{2}}) {
    const Bytes a = secret(32, 1), b = secret(32, value);
    int different = CRYPTO_memcmp(a.data(), b.data(), a.size());
    VALGRIND_MAKE_MEM_DEFINED(&different, sizeof different);
    check((different == 0) == (value == 1), "compares");
  }
  return 0;
}
