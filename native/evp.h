#pragma once
#include <openssl/err.h>
#include <openssl/evp.h>

#include <memory>
#include <utility>

namespace sealwax {

struct EvpFree {
  void operator()(EVP_CIPHER_CTX* context) const noexcept { EVP_CIPHER_CTX_free(context); }
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  void operator()(EVP_PKEY_CTX* context) const noexcept { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
};
template <class Context>
using EvpOwner = std::unique_ptr<Context, EvpFree>;

// Leaves this thread's OpenSSL error queue empty at the end of a scope, so that no error is ever taken for another's.
class ErrorScope {
 public:
  ErrorScope() = default;
  ErrorScope(const ErrorScope&) = delete;
  ErrorScope& operator=(const ErrorScope&) = delete;
  ~ErrorScope() {
    if (ERR_peek_error() != 0) ERR_clear_error();
  }
};

inline void reset(EVP_CIPHER_CTX* context) {
  EVP_CIPHER_CTX_reset(context);
}
inline void reset(EVP_MD_CTX* context) {
  EVP_MD_CTX_reset(context);
}

// Lends this thread's spare context for a scope. It comes and goes empty: a reset frees OpenSSL's state with a cleanse,
// so no key outlives the scope.
template <class Context, Context* (*create)()>
class Lease {
 public:
  Lease() : context_(std::move(spare())) {
    if (!context_) context_.reset(create());
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() {
    if (!context_) return;
    reset(context_.get());
    spare() = std::move(context_);
  }

  // Null where memory ran out.
  Context* get() const { return context_.get(); }

 private:
  static EvpOwner<Context>& spare() {
    static thread_local EvpOwner<Context> context;
    return context;
  }
  EvpOwner<Context> context_;
};
using CipherLease = Lease<EVP_CIPHER_CTX, EVP_CIPHER_CTX_new>;
using DigestLease = Lease<EVP_MD_CTX, EVP_MD_CTX_new>;

}  // namespace sealwax
