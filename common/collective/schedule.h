// Who sends what to whom, in which order: the mean over the ranks as a list of steps. Pure
// functions of rank, world size and number of parts; scheduled_mean.h carries them out over a
// transport.
//
//   P  world_size    T  parts (tiles) of one owner    L  lag: steps between sending and receiving
//
// A vector is cut into parts. Of each part a rank first has its own values: a sum over one rank.
// Sums are sent, received and added until one covers all ranks; that, divided by P, is the part's
// result, which is sent on as it is: encoded once, the same bytes for all.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace laconic::collective {

enum class Content : uint8_t {
  kSum = 0,     // of the part over some ranks, as `origin` had it
  kResult = 1,  // of the part, as its owner encoded it
};

enum class Form : uint8_t {
  kFloat32 = 0,
  kEncoded = 1,  // by the part's codec, with error feedback at `origin`
};

struct Message {
  int peer = 0;  // The rank it goes to, or comes from.
  int part = 0;
  Content content = Content::kSum;
  Form form = Form::kEncoded;
  int origin = 0;  // The rank that made the bytes; others forward them as they are.
  int tile = 0;    // Of float32 longer than a frame: which of its frames.

  bool operator==(const Message&) const = default;
};

// The sum of `part` covers all ranks: it is divided by P. encode: then encoded, and replaced by
// what its bytes decode to.
struct Finish {
  int part = 0;
  bool encode = false;

  bool operator==(const Finish&) const = default;
};

// Sends are queued in this order, then the receives waited for in this order. Then, for each part
// of `adds`, the received sums are added up in the order of their origins, this rank's at its own
// place: as float32 if it has sent it to nobody or as float32, else as its bytes decode.
struct Step {
  std::vector<Message> sends;
  std::vector<Message> receives;
  std::vector<int> adds;
  std::vector<Finish> finishes;
};

struct StepList {
  int parts = 0;
  std::vector<Step> steps;
};

// Steps that sums and results are sent ahead of what is received, where there are as many parts:
// enough to keep a link busy while a part is encoded, few enough for kQueueBytesMax.
inline constexpr int kLagMax = 4;

// What every function below promises: on each ordered pair of ranks the messages are received in
// the order in which they are sent, and no receive comes before its send when the ranks run step by
// step, so nothing waits for ever. Every rank ends with the result of every part, and every rank's
// values are in it once.

// Every rank sends its encoded values to all and adds up what came: one lossy stage.
// P-1 messages sent, (P-1) S bytes for a payload of S; 1 alpha.
StepList all_gather_schedule(int rank, int world_size, int parts);

// Every rank sends part p, encoded, to its owner, who adds up in rank order, encodes the mean once
// and sends it to all: two lossy stages whatever P.
//
//   owners  [parts] rank that owns each part; a rank may own none. Parts of one owner go in waves.
//
// 2 (P-1)/P S bytes sent by each rank if all own equally much; 2 alpha. With one owner of all parts
// it is a star: the others send S and receive S, the owner (P-1) S each.
StepList sharded_schedule(int rank, int world_size, std::span<const int> owners, Form form);

// Ring all-reduce in float32, exact up to rounding: P-1 steps of adding, P-1 of copying, chunk c
// the parts c T .. c T + T - 1. 2 (P-1)/P 4 d bytes; 2 (P-1) alpha. Source: Patarasuk, Yuan,
// "Bandwidth optimal all-reduce algorithms", JPDC 2009.
StepList ring_schedule(int rank, int world_size, int parts_per_chunk);

// Recursive halving, then doubling, in float32, among the first 2^m <= P ranks; each rank beyond
// them gives its vector to one of these first and gets the result last. 2^m chunks, chunk c the
// parts c T .. c T + T - 1.
// 2 (1 - 2^-m) 4 d bytes (a rank with a partner beyond: 4 d more); 2 m alpha (+ 2).
// Source: Thakur, Rabenseifner, Gropp, IJHPCA 2005.
StepList halving_schedule(int rank, int world_size, int parts_per_chunk);
// 2^m of halving_schedule().
int halving_chunks(int world_size);

// All-gather in ceil(log2 P) steps: in step j every rank passes on up to 2^j ranks' bytes at once,
// to one peer. Same bytes, same result bit for bit as all_gather_schedule(), with log2 P peers
// instead of P-1. Source: Bruck et al., IEEE TPDS 1997.
StepList doubling_schedule(int rank, int world_size, int parts);

}  // namespace laconic::collective
