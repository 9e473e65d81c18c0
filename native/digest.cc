#include "digest.h"

namespace sealwax {

size_t hashLengthOf(Hash hash) {
  return hash == Hash::sha256 ? 32 : hash == Hash::sha384 ? 48 : 64;
}

const EVP_MD* digestFor(Hash hash) {
  static Hashing sha256("SHA256"), sha384("SHA384"), sha512("SHA512");
  return (hash == Hash::sha256 ? sha256 : hash == Hash::sha384 ? sha384 : sha512).get();
}

Digest::Digest(Hash hash) : hash_(hash), context_(EVP_MD_CTX_new()) {
  const ErrorScope errors;
  if (context_ && EVP_DigestInit_ex2(context_.get(), digestFor(hash), nullptr) != 1) context_.reset();
}

bool Digest::update(Span bytes) {
  const ErrorScope errors;
  return context_ && (bytes.length == 0 || EVP_DigestUpdate(context_.get(), bytes.data, bytes.length) == 1);
}

bool Digest::finish(uint8_t* out) {
  const ErrorScope errors;
  const EvpOwner<EVP_MD_CTX> context = std::move(context_);
  return context && EVP_DigestFinal_ex(context.get(), out, nullptr) == 1;
}

}  // namespace sealwax
