// The addon: JavaScript values to spans and back. Only typed arrays and numbers cross, no property is read and no
// JavaScript runs, so nothing can change a buffer between its check and its use. Plain Node-API: node-addon-api's
// wrappers would cost more than sealing a small message, and end the process where a thread is terminated while it
// loads the addon.
#include <node_api.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "digest.h"
#include "ecdsa.h"
#include "frames.h"
#include "hkdf.h"
#include "memory.h"
#include "message.h"
#include "pool.h"
#include "random.h"
#include "segments.h"

namespace sealwax {
namespace {

constexpr size_t kUsualArguments = 8;
constexpr double kMaxSafeInteger = 9007199254740991.0;

// Tells our hashes from other objects.
constexpr napi_type_tag kHashTag = {0x6f1c7c0e2f0a4d5b, 0x9b7d3a51c4e86f20};

// The arguments of one call, taken in order. After the first that is not what is expected, all are empty and `status`
// says why.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    if (napi_get_cb_info(env, info, &count_, usual_, nullptr, nullptr) != napi_ok) status = Status::invalid;
    if (count_ <= kUsualArguments) return;
    many_.resize(count_);
    values_ = many_.data();
    if (napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr) != napi_ok) status = Status::invalid;
  }

  bool more() const { return status == Status::ok && next_ < count_; }
  size_t left() const { return count_ - next_; }

  // A Uint8Array over memory that no other thread of JavaScript can write or take away.
  MutableSpan bytes() {
    napi_typedarray_type type;
    size_t length;
    void* data;
    napi_value buffer;
    bool unshared;
    if (!more() ||
        napi_get_typedarray_info(env_, values_[next_++], &type, &length, &data, &buffer, nullptr) != napi_ok ||
        type != napi_uint8_array || napi_is_arraybuffer(env_, buffer, &unshared) != napi_ok || !unshared) {
      return fail(Status::notBytes), MutableSpan{};
    }
    return {static_cast<uint8_t*>(data), data == nullptr ? 0 : length};
  }

  // A hash that `createHash` made, or null where the argument is missing or undefined.
  Digest* hash() {
    if (!more()) return nullptr;
    const napi_value value = values_[next_++];
    napi_valuetype type = napi_undefined;
    if (napi_typeof(env_, value, &type) == napi_ok && type == napi_undefined) return nullptr;
    bool ours = false;
    void* digest = nullptr;
    if (type != napi_object || napi_check_object_type_tag(env_, value, &kHashTag, &ours) != napi_ok || !ours ||
        napi_unwrap(env_, value, &digest) != napi_ok) {
      fail(Status::invalid);
    }
    return static_cast<Digest*>(digest);
  }

  uint64_t integer() {
    double value;
    if (!more() || napi_get_value_double(env_, values_[next_++], &value) != napi_ok || !(value >= 0) ||
        value > kMaxSafeInteger || std::floor(value) != value) {
      return fail(Status::invalid), 0;
    }
    return static_cast<uint64_t>(value);
  }

  Status status = Status::ok;

 private:
  void fail(Status why) {
    if (status == Status::ok) status = why;
  }

  const napi_env env_;
  size_t count_ = kUsualArguments;
  size_t next_ = 0;
  napi_value usual_[kUsualArguments];
  napi_value* values_ = usual_;
  std::vector<napi_value> many_;
};

double number(double value) {
  return value;
}
double number(Status status) {
  return static_cast<double>(status);
}

Status seal(Arguments& from) {
  const Span key = from.bytes(), iv = from.bytes(), aad = from.bytes(), plaintext = from.bytes();
  const MutableSpan out = from.bytes();
  if (from.status != Status::ok) return from.status;
  if (overlap(key, out)) return Status::overlapping;
  return sealMessage(key, iv, aad, plaintext, out);
}

Status open(Arguments& from) {
  const Span key = from.bytes(), iv = from.bytes(), aad = from.bytes(), sealed = from.bytes();
  const MutableSpan out = from.bytes();
  if (from.status != Status::ok) return from.status;
  if (overlap(key, out)) return Status::overlapping;
  return openMessage(key, iv, aad, sealed, out);
}

// key, iv, first block, input, output where there is one, hash
template <SegmentWork work>
Status segment(Arguments& from) {
  const Span key = from.bytes(), iv = from.bytes();
  const uint64_t firstBlock = from.integer();
  const Span input = from.bytes();
  const MutableSpan out = work == SegmentWork::hash ? MutableSpan{} : from.bytes();
  const MutableSpan hash = from.bytes();
  return from.status == Status::ok ? runSegment(work, key, iv, firstBlock, input, out, hash) : from.status;
}

Status combine(Arguments& from) {
  const Span key = from.bytes(), iv = from.bytes(), aad = from.bytes(), table = from.bytes();
  const MutableSpan tag = from.bytes();
  return from.status == Status::ok ? combineSegments(key, iv, aad, table, tag) : from.status;
}

FrameRun frameRun(Arguments& from) {
  const Span key = from.bytes(), messageId = from.bytes();
  const uint64_t frameLength = from.integer(), firstSequenceNumber = from.integer();
  return {key, messageId, frameLength, firstSequenceNumber};
}

