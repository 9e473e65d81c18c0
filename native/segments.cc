// With H = AES(K, 0) and J(n) = IV || be32(1 + n), a segment that starts at block n is sealed by EVP under the 16-byte
// IV V from which EVP computes J(n): ((V * H) + len(0, 16)) * H = J(n). Its tag T gives the segment's GHASH X, as T =
// (X + len(0, bytes)) * H + AES(K, J(n)). GHASH is a polynomial in H, so those of neighbours combine.
#include "segments.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <vector>

#include "pool.h"
#include "secret.h"

namespace sealwax {
namespace {

constexpr size_t kBlockLength = 16;
// What a thread takes at a time: enough that its field operations, 1 to 2 us, do not count.
constexpr size_t kPiece = 512 << 10;
// From here on two threads overtake one (bench/engine.ts): by half with AES-NI, by little with AVX-512, whose one core
// seals this in 100 us.
constexpr size_t kCutOver = 2 << 20;

const EVP_CIPHER* blockCipherFor(size_t keyLength) {
  static Cipher aes128("AES-128-ECB"), aes192("AES-192-ECB"), aes256("AES-256-ECB");
  return (keyLength == 16 ? aes128 : keyLength == 24 ? aes192 : aes256).get();
}

// AES(K, block)
bool encryptBlock(Span key, const uint8_t* block, uint8_t* out) {
  const CipherLease context;
  int written = 0;
  return context.get() != nullptr &&
         EVP_EncryptInit_ex2(context.get(), blockCipherFor(key.length), key.data, nullptr, nullptr) == 1 &&
         EVP_CIPHER_CTX_set_padding(context.get(), 0) == 1 &&
         EVP_EncryptUpdate(context.get(), out, &written, block, kBlockLength) == 1 && written == int{kBlockLength};
}

// len(aad, ciphertext) in bits, as a block
Element lengths(uint64_t aad, uint64_t ciphertext) {
  return {aad * 8, ciphertext * 8};
}

uint64_t blocksOf(uint64_t length) {
  return (length + kBlockLength - 1) / kBlockLength;
}

// Forced pieces are whole blocks too.
size_t pieceLength() {
  const size_t forced = Pool::instance().forcedGrain();
  return forced == 0 ? kPiece : blocksOf(forced) * kBlockLength;
}

bool paysToSplit(size_t length) {
  const size_t least = Pool::instance().forcedGrain() == 0 ? kCutOver : pieceLength() + 1;
  return length >= least && Pool::instance().threads() > 1;
}

bool validMessage(Span key, Span iv) {
  return isKeyLength(key.length) && iv.length == kIvLength;
}

uint64_t readUint64(const uint8_t* from) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | from[i];
  return value;
}

}  // namespace

SegmentedGcm::SegmentedGcm(Span key, Span iv) : key_(key), iv_(iv) {
  const ErrorScope errors;
  const uint8_t zero[kBlockLength] = {};
  SecretBytes<kBlockLength> h, mask;
  // A tag over nothing is the mask itself.
  ready_ = encryptBlock(key, zero, h.data()) &&
           Gcm(Gcm::Direction::seal, key).sealDetached(iv, {}, {}, nullptr, mask.data());
  h_ = Element::parse(h.data());
  inverse_ = inverse(h_);
  mask_ = Element::parse(mask.data());
}

// What one thread does to the pieces it takes.
class SegmentedGcm::Worker {
 public:
  Worker(const SegmentedGcm& message, SegmentWork work)
      : message_(message),
        work_(work),
        gcm_(work == SegmentWork::open ? Gcm::Direction::open : Gcm::Direction::seal, message.key_, kBlockLength) {}

  bool run(uint64_t block, Span input, uint8_t* out, Element& hash) {
    const Element inverse = message_.inverse_;
    ((message_.counter(block) * inverse ^ lengths(0, kBlockLength)) * inverse).serialize(iv_.data());
    SecretBytes<kTagLength> tag, mask;
    // The tag over nothing is AES(K, J(n)).
    if (!tagOf({}, {}, nullptr, mask.data())) return false;
    // As AAD, bytes have the same hash.
    const bool asAad = work_ == SegmentWork::hash;
    if (!(asAad ? tagOf(input, {}, nullptr, tag.data()) : tagOf({}, input, out, tag.data()))) return false;
    const Element length = asAad ? lengths(input.length, 0) : lengths(0, input.length);
    hash = (Element::parse(tag.data()) ^ Element::parse(mask.data())) * inverse ^ length;
    return true;
  }

 private:
  bool tagOf(Span aad, Span input, uint8_t* out, uint8_t* tag) {
    const Span iv = iv_.first(kBlockLength);
    return work_ == SegmentWork::open ? gcm_.decryptUnverified(iv, input, out, tag)
                                      : gcm_.sealDetached(iv, aad, input, out, tag);
  }

  const SegmentedGcm& message_;
  const SegmentWork work_;
  Gcm gcm_;
  SecretBytes<kBlockLength> iv_;
};

