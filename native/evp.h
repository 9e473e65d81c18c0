#pragma once
#include <openssl/err.h>
#include <openssl/evp.h>

#include <atomic>
#include <memory>
#include <utility>

namespace sealwax {

struct EvpFree {
  void operator()(EVP_CIPHER_CTX* context) const noexcept { EVP_CIPHER_CTX_free(context); }
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
  void operator()(EVP_PKEY_CTX* context) const noexcept { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
  void operator()(EVP_CIPHER* cipher) const noexcept { EVP_CIPHER_free(cipher); }
  void operator()(EVP_MD* digest) const noexcept { EVP_MD_free(digest); }
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

// Whether what went wrong in OpenSSL on this thread was for want of memory. Empties the error queue.
inline bool ranOutOfMemory() {
  for (unsigned long error; (error = ERR_get_error()) != 0;) {
    if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE) return true;
  }
  return false;
}

// An algorithm, fetched when it is first needed, as that costs more than a small message, and again where that failed.
// It lives as long as the process: freed at exit, it would race with OpenSSL's own cleanup.
template <class Method, Method* (*fetch)(OSSL_LIB_CTX*, const char*, const char*)>
class Fetched {
 public:
  explicit constexpr Fetched(const char* name) : name_(name) {}

  // Null where OpenSSL has none, or memory ran out.
  const Method* get() {
    Method* method = method_.load(std::memory_order_acquire);
    if (method != nullptr) return method;
    EvpOwner<Method> fetched(fetch(nullptr, name_, nullptr));
    return method_.compare_exchange_strong(method, fetched.get()) ? fetched.release() : method;
  }

 private:
  const char* const name_;
  std::atomic<Method*> method_{nullptr};
};
using Cipher = Fetched<EVP_CIPHER, EVP_CIPHER_fetch>;
using Hashing = Fetched<EVP_MD, EVP_MD_fetch>;

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