Status sealRun(Arguments& from) {
  const FrameRun run = frameRun(from);
  const Span plaintext = from.bytes();
  const bool final = from.integer() != 0;
  const MutableSpan out = from.bytes();
  Digest* const digest = from.hash();
  return from.status == Status::ok ? sealFrames(run, plaintext, final, out, digest) : from.status;
}

// 16 times the number of frames, plus the status.
double openRun(Arguments& from) {
  const FrameRun run = frameRun(from);
  const Span body = from.bytes();
  const MutableSpan out = from.bytes();
  Digest* const digest = from.hash();
  if (from.status != Status::ok) return number(from.status);
  const OpenedFrames opened = openFrames(run, body, out, digest);
  return static_cast<double>(opened.count) * 16 + number(opened.status);
}

// A hash, or one more than the last for no key derivation.
MessageRun messageRun(Arguments& from) {
  const uint64_t kdf = from.integer();
  const Span dataKey = from.bytes(), header = from.bytes(), unstored = from.bytes();
  const std::optional<Hash> hash =
      kdf <= static_cast<uint64_t>(Hash::sha512) ? std::optional(static_cast<Hash>(kdf)) : std::nullopt;
  return {dataKey, hash, header, unstored, from.integer()};
}

std::vector<Span> rest(Arguments& from) {
  std::vector<Span> spans(from.left());
  for (Span& span : spans) span = from.bytes();
  return spans;
}

// run, message IDs, output, plaintexts
Status sealAll(Arguments& from) {
  const MessageRun run = messageRun(from);
  const Span messageIds = from.bytes();
  const MutableSpan out = from.bytes();
  const std::vector<Span> plaintexts = rest(from);
  if (from.status != Status::ok) return from.status;
  return sealMessages(run, messageIds, plaintexts.data(), plaintexts.size(), out);
}

// run, results, output, messages. A result is u32 plaintext length || u32 bytes used, in the machine's order.
Status openAll(Arguments& from) {
  const MessageRun run = messageRun(from);
  const MutableSpan results = from.bytes(), out = from.bytes();
  const std::vector<Span> messages = rest(from);
  if (from.status != Status::ok) return from.status;
  std::vector<OpenedMessage> opened(messages.size());
  if (results.length != opened.size() * sizeof(OpenedMessage)) return Status::invalid;
  const Status status = openMessages(run, messages.data(), messages.size(), opened.data(), out);
  std::copy_n(reinterpret_cast<const uint8_t*>(opened.data()), results.length, results.data);
  return status;
}

// hash, key, salt, then info and output once or twice
Status derive(Arguments& from) {
  const uint64_t hash = from.integer();
  const Span key = from.bytes(), salt = from.bytes();
  HkdfOutput outputs[2];
  size_t count = 0;
  do {
    const Span info = from.bytes();
    outputs[count++] = {info, from.bytes()};
  } while (from.more() && count < 2);
  if (from.status != Status::ok) return from.status;
  if (hash > static_cast<uint64_t>(Hash::sha512)) return Status::invalid;
  return hkdf(static_cast<Hash>(hash), key, salt, outputs, count);
}

Status updateHash(Arguments& from) {
  Digest* const digest = from.hash();
  const Span bytes = from.bytes();
  if (from.status != Status::ok) return from.status;
  if (digest == nullptr) return Status::invalid;
  return digest->update(bytes) ? Status::ok : Status::failed;
}

Status finishHash(Arguments& from) {
  Digest* const digest = from.hash();
  const MutableSpan out = from.bytes();
  if (from.status != Status::ok) return from.status;
  if (digest == nullptr || out.length != digest->length()) return Status::invalid;
  return digest->finish(out.data) ? Status::ok : Status::failed;
}

// 16 times the length of the signature, plus the status.
double sign(Arguments& from) {
  const uint64_t curve = from.integer();
  const Span scalar = from.bytes(), digest = from.bytes();
  const MutableSpan signature = from.bytes();
  if (from.status != Status::ok) return number(from.status);
  if (curve > static_cast<uint64_t>(Curve::p384)) return number(Status::invalid);
  size_t length = 0;
  const Status status = signDigest(static_cast<Curve>(curve), scalar, digest, signature, length);
  return static_cast<double>(length) * 16 + number(status);
}

Status verify(Arguments& from) {
  const uint64_t curve = from.integer();
  const Span point = from.bytes(), digest = from.bytes(), signature = from.bytes();
  if (from.status != Status::ok) return from.status;
  if (curve > static_cast<uint64_t>(Curve::p384)) return Status::invalid;
  return verifyDigest(static_cast<Curve>(curve), point, digest, signature);
}

Status random(Arguments& from) {
  const MutableSpan out = from.bytes();
  return from.status == Status::ok ? randomBytes(out) : from.status;
}

Status advise(Arguments& from) {
  const MutableSpan memory = from.bytes();
  if (from.status == Status::ok) preferHugePages(memory);
  return from.status;
}

