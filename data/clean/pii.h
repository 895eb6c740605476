// Masking of personal data that has a form: e-mail addresses, IP addresses, phone numbers.
#pragma once

#include <cstdint>
#include <string>

#include "data/clean/clean_config.h"

namespace choir {

struct PiiCounts {
  int64_t emails = 0;
  int64_t ips = 0;
  int64_t phones = 0;
};

// Replaces what the config names in valid UTF-8, until nothing more is found, so that masking again
// changes nothing; returns how many were replaced.
// - E-mail: dot-atom@domain of ASCII letters, digits and hyphens whose last label has two letters
//   or more (RFC 5321 without quoted local parts, literals and internationalised addresses).
// - IP: dotted IPv4, IPv6 with at least two colons (RFC 4291), both only of ranges that are
//   globally reachable (IANA special-purpose registries, RFC 6890): not private, loopback,
//   link-local, shared, documentation, benchmarking, multicast or reserved ones.
// - Phone: + and 8 to 15 digits (E.164) that begin with 1 to 9, single spaces, dots, hyphens and
//   brackets between them; or the North American form ddd-ddd-dddd with area and exchange codes
//   from 2, the area code also in brackets.
// Nothing is found inside a longer word or number, or before a combining mark.
PiiCounts MaskPii(const PiiConfig& config, std::string& text);

}  // namespace choir
