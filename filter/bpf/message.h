// SPDX-License-Identifier: Apache-2.0
//
// The header, the call table, and what is told about a message: part of gate.bpf.c.

#define AUDIT_NEVER 4 // in walk.audit: no record, also if denied

// What a message makes of its slot's word: 0 and the new word in *word, or the
// reason why it may not be sent now.
INLINE __u32 transition(struct walk *w, __u64 *word)
{
	__u64 old = *word, call = (__u64)w->gen | (__u64)(__u16)w->method << 16;
	__u32 phase = old >> 32;

	if (w->kind == KIND_CALL && !K_DIR) {
		if (phase & (SLOT_BUSY | SLOT_RESERVED))
			return REASON_SLOT_BUSY;
		phase = SLOT_BUSY | (w->phase & M_CLIENT_STREAM ? 0 : SLOT_CLIENT_DONE);
	} else {
		if (!(phase & SLOT_BUSY) || (__u32)old != (__u32)call) {
			// A cancel or a credit that crossed the last message of its call is no misdeed.
			if ((w->kind == KIND_CANCEL || w->kind == KIND_CREDIT) && !(phase & SLOT_BUSY) && (__u32)old == (__u32)call)
				w->audit |= AUDIT_NEVER;
			return REASON_NO_CALL;
		}
		if (w->kind == KIND_CREDIT) {
			; // may come as long as the call is pending, and changes nothing
		} else if (!K_DIR) {
			if (w->kind == KIND_CANCEL) {
				phase |= SLOT_CANCELLED | SLOT_CLIENT_DONE;
			} else {
				if (phase & SLOT_CLIENT_DONE)
					return REASON_STREAM_DONE;
				if (w->kind == KIND_END)
					phase |= SLOT_CLIENT_DONE;
			}
		} else if (w->kind != KIND_ITEM) {
			phase = 0; // the last message of the call
		}
	}
	*word = call | (__u64)phase << 32;
	return 0;
}

#define H_WALK 0   // walk, then decide
#define H_DONE 1   // w->reason says it all

INLINE int deny(struct walk *w, __u32 reason)
{
	w->reason = reason;
	return H_DONE;
}

// The checks of the header, in the order of abi/verdict.go.
noinline int header(struct __sk_buff *skb, struct walk *w)
{
	struct method *m;
	struct calls *c;
	__u32 len, n, flags, kind, body;
	__u64 word;

	if (!w)
		return H_DONE;
	len = skb->len;
	if (len < WARD_HEADER)
		return deny(w, REASON_SHORT);
	n = len > WINDOW ? WINDOW : len;
	if (bpf_skb_load_bytes(skb, 0, w->win, bounded(n)) < 0)
		return deny(w, REASON_SHORT);
	kind = w->win[1];
	w->kind = kind;
	w->method = *(__u32 *)(w->win + 4);
	w->slot = *(__u16 *)(w->win + 8);
	w->gen = *(__u16 *)(w->win + 10);
	if (w->win[0] != WARD_VERSION)
		return deny(w, REASON_VERSION);
	w->known = w->slot < WARD_SLOTS;

	// Which kinds a side may send: a client calls and cancels, a server replies and fails.
	__u32 kinds = K_DIR ? 1 << KIND_REPLY | 1 << KIND_ERROR | 1 << KIND_ITEM | 1 << KIND_END | 1 << KIND_CREDIT
			    : 1 << KIND_CALL | 1 << KIND_ITEM | 1 << KIND_END | 1 << KIND_CANCEL | 1 << KIND_CREDIT;
	if (kind > KIND_CREDIT || !(kinds >> kind & 1))
		return deny(w, REASON_KIND);
	flags = *(__u16 *)(w->win + 2);
	if (flags & ~FLAG_METADATA || (flags && (kind == KIND_CANCEL || kind == KIND_CREDIT)))
		return deny(w, REASON_FLAGS);
	if (w->method >= K_METHODS)
		return deny(w, REASON_METHOD);
	m = row(&methods, w->method);
	if (!m)
		return deny(w, REASON_METHOD);
	w->phase = m->flags;
	// Credits come from who receives a stream.
	if (kind == KIND_CREDIT && !(m->flags & (K_DIR ? M_CLIENT_STREAM : M_SERVER_STREAM)))
		return deny(w, REASON_KIND);
	if (!K_DIR) {
		if ((kind == KIND_ITEM || kind == KIND_END) && !(m->flags & M_CLIENT_STREAM))
			return deny(w, REASON_KIND);
	} else {
		if (kind == KIND_REPLY && (m->flags & M_SERVER_STREAM))
			return deny(w, REASON_KIND);
		if ((kind == KIND_ITEM || kind == KIND_END) && !(m->flags & M_SERVER_STREAM))
			return deny(w, REASON_KIND);
	}
	if (*(__u32 *)(w->win + 12) != len - WARD_HEADER || len > WARD_MAX_MESSAGE)
		return deny(w, REASON_LENGTH);
	if (K_DIR && *(__u64 *)(w->win + 16))
		return deny(w, REASON_DEADLINE);
	if (!w->known)
		return deny(w, REASON_SLOT);
	c = row(&calls, skb->cb[0]);
	if (!c)
		return deny(w, REASON_CLOSED);
	word = *(volatile __u64 *)&c->slot[w->slot & (WARD_SLOTS - 1)];
	n = transition(w, &word);
	if (n)
		return deny(w, n);

	// Header and slot are right. From here on a denied reply is an answer.
	w->known = 2;
	body = WARD_HEADER;
	// An opening of a client's stream, an end, a cancel and a credit have no body.
	__u32 empty = kind == KIND_END || kind == KIND_CANCEL || kind == KIND_CREDIT || (kind == KIND_CALL && (m->flags & M_CLIENT_STREAM));

	// After metadata no body is walked as a message that may be empty: the metadata's own.
	w->root = kind == KIND_ERROR ? (m->flags & M_TERSE ? NODE_CODE : NODE_STATUS) : empty ? NODE_METADATA : m->node;
	if (flags) {
		__u32 size = *(__u16 *)(w->win + WARD_HEADER);

		if (len < WARD_HEADER + 2 || size > len - WARD_HEADER - 2)
			return deny(w, REASON_METADATA);
		// Metadata goes with a message that is decided on; an error and an end are not.
		if ((m->flags & M_SILENT) || (K_DIR && (m->flags & M_TERSE) && (kind == KIND_ERROR || kind == KIND_END)))
			return deny(w, REASON_METADATA);
		if (empty && size != len - WARD_HEADER - 2)
			return deny(w, REASON_LENGTH);
		w->meta = 1;
		w->off = WARD_HEADER + 2;
		// A method whose policy looks at metadata has a table of its own, which keeps it.
		return enter(w, 0, m->flags >> M_METADATA, w->off + size) ? deny(w, REASON_METADATA) : H_WALK;
	}
	if (empty && len != body)
		return deny(w, REASON_LENGTH);
	if (empty)
		return H_DONE;
	w->off = body;
	return enter(w, 0, w->root, len) ? deny(w, REASON_TOO_DEEP) : H_WALK;
}