Status SegmentedGcm::run(SegmentWork work, uint64_t firstBlock, Span input, uint8_t* out, Element& hash) const try {
  if (!ready_) return Status::failed;
  const size_t step = pieceLength();
  const size_t count = (input.length + step - 1) / step;
  const auto lengthOf = [&](size_t index) { return std::min(step, input.length - index * step); };
  std::vector<Element> hashes(count);
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const size_t helpers = paysToSplit(input.length) ? std::min<size_t>(Pool::instance().threads(), count) - 1 : 0;
  Pool::instance().run(static_cast<unsigned>(helpers), [&] {
    size_t index = next++;
    if (index >= count) return;
    Worker worker(*this, work);
    for (; index < count && !failed; index = next++) {
      const size_t start = index * step;
      uint8_t* const to = work == SegmentWork::hash ? nullptr : out + start;
      const Span piece = input.sub(start, lengthOf(index));
      if (!worker.run(firstBlock + start / kBlockLength, piece, to, hashes[index])) failed = true;
    }
  });
  if (failed) return Status::failed;

  hash = Element();
  const Element whole = power(h_, step / kBlockLength);
  for (size_t index = 0; index < count; index++) {
    const size_t length = lengthOf(index);
    hash = hash * (length == step ? whole : power(h_, blocksOf(length))) ^ hashes[index];
  }
  return Status::ok;
} catch (const std::bad_alloc&) {  // the callers have outputs to wipe
  return Status::failed;
}

void SegmentedGcm::append(Element& hash, const Element& segment, uint64_t length) const {
  hash = hash * power(h_, blocksOf(length)) ^ segment;
}

Status SegmentedGcm::tag(Span aad, const Element& hash, uint64_t length, uint8_t* tag) const {
  Element all;
  const Status status = run(SegmentWork::hash, 0, aad, nullptr, all);
  if (status != Status::ok) return status;
  append(all, hash, length);
  (((all ^ lengths(aad.length, length)) * h_) ^ mask_).serialize(tag);
  return Status::ok;
}

Element SegmentedGcm::counter(uint64_t block) const {
  uint8_t bytes[kBlockLength] = {};
  std::copy_n(iv_.data, kIvLength, bytes);
  return Element::parse(bytes) ^ Element(0, 1 + block);
}

Status sealMessage(Span key, Span iv, Span aad, Span plaintext, MutableSpan out) {
  if (!validMessage(key, iv)) return Status::invalid;
  if (!paysToSplit(plaintext.length)) return Gcm(Gcm::Direction::seal, key).seal(iv, aad, plaintext, out);
  if (plaintext.length > kMaxGcmLength || out.length != plaintext.length + kTagLength) return Status::invalid;
  if (overlap(plaintext, out) || overlap(aad, out) || overlap(iv, out)) return Status::overlapping;

  const SegmentedGcm message(key, iv);
  Element hash;
  Status status = message.run(SegmentWork::seal, 0, plaintext, out.data, hash);
  if (status == Status::ok) status = message.tag(aad, hash, plaintext.length, out.data + plaintext.length);
  if (status != Status::ok) wipe(out);
  return status;
}

Status openMessage(Span key, Span iv, Span aad, Span sealed, MutableSpan out) {
  if (!validMessage(key, iv)) return Status::invalid;
  if (!paysToSplit(out.length)) return Gcm(Gcm::Direction::open, key).open(iv, aad, sealed, out);
  if (out.length > kMaxGcmLength || sealed.length != out.length + kTagLength) return Status::invalid;
  if (overlap(sealed, out) || overlap(aad, out) || overlap(iv, out)) return Status::overlapping;

  const SegmentedGcm message(key, iv);
  Element hash;
  SecretBytes<kTagLength> tag;
  Status status = message.run(SegmentWork::open, 0, sealed.sub(0, out.length), out.data, hash);
  if (status == Status::ok) status = message.tag(aad, hash, out.length, tag.data());
  if (status == Status::ok && CRYPTO_memcmp(tag.data(), sealed.data + out.length, kTagLength) != 0) {
    status = Status::unauthentic;
  }
  if (status != Status::ok) wipe(out);
  return status;
}

Status runSegment(SegmentWork work, Span key, Span iv, uint64_t firstBlock, Span input, MutableSpan out,
                  MutableSpan hash) {
  const size_t outLength = work == SegmentWork::hash ? 0 : input.length;
  if (!validMessage(key, iv) || firstBlock > kMaxGcmLength / kBlockLength || input.length > kMaxGcmLength ||
      firstBlock * kBlockLength + input.length > kMaxGcmLength || out.length != outLength ||
      hash.length != kBlockLength) {
    return Status::invalid;
  }
  for (const Span written : {Span(out), Span(hash)}) {
    if (overlap(written, key) || overlap(written, iv) || overlap(written, input)) return Status::overlapping;
  }
  if (overlap(out, hash)) return Status::overlapping;

  const SegmentedGcm message(key, iv);
  Element x;
  const Status status = message.run(work, firstBlock, input, out.data, x);
  if (status == Status::ok) {
    x.serialize(hash.data);
  } else {
    wipe(out);
  }
  return status;
}

Status combineSegments(Span key, Span iv, Span aad, Span table, MutableSpan tag) {
  constexpr size_t kRow = 8 + kBlockLength;
  if (!validMessage(key, iv) || table.length % kRow != 0 || tag.length != kTagLength) return Status::invalid;
  if (overlap(tag, key) || overlap(tag, iv) || overlap(tag, aad) || overlap(tag, table)) return Status::overlapping;

  const SegmentedGcm message(key, iv);
  Element hash;
  uint64_t total = 0;
  for (size_t at = 0; at < table.length; at += kRow) {
    const uint64_t length = readUint64(table.data + at);
    if (total % kBlockLength != 0 || length > kMaxGcmLength - total) return Status::invalid;
    message.append(hash, Element::parse(table.data + at + 8), length);
    total += length;
  }
  return message.tag(aad, hash, total, tag.data);
}

}  // namespace sealwax
