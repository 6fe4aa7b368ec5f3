// SPDX-License-Identifier: Apache-2.0
//
// What admitting a message does beside the call table: tokens are taken from
// buckets, and a word of state changes. Part of gate.bpf.c.
//
// All is decided before anything is done: prepare reads the words, decide says
// what they become and which buckets are charged, settle looks whether all
// buckets have a token. Only then settle reserves the slot of a call, takes the
// tokens, and last exchanges the word for what decide made of it. If that fails,
// somebody else changed the word: the tokens are given back, and all is decided
// again with the word as it is now. So the decision and the change are one
// step, and a message that is denied has changed nothing.
//
// Programs for messages with handles, and for such that nobody answers, are made
// from a template of their own (objects): others have none of their code.

// Word i of the message's method, or null.
INLINE __u64 *word_of(struct __sk_buff *skb, struct method *m, __u32 i)
{
	__u32 n = m->word[i & (WORDS - 1)];

	return n == GATE_WORD ? row(&gatewords, skb->cb[0]) : row(&words, n);
}

#include "handles.h"

// Makes ready for a decision: reads the method's words, and looks whether the
// handle that the message carries is what it claims to be. 0, or why it cannot.
INLINE int prepare_(struct __sk_buff *skb, struct walk *w, const int objects)
{
	struct method *m;

	if (!w)
		return REASON_CLOSED;
	m = row(&methods, w->method);
	if (!m)
		return REASON_CLOSED;
	w->e.mask = w->e.next = w->e.wait = 0;
	w->e.rates = w->e.charged = w->e.target = 0;
	w->words = 0;
#pragma unroll
	for (__u32 i = 0; i < WORDS; i++) {
		__u64 *p;

		if (i >= K_WORDS || i >= m->nwords)
			break;
		p = word_of(skb, m, i);
		if (!p)
			return REASON_CLOSED;
		w->e.word[i] = *(volatile __u64 *)p;
		w->words = 1;
	}
	return objects ? look_up(skb, w, m) : 0;
}

noinline int prepare(struct __sk_buff *skb, struct walk *w) { return prepare_(skb, w, 0); }
noinline int prepare_objects(struct __sk_buff *skb, struct walk *w) { return prepare_(skb, w, 1); }

// A bucket is the time at which it will be full again, CLOCK_BOOTTIME in ns
// (the generic cell rate algorithm): a token is there if taking it makes that
// time no later than depth from now.
#define EACH_BUCKET(BODY) \
	_Pragma("nounroll") \
	for (__u32 k = 0; k < RATES; k++) { \
		struct rate *r; \
		__u64 *b; \
		if (k >= K_RATES) \
			break; \
		if (!(*(volatile __u32 *)&w->e.rates >> k & 1)) \
			continue; \
		r = row(&rates, first + k); \
		if (!r) \
			return REASON_CLOSED; \
		b = row(&buckets, r->bucket); \
		if (!b) \
			return REASON_CLOSED; \
		BODY \
	}

// Notes the wait for the emptiest bucket, and the policy whose it is.
INLINE __u32 look(struct walk *w, __u32 first)
{
	EACH_BUCKET({
		__u64 full = *(volatile __u64 *)b;

		if (full < w->e.now)
			full = w->e.now;
		full += r->every - w->e.now;
		if (full > r->depth && full - r->depth > *(volatile __u64 *)&w->e.wait) {
			*(volatile __u64 *)&w->e.wait = full - r->depth;
			w->detail = r->policy;
		}
	})
	return 0;
}

// Takes the tokens. 1: one was gone, or many take from that bucket.
INLINE __u32 charge(struct walk *w, __u32 first)
{
	EACH_BUCKET({
		__u64 old = *(volatile __u64 *)b;
		__u64 full = old < w->e.now ? w->e.now : old;

		full += r->every;
		if (full - w->e.now > r->depth || __sync_val_compare_and_swap(b, old, full) != old)
			return 1;
		*(volatile __u32 *)&w->e.charged |= 1 << k;
	})
	return 0;
}