// Lets the message change the call table: 0, or the reason why it may not.
INLINE __u32 commit(struct __sk_buff *skb, struct walk *w)
{
	struct calls *c = row(&calls, skb->cb[0]);
	__u64 *slot, old, word;

	if (!c)
		return REASON_CLOSED;
	slot = &c->slot[w->slot & (WARD_SLOTS - 1)];
	for (int i = 0; i < 4; i++) {
		__u32 r;

		old = *(volatile __u64 *)slot;
		word = old;
		r = transition(w, &word);
		if (r)
			return r;
		if (__sync_val_compare_and_swap(slot, old, word) == old)
			return 0;
	}
	return REASON_RACE;
}

#include "effects.h"

// Writes the sender's verdict: on its slot if that is known, else as a count.
INLINE void verdict(struct walk *w, __u32 block)
{
	__u32 i = block * PAGE_BLOCK;
	__u64 *p;

	if (w->known) {
		p = row(&page, i + PAGE_SLOTS + (w->slot & (WARD_SLOTS - 1)));
		if (p)
			*(volatile __u64 *)p = (__u64)w->gen | (__u64)(__u8)w->reason << 16 | (__u64)w->kind << 24 | (__u64)w->detail << 32;
	} else {
		p = row(&page, i + 1);
		if (p)
			__sync_fetch_and_add(p, 1);
	}
}

// Gives each string among the parameters of a record SHARE bytes of its text.
// From n != 0 Linux 6.1's verifier does not learn that n is at least 1: hence
// the mask and the 1 that is added, which change nothing.
#define TEXTS(SHARE) do { \
	_Pragma("unroll") \
	for (__u32 k = 0; k < RECORD_TEXT / (SHARE); k++) { \
		__u32 i = m->string[k]; \
		if (k >= m->strings || i >= RECORD_PARAMS) \
			break; \
		__u64 n_ = (__u32)w->cap[i]; \
		__u32 o_ = w->cap[i] >> 32; \
		r->params[i] = (__u64)(k * (SHARE)) << 32 | n_; \
		asm volatile("if %0 <= %1 goto +1; %0 = %1" : "+r"(n_) : "i"(SHARE)); \
		__u64 l_ = n_ - 1; \
		asm volatile("%0 &= %1; %0 += 1" : "+r"(l_) : "i"((SHARE) - 1)); \
		if (n_ && bpf_skb_load_bytes(skb, o_, r->text + k * (SHARE), l_) == 0) \
			r->textlen = k * (SHARE) + n_; \
	} \
	} while (0)

