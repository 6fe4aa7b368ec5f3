// SPDX-License-Identifier: Apache-2.0
//
// The filter of a gate: one program for what the client sends, one for what
// the server sends, both made from `gate` by other constants and tables; and
// the stub that stands before them on a socket.
//
// A socket filter runs in the sender's context on bytes that the kernel has
// already copied, before the message is queued. It must hold:
//
//   - a message that is not delivered whole has its verdict on the sender's
//     page and a record in the sender's ring, or is counted as lost there;
//   - the call table changes by one compare-and-swap, last, for messages that
//     passed every other check;
//   - all state of a walk is on the stack: a filter that preempts this one
//     would overwrite a per-CPU map. 512 bytes for all frames together;
//   - no kfuncs, no iterators: it loads on Linux 6.1.
//
// Placeholders: LDDW of a constant K(n) is replaced when the program is
// loaded, so that what does not apply is dead code to the verifier; the bodies
// of decide and check are replaced by generated ones.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "ward.h"

char LICENSE[] SEC("license") = "GPL";

#define INLINE static __attribute__((always_inline)) inline
#define noinline __attribute__((noinline))

// Constants, by number: filter/tables.go.
#define K(n) ({ __u64 k_; asm volatile("%0 = %1 ll" : "=r"(k_) : "i"(0x5741524400000000ULL + (n))); k_; })
#define K_DIR K(0)        // abi.Direction
#define K_METHODS K(1)    // number of methods
#define K_FROM K(2)       // DomainID of the sender
#define K_TO K(3)         // stub: DomainID of the receiver
#define K_ROUTE K(4)      // stub
#define K_AUDIT K(5)      // 1: record admitted messages, too
#define K_INDEX K(6)      // stub: row in gates
#define K_INCARNATION K(7)
#define K_CGROUP K(8)     // stub: 1 if the kernel tells socket filters the sender's cgroup
#define K_USES K(9)       // U_*: what the program's tables ask for; the verifier skips the rest
#define K_WORDS K(10)     // greatest number of words of state of a method
#define K_RATES K(11)     // greatest number of rates of a method

// A constant that is loaded where it is used: one hoisted out of a loop would cost stack.
#define CONST(v) ({ __u64 c_; asm volatile("%0 = %1 ll" : "=r"(c_) : "i"(v)); c_; })

// Keeps the compiler from doing the bytes of a word side by side, which costs stack, too.
#define IN_ORDER(v) asm volatile("" : "+r"(v))

// Orders the verifier's view: what was stored is an unknown number when read again.
#define FORGET() asm volatile("" ::: "memory")

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

#define TABLE(name, type_) \
	struct { \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1); \
		__type(key, __u32); \
		__type(value, type_); \
	} name SEC(".maps")

TABLE(gates, struct gate);
TABLE(calls, struct calls);
TABLE(counters, struct counters);
TABLE(methods, struct method);
TABLE(nodes, struct node);
TABLE(fields, struct field);
TABLE(values, __u64);
TABLE(words, __u64);     // of state: of domains and of the system,
TABLE(gatewords, __u64); // and of each gate
TABLE(buckets, __u64);
TABLE(rates, struct rate);
TABLE(handles, struct handle);
struct dfa {
	__u64 row[256];
};
TABLE(utf8, struct dfa);
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} page SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

INLINE void *row(void *map, __u32 i) { return bpf_map_lookup_elem(map, &i); }

// What a part of a walk returns.
#define GO 0
#define STOP 1 // w->reason says why if it is not 0
#define NEXT 2 // no value follows

INLINE int fail(struct walk *w, __u32 reason, __u32 detail)
{
	w->reason = reason;
	w->detail = detail;
	return STOP;
}

/* ---- generated ---- */

// Placeholders, opaque to the compiler: it must not conclude anything from
// what they return.

// The decision of the policy: reason, bit 8 if what it says must be recorded,
// detail << 32.
noinline __u64 decide(struct __sk_buff *skb, struct walk *w)
{
	__u64 v;

	asm volatile("%0 = %1" : "=r"(v) : "i"(REASON_DEFAULT), "r"(skb), "r"(w) : "memory");
	return v;
}

// Rule w->check on the string w->val (offset << 32 | length): 0 if it holds,
// else the number of the field.
noinline int check(struct __sk_buff *skb, struct walk *w)
{
	int v;

	asm volatile("%0 = 1" : "=r"(v) : "r"(skb), "r"(w) : "memory");
	return v;
}

#include "walk.h"
#include "seen.h"
#include "message.h"

/* ---- the program of a direction ---- */

struct run {
	struct walk w;
	struct __sk_buff *skb;
};

// One turn of the loop: 1 ends it.
static long turn(__u32 i, struct run *x)
{
	int r = 0;
	__u32 from;

	if (x->w.mode == MODE_FIELD) {
		r = tag(x->skb, &x->w);
		if (r == NEXT)
			return 0;
	}
	if (!r && x->w.mode < MODE_STRING)
		r = value(x->skb, &x->w);
	from = x->w.off;
	if (!r && x->w.mode == MODE_STRING)
		r = utf8_stretch(x->skb, &x->w);
	if (!r && x->w.mode == MODE_CLASS)
		r = class_stretch(x->skb, &x->w);
	if (!r && x->w.check) {
		if (x->w.check & CHECK_RULE) {
			r = check(x->skb, &x->w);
			if (r) {
				x->w.reason = REASON_BOUNDS;
				x->w.detail = r;
			}
			x->w.check &= ~CHECK_RULE;
		}
		if (!r && (K_USES & (U_TESTS | U_LIKES)) && x->w.check)
			r = seen(&x->w, from);
	}
	x->w.done = r != 0; // r may be the number of a field, any multiple of 256
	return r != 0;
}