Status keepAtMost(Arguments& from) {
  const uint64_t length = from.integer();
  if (from.status != Status::ok) return from.status;
  MemoryPool::instance().keepAtMost(length);
  keepFreedMemory(length);
  return Status::ok;
}

Status noCoreDumps(Arguments&) {
  return forbidCoreDumps() ? Status::ok : Status::failed;
}

// For tests: threads and bytes of work at a time, 0 for what the machine has and what pays.
Status force(Arguments& from) {
  const uint64_t threads = from.integer(), grain = from.integer();
  if (from.status != Status::ok) return from.status;
  if (threads > kMaxThreads) return Status::invalid;
  Pool::instance().force(static_cast<unsigned>(threads), grain);
  return Status::ok;
}

double threads(Arguments&) {
  return Pool::instance().threads();
}

// 1 for RDSEED, 2 for RDRAND
double cpuGenerators(Arguments&) {
  return (cpuRandom().rdseed ? 1 : 0) + (cpuRandom().rdrand ? 2 : 0);
}

// No exception may pass into Node.
template <auto entry>
napi_value call(napi_env env, napi_callback_info info) {
  double answer;
  try {
    Arguments arguments(env, info);
    answer = number(entry(arguments));
  } catch (...) {
    answer = number(Status::failed);
  }
  napi_value result = nullptr;
  napi_create_double(env, answer, &result);
  return result;
}

// An object that owns a running hash; undefined where there is none to be had.
napi_value createHash(napi_env env, napi_callback_info info) {
  napi_value object = nullptr;
  Arguments arguments(env, info);
  const uint64_t hash = arguments.integer();
  if (arguments.status != Status::ok || hash > static_cast<uint64_t>(Hash::sha512)) return nullptr;
  const auto release = [](napi_env, void* digest, void*) { delete static_cast<Digest*>(digest); };
  std::unique_ptr<Digest> digest(new (std::nothrow) Digest(static_cast<Hash>(hash)));
  if (!digest || napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &kHashTag) != napi_ok ||
      napi_wrap(env, object, digest.get(), release, nullptr, nullptr) != napi_ok) {
    return nullptr;
  }
  digest.release();
  return object;
}

// An ArrayBuffer over a block of the pool, which gets it back when no one can reach it any more; undefined where there
// is none to be had, or the runtime allows no such memory.
napi_value allocate(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const uint64_t length = arguments.integer();
  if (arguments.status != Status::ok || length > MemoryPool::kMaxUsed) return nullptr;
  const auto give = [](napi_env, void* data, void* capacity) {
    MemoryPool::instance().give({static_cast<uint8_t*>(data), reinterpret_cast<size_t>(capacity)});
  };
  const MemoryPool::Block block = MemoryPool::instance().take(length);
  napi_value buffer = nullptr;
  if (block.data == nullptr ||
      napi_create_external_arraybuffer(env, block.data, length, give, reinterpret_cast<void*>(block.length), &buffer) ==
          napi_ok) {
    return buffer;
  }
  MemoryPool::instance().give(block);
  return nullptr;
}

// In a thread that is being terminated nothing succeeds, and nobody will look at the exports.
void define(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function) == napi_ok) {
    napi_set_named_property(env, exports, name, function);
  }
}

void define(napi_env env, napi_value exports, const char* name, const char* text) {
  napi_value string;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &string) == napi_ok) {
    napi_set_named_property(env, exports, name, string);
  }
}

void initialize(napi_env env, napi_value exports) {
  define(env, exports, "seal", call<seal>);
  define(env, exports, "open", call<open>);
  define(env, exports, "sealSegment", call<segment<SegmentWork::seal>>);
  define(env, exports, "openSegment", call<segment<SegmentWork::open>>);
  define(env, exports, "hashSegment", call<segment<SegmentWork::hash>>);
  define(env, exports, "combineSegments", call<combine>);
  define(env, exports, "sealFrames", call<sealRun>);
  define(env, exports, "openFrames", call<openRun>);
  define(env, exports, "sealMessages", call<sealAll>);
  define(env, exports, "openMessages", call<openAll>);
  define(env, exports, "hkdf", call<derive>);
  define(env, exports, "updateHash", call<updateHash>);
  define(env, exports, "finishHash", call<finishHash>);
  define(env, exports, "signDigest", call<sign>);
  define(env, exports, "verifyDigest", call<verify>);
  define(env, exports, "createHash", createHash);
  define(env, exports, "randomBytes", call<random>);
  define(env, exports, "allocate", allocate);
  define(env, exports, "keepAtMost", call<keepAtMost>);
  define(env, exports, "preferHugePages", call<advise>);
  define(env, exports, "forbidCoreDumps", call<noCoreDumps>);
  define(env, exports, "force", call<force>);
  define(env, exports, "threads", call<threads>);
  define(env, exports, "cpuGenerators", call<cpuGenerators>);
  define(env, exports, "openssl", OpenSSL_version(OPENSSL_VERSION));
  const char* const settings = OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS);
  define(env, exports, "cpuSettings", settings == nullptr ? "" : settings);
}

}  // namespace
}  // namespace sealwax

NAPI_MODULE_INIT() {
  sealwax::initialize(env, exports);
  return exports;
}
