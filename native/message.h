#pragma once
#include <optional>

#include "digest.h"
#include "span.h"
#include "status.h"

namespace sealwax {

// Whole messages that share a data key and, but for message ID and commitment, a header (MessageRun in
// src/engine/engine.ts).
struct MessageRun {
  Span dataKey;
  std::optional<Hash> kdf;  // none: the data key is the message's own
  // The body of a header. What stands in the places of message ID and commitment does not count.
  Span header;
  // What a header's tag is over besides its body.
  Span unstored;
  uint64_t frameLength;
};

// What became of one message: nothing was used where it is not, down to its last frame, what it must be.
struct OpenedMessage {
  uint32_t plaintextLength;
  uint32_t used;
};

// Seals each plaintext as header and frames into `out`, one after the other; `out` is exactly as long. The message IDs
// lie side by side. `out` is wiped when something fails.
Status sealMessages(const MessageRun& run, Span messageIds, const Span* plaintexts, size_t count, MutableSpan out);

// Opens each message, of less than 4 GiB, into its share of `out`: its length less what a message without plaintext
// takes. A share is wiped where its message is refused.
Status openMessages(const MessageRun& run, const Span* messages, size_t count, OpenedMessage* opened, MutableSpan out);

}  // namespace sealwax