// Judges by a policy with effects. What is denied has had none.
INLINE void effective(struct __sk_buff *skb, struct walk *w, const int objects)
{
#pragma nounroll
	for (int i = 0; i < TRIES; i++) {
		__u64 v;

		if (objects) {
			w->detail = 0;
			w->reason = prepare_objects(skb, w);
		} else {
			w->reason = prepare(skb, w);
			w->detail = 0;
		}
		if (w->reason)
			return;
		v = decide(skb, w);
		w->reason = (__u8)v;
		w->audit |= v >> 7 & 2;
		w->detail = v >> 32;
		if (w->reason != REASON_PERMIT || !(objects ? settle_objects(skb, w) : settle(skb, w)))
			return;
		w->reason = REASON_RACE;
		w->detail = 0;
	}
}

INLINE int judge(struct __sk_buff *skb, const int effects, const int objects)
{
	struct run x = {.skb = skb};
	struct walk *w = &x.w;

	if (header(skb, w) == H_WALK) {
		bpf_loop(MAX_STEPS, turn, &x, 0);
		if (!w->done)
			w->reason = REASON_TOO_MANY;
		if (w->reason && w->meta) {
			w->reason = REASON_METADATA;
			w->detail = 0;
		}
	}
	if (!w->reason) {
		w->audit = 1;
		w->detail = NO_POLICY;
		if (w->kind == KIND_ERROR || w->kind == KIND_END || w->kind == KIND_CANCEL || w->kind == KIND_CREDIT) {
			w->reason = REASON_ADMIT;
		} else if (w->kind == KIND_CALL && (w->phase & M_CLIENT_STREAM)) {
			w->reason = w->phase & M_PERMIT ? REASON_ADMIT : REASON_DEFAULT;
		} else if (effects) {
			effective(skb, w, objects);
		} else {
			__u64 v = decide(skb, w);

			w->reason = (__u8)v;
			w->audit |= v >> 7 & 2;
			w->detail = v >> 32;
		}
	}
	return objects ? finish_objects(skb, w) : effects ? finish_effects(skb, w) : finish(skb, w);
}

// A program whose policy has no effects is loaded from gate, one whose messages
// carry handles or are not answered from gate_objects, others from gate_effects:
// so that a message pays nothing for what it does not have.
SEC("socket")
int gate(struct __sk_buff *skb) { return judge(skb, 0, 0); }

SEC("socket")
int gate_effects(struct __sk_buff *skb) { return judge(skb, 1, 0); }

SEC("socket")
int gate_objects(struct __sk_buff *skb) { return judge(skb, 1, 1); }

/* ---- the stub ---- */

// Attached to the receiver's socket and locked. It knows its row in gates;
// that names the program, which can be swapped or taken away behind it.
SEC("socket")
int stub(struct __sk_buff *skb)
{
	struct walk w = {};
	struct counters *count = row(&counters, 0);
	struct gate *g = row(&gates, K_INDEX);

	if (!count || !g)
		return 0;
	skb->cb[0] = K_INDEX;
	w.reason = REASON_CLOSED;
	if (g->incarnation == (__u32)K_INCARNATION) {
		// A stranger's message must not touch the page of the one whose end it sends on.
		if (K_CGROUP && g->cgroup[K_DIR & 1] && g->cgroup[K_DIR & 1] != bpf_get_current_cgroup_id()) {
			w.reason = REASON_SENDER;
			verdict(&w, g->block[K_DIR & 1]);
		} else {
			bpf_tail_call(skb, &programs, g->prog[K_DIR & 1]);
			if (skb->len >= WARD_HEADER && bpf_skb_load_bytes(skb, 0, w.win, WARD_HEADER) == 0) {
				w.kind = w.win[1];
				w.method = *(__u32 *)(w.win + 4);
				w.slot = *(__u16 *)(w.win + 8);
				w.gen = *(__u16 *)(w.win + 10);
				w.known = w.slot < WARD_SLOTS;
			}
			verdict(&w, g->block[K_DIR & 1]);
		}
	}
	__sync_fetch_and_add(&count->denied, 1);
	record(skb, &w, count, 0, 0);
	return 0;
}

/* ---- the status word ---- */

// A frozen page cannot be written by system calls. This program changes the
// status word of a block, or clears the block for its next gate end.
SEC("syscall")
int status(struct status *a)
{
	__u32 first = a->block * PAGE_BLOCK, op = a->op;
	__u64 *p = row(&page, first), v;

	if (!p)
		return 1;
	v = *(volatile __u64 *)p;
	v = (v & 0xffffffff00000000ULL) | (__u32)(v + 1);
	if (op == STATUS_REVOKE)
		v |= 1ULL << 63;
	if (op == STATUS_RESET) {
		v = (__u32)v;
		for (__u32 i = 1; i < PAGE_BLOCK; i++) {
			__u64 *q = row(&page, first + i);

			if (q)
				*(volatile __u64 *)q = 0;
		}
	}
	*(volatile __u64 *)p = v;
	return 0;
}

/* ---- words of state ---- */

// Changes a word of state for the monitor: a system call alone could undo what
// a filter does at the same time. 0: done, 1: it is not old, 2: no such word.
SEC("syscall")
int exchange(struct exchange *a)
{
	__u64 *p = row(&words, a->row);

	if (!p)
		return 2;
	return __sync_val_compare_and_swap(p, a->old, a->next) != a->old;
}