// Writes the sender's record of a message, or counts it as lost.
INLINE void record(struct __sk_buff *skb, struct walk *w, struct counters *count, const int params, const int effects)
{
	// Routes may share a program that judges what one domain sends: whom to is in the row.
	struct gate *g = params ? row(&gates, skb->cb[0]) : 0;
	struct method *m = 0;
	struct record *r;

	if (params && !g)
		return;
	__u64 seq = __sync_fetch_and_add(&count->seq, 1) + 1;

	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		__sync_fetch_and_add(&count->lost, 1);
		return;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->time = bpf_ktime_get_boot_ns();
	r->seq = seq;
	r->gate = skb->cb[0];
	r->from = K_FROM;
	r->to = g ? g->receiver[K_DIR & 1] : K_TO;
	r->route = g ? g->route : K_ROUTE;
	r->method = w->method;
	r->slot = w->slot;
	r->gen = w->gen;
	r->kind = w->kind;
	r->dir = K_DIR;
	r->reason = w->reason;
	r->detail = w->detail;
	r->length = skb->len;
	if (effects && w->words) {
		__u32 i = w->e.target ? w->e.target - 1 : 0;

		r->word = 1 + i;
		r->state = w->e.word[i & (WORDS - 1)];
	}
	// Captures are those of a message's own tree, and complete only after its walk.
	if (params && w->audit && w->method < K_METHODS)
		m = row(&methods, w->method);
	if (m) {
		r->nparams = m->ncap;
		r->present = w->present;
#pragma unroll
		for (__u32 i = 0; i < RECORD_PARAMS; i++)
			r->params[i] = i < m->ncap ? w->cap[i] : 0;
		if (m->strings == 1) {
			if (K_USES & U_TEXT1)
				TEXTS(64);
		} else if (m->strings == 2) {
			if (K_USES & U_TEXT2)
				TEXTS(32);
		} else if (m->strings <= 4) {
			if (K_USES & U_TEXT4)
				TEXTS(16);
		} else if (K_USES & U_TEXT8) {
			TEXTS(8);
		}
	}
	bpf_ringbuf_submit(r, 0);
}

// Commits, answers, counts and records. Returns what the filter returns.
INLINE int finish_(struct __sk_buff *skb, struct walk *w, const int effects)
{
	struct counters *count = row(&counters, 0);
	struct gate *g = row(&gates, skb->cb[0]);
	__u32 ok, r, ret = 0;

	if (!w || !count || !g)
		return 0;
	ok = w->reason == REASON_PERMIT || w->reason == REASON_ADMIT;
	if (effects && w->held) {
		// As below: a denied reply is an answer, but for one that lost a race and may be sent again.
		__u32 answer = K_DIR && w->reason != REASON_RACE;

		release(skb, w, ok || answer);
		if (ok)
			ret = -1;
		else if (answer)
			ret = skb->len > WARD_HEADER ? WARD_HEADER : WARD_DENIED;
	} else if (ok || (w->known == 2 && K_DIR && w->kind != KIND_CREDIT)) {
		// A denied last reply, too, ends its call: what the client gets is its header.
		r = commit(skb, w);
		if (r) {
			if (ok) {
				w->reason = r;
				w->detail = 0;
			}
			ok = 0;
		} else {
			// Of a message without a body the header is all, and would pass for an answer.
			ret = ok ? -1 : skb->len > WARD_HEADER ? WARD_HEADER : WARD_DENIED;
		}
	}
	r = w->detail;
	if (effects && w->reason == REASON_RATE)
		w->detail = microseconds(w->e.wait); // for the sender; the record has the policy
	verdict(w, g->block[K_DIR & 1]);
	if (effects)
		w->detail = r;
	__sync_fetch_and_add(ok ? &count->allowed : &count->denied, 1);
	if ((!ok && !(w->audit & AUDIT_NEVER)) || (w->audit & 2) || K_AUDIT)
		record(skb, w, count, 1, effects);
	return ret;
}

noinline int finish(struct __sk_buff *skb, struct walk *w) { return finish_(skb, w, 0); }
noinline int finish_effects(struct __sk_buff *skb, struct walk *w) { return finish_(skb, w, 1); }

noinline int finish_objects(struct __sk_buff *skb, struct walk *w)
{
	if (!w)
		return 0;
	hand_over(w);
	return finish_(skb, w, 1);
}
