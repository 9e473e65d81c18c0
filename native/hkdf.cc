#include "hkdf.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "evp.h"
#include "secret.h"

namespace sealwax {
namespace {

constexpr size_t kMaxBlockLength = 128;

// HMAC (RFC 2104) under one key. OpenSSL's own HKDF takes twice the time (2.9 us to 1.5 us, SHA-512), even with
// everything fetched before: it allocates and looks up parameters by name with every call.
class Hmac {
 public:
  Hmac(EVP_MD_CTX* context, const EVP_MD* digest, size_t hashLength, size_t blockLength)
      : context_(context), digest_(digest), hashLength_(hashLength), blockLength_(blockLength) {}

  bool setKey(Span key) {
    SecretBytes<kMaxBlockLength> block;
    if (key.length > blockLength_) {
      if (!hash({key}, block.data())) return false;
    } else if (key.length != 0) {
      std::memcpy(block.data(), key.data, key.length);
    }
    // All of the room, however long a block is: loops of a fixed length become a few wide instructions.
    for (size_t i = 0; i < kMaxBlockLength; i++) {
      inner_.data()[i] = block.data()[i] ^ 0x36;
      outer_.data()[i] = block.data()[i] ^ 0x5c;
    }
    return true;
  }

  bool mac(std::initializer_list<Span> message, uint8_t* out) {
    SecretBytes<kMaxHashLength> digest;
    return start(inner_) && finish(message, digest.data()) && start(outer_) && finish({digest.first(hashLength_)}, out);
  }

 private:
  bool hash(std::initializer_list<Span> message, uint8_t* out) {
    return EVP_DigestInit_ex2(context_, digest_, nullptr) == 1 && finish(message, out);
  }

  bool start(const SecretBytes<kMaxBlockLength>& pad) {
    return EVP_DigestInit_ex2(context_, digest_, nullptr) == 1 &&
           EVP_DigestUpdate(context_, pad.data(), blockLength_) == 1;
  }

  bool finish(std::initializer_list<Span> message, uint8_t* out) {
    for (const Span& part : message) {
      if (part.length != 0 && EVP_DigestUpdate(context_, part.data, part.length) != 1) return false;
    }
    return EVP_DigestFinal_ex(context_, out, nullptr) == 1;
  }

  EVP_MD_CTX* const context_;
  const EVP_MD* const digest_;
  const size_t hashLength_;
  const size_t blockLength_;
  SecretBytes<kMaxBlockLength> inner_;
  SecretBytes<kMaxBlockLength> outer_;
};

// T(i) = HMAC(PRK, T(i-1) || info || i)
bool expand(Hmac& hmac, size_t hashLength, Span info, MutableSpan out) {
  SecretBytes<kMaxHashLength> block;
  size_t before = 0;
  uint8_t counter = 1;
  for (size_t done = 0; done < out.length; counter++) {
    if (!hmac.mac({block.first(before), info, {&counter, 1}}, block.data())) return false;
    before = hashLength;
    const size_t count = std::min(hashLength, out.length - done);
    std::memcpy(out.data + done, block.data(), count);
    done += count;
  }
  return true;
}

}  // namespace

Status hkdf(Hash hash, Span key, Span salt, const HkdfOutput* outputs, size_t count) {
  const ErrorScope errors;
  const size_t hashLength = hashLengthOf(hash);
  for (size_t i = 0; i < count; i++) {
    const auto& [info, out] = outputs[i];
    if (out.length > 255 * hashLength) return Status::invalid;
    if (overlap(info, out) || overlap(key, out) || overlap(salt, out)) return Status::overlapping;
  }

  const DigestLease context;
  const EVP_MD* const digest = digestFor(hash);
  if (context.get() == nullptr || digest == nullptr) return Status::failed;
  Hmac hmac(context.get(), digest, hashLength, hash == Hash::sha256 ? 64 : 128);
  SecretBytes<kMaxHashLength> prk;
  bool derived = hmac.setKey(salt) && hmac.mac({key}, prk.data()) && hmac.setKey(prk.first(hashLength));
  for (size_t i = 0; i < count && derived; i++) derived = expand(hmac, hashLength, outputs[i].info, outputs[i].out);
  if (derived) return Status::ok;
  for (size_t i = 0; i < count; i++) wipe(outputs[i].out);
  return Status::failed;
}

}  // namespace sealwax