// Gives back the tokens that were taken.
INLINE __u32 refund(struct walk *w, __u32 first)
{
	EACH_BUCKET({
		if (*(volatile __u32 *)&w->e.charged >> k & 1)
			__sync_fetch_and_add(b, -r->every);
	})
	*(volatile __u32 *)&w->e.charged = 0;
	return 0;
}

// Lets the message change the call table. A call or a reply only reserves its
// slot: so nobody can answer a call before it is admitted, or use the slot
// again before its reply is. 0, or the reason why not.
INLINE __u32 reserve(struct __sk_buff *skb, struct walk *w, const int objects)
{
	struct calls *c;
	__u64 *slot, old, word;
	__u32 r;

	if (w->kind != KIND_CALL && w->kind != KIND_REPLY)
		return commit(skb, w);
	c = row(&calls, skb->cb[0]);
	if (!c)
		return REASON_CLOSED;
	slot = &c->slot[w->slot & (WARD_SLOTS - 1)];
	old = *(volatile __u64 *)slot;
	word = old;
	r = transition(w, &word);
	if (r)
		return r;
	w->e.was = old;
	w->e.busy = objects && (K_USES & U_POST) && (w->phase & M_POST) ? (__u32)word : word;
	word = (__u32)word | (__u64)SLOT_RESERVED << 32;
	return __sync_val_compare_and_swap(slot, old, word) == old ? 0 : REASON_RACE;
}

// Makes a reserved slot what it is to be, or what it was. It is changed by
// nobody else.
INLINE void release(struct __sk_buff *skb, struct walk *w, __u32 done)
{
	struct calls *c = row(&calls, skb->cb[0]);

	if (c && (w->kind == KIND_CALL || w->kind == KIND_REPLY))
		*(volatile __u64 *)&c->slot[w->slot & (WARD_SLOTS - 1)] = done ? w->e.busy : w->e.was;
}

// Does what decide decided. 0: done, or denied and w->reason says why; 1: lost
// a race, and nothing is changed but that the slot is held.
INLINE int settle_(struct __sk_buff *skb, struct walk *w, const int objects)
{
	struct method *m;
	__u32 r;

	if (!w)
		return 0;
	m = row(&methods, w->method);
	if (!m)
		return 0;
	if (K_RATES) {
		w->e.now = bpf_ktime_get_boot_ns();
		r = look(w, m->rate);
		if (r || w->e.wait) {
			w->reason = r ? r : REASON_RATE;
			return 0;
		}
	}
	if (!w->held) {
		r = reserve(skb, w, objects);
		if (r) {
			w->reason = r;
			w->detail = 0;
			return 0;
		}
		w->held = HELD_SLOT;
		if (objects && !take(w))
			return 0;
	}
	if (K_RATES && charge(w, m->rate)) {
		refund(w, m->rate);
		return 1;
	}
	if (K_WORDS && w->e.target) {
		__u32 i = (w->e.target - 1) & (WORDS - 1);
		__u64 old = w->e.word[i];
		__u64 next = (old & ~w->e.mask) | w->e.next;

		if (next != old) {
			__u64 *p = word_of(skb, m, i);

			next += 1ULL << STATE_BITS;
			if (!p || __sync_val_compare_and_swap(p, old, next) != old) {
				if (K_RATES)
					refund(w, m->rate);
				return 1;
			}
			w->e.word[i] = next;
		}
	}
	return 0;
}

noinline int settle(struct __sk_buff *skb, struct walk *w) { return settle_(skb, w, 0); }
noinline int settle_objects(struct __sk_buff *skb, struct walk *w) { return settle_(skb, w, 1); }

// How often a message is decided again because others changed what it looked at.
#define TRIES 8

INLINE __u32 microseconds(__u64 ns)
{
	ns = (ns + 999) / 1000;
	return ns > 0xffffffff ? 0xffffffff : ns;
}
