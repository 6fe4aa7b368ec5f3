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
#define K_TO K(3)         // DomainID of the receiver
#define K_ROUTE K(4)
#define K_AUDIT K(5)      // 1: record admitted messages, too
#define K_INDEX K(6)      // stub: row in gates
#define K_INCARNATION K(7)
#define K_CGROUP K(8)     // stub: 1 if the kernel tells socket filters the sender's cgroup

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

/* ---- the walk ---- */

// n is 1 to WINDOW, and stays it; Linux 6.1's verifier learns it only like this.
INLINE __u64 bounded(__u64 n)
{
	n--;
	asm volatile("%0 &= %1; %0 += 1" : "+r"(n) : "i"(WINDOW - 1));
	return n;
}

// Makes the window start at w->off. There is no window at the end of the packet.
INLINE int refill(struct __sk_buff *skb, struct walk *w)
{
	__u32 off = w->off, n = skb->len - off;

	if (n > WINDOW)
		n = WINDOW;
	if (n == 0)
		return 0;
	w->wbase = off;
	return bpf_skb_load_bytes(skb, off, w->win, bounded(n)) < 0;
}

// Decodes a varint at b, of which left bytes belong to the message. Leaves the
// value in w->val and returns its length, or 0 and the reason in w->reason.
INLINE __u32 varint(struct walk *w, const __u8 *b, __u32 left)
{
	__u64 v = b[0];

	if (v < 0x80) {
		w->val = v;
		return 1;
	}
	v &= 0x7f;
	if (left < 2)
		goto truncated;
	if (b[1] < 0x80) {
		if (b[1] == 0)
			goto bad;
		w->val = v | (__u64)b[1] << 7;
		return 2;
	}
	v |= (__u64)(b[1] & 0x7f) << 7;
#pragma unroll
	for (int i = 2; i < 10; i++) {
		__u64 c = b[i];

		if (left < i + 1)
			goto truncated;
		v |= (c & 0x7f) << (7 * i);
		if (c < 0x80) {
			// The last byte of the shortest form is not 0; the tenth has room for one bit.
			if (c == 0 || (i == 9 && c > 1))
				goto bad;
			w->val = v;
			return i + 1;
		}
	}
bad:
	w->reason = REASON_VARINT;
	return 0;
truncated:
	w->reason = REASON_TRUNCATED;
	return 0;
}

// Makes node the message at level d, which ends at end.
INLINE int enter(struct walk *w, __u32 d, __u32 index, __u32 end)
{
	struct node *n = row(&nodes, index);

	if (!n || d >= LEVELS || index >= MAX_NODES)
		return 1;
	w->level[d].seen = 0;
	w->level[d].end = end;
	w->level[d].node = index;
	w->level[d].items = 0;
	w->base = n->base;
	w->count = n->count | (n->dense ? COUNT_DENSE : 0);
	w->depth = d;
	return 0;
}

// The number of the lowest bit of m, which is not 0.
INLINE __u32 lowest(__u64 m)
{
	__u32 b = 0;

	if (!(m & 0xffffffff)) { m >>= 32; b += 32; }
	if (!(m & 0xffff)) { m >>= 16; b += 16; }
	if (!(m & 0xff)) { m >>= 8; b += 8; }
	if (!(m & 0xf)) { m >>= 4; b += 4; }
	if (!(m & 0x3)) { m >>= 2; b += 2; }
	if (!(m & 0x1)) b += 1;
	return b;
}

// The end of the message at the current level: what must be there is there.
INLINE int leave(struct __sk_buff *skb, struct walk *w, struct level *l)
{
	struct node *n = row(&nodes, l->node & 1023), *up;
	__u64 missing;
	__u32 d;

	if (!n)
		return fail(w, REASON_TOO_DEEP, 0);
	missing = n->required & ~l->seen;
	if (missing) {
		struct field *f = row(&fields, n->base + lowest(missing));

		if (!f)
			return fail(w, REASON_REQUIRED, 0);
		return fail(w, f->nthf ? REASON_BOUNDS : REASON_REQUIRED, f->nth);
	}
	for (__u32 i = 0; i < MAX_ONEOFS && i < n->noneof; i++) {
		__u64 *mask = row(&values, n->oneof + i);

		if (!mask || !(*mask & l->seen))
			return fail(w, REASON_REQUIRED, 0);
	}
	d = w->depth;
	if (d == 0) {
		if (!w->meta)
			return 1;
		w->meta = 0;
		return enter(w, 0, w->root, skb->len) ? fail(w, REASON_TOO_DEEP, 0) : 0;
	}
	d -= 1;
	if (d >= LEVELS)
		return fail(w, REASON_TOO_DEEP, 0);
	up = row(&nodes, w->level[d].node & 1023);
	if (!up)
		return fail(w, REASON_TOO_DEEP, 0);
	w->base = up->base;
	w->count = up->count | (up->dense ? COUNT_DENSE : 0);
	w->depth = d;
	return 0;
}

// The row of field num of the current node.
INLINE struct field *find(struct walk *w, __u32 num)
{
	__u32 base = w->base, count = w->count;

	if (count & COUNT_DENSE) {
		count &= ~COUNT_DENSE;
		if (num - 1 >= count)
			return 0;
		w->row = base + num - 1;
	} else {
		__u32 lo = 0, hi = count;

		for (int i = 0; i < 8; i++) { // at most 64 rows
			__u32 mid = (lo + hi) >> 1;
			struct field *f;

			if (lo >= hi)
				break;
			f = row(&fields, base + mid);
			if (!f)
				return 0;
			if (f->number <= num) {
				w->row = base + mid;
				lo = mid + 1;
			} else {
				hi = mid;
			}
			FORGET();
		}
	}
	FORGET();
	struct field *f = row(&fields, w->row);

	return f && f->number == num ? f : 0;
}

INLINE void capture(struct walk *w, __u32 slot, __u64 v)
{
	if (!slot)
		return;
	slot -= 1;
	if (slot >= CAPTURES)
		return;
	w->cap[slot] = v;
	w->present |= 1 << slot;
}

// The value w->val of a field with wire type 0, 1 or 5: 0 if it is allowed.
INLINE int scalar(struct walk *w, struct field *f)
{
	__u64 v = w->val, key;

	switch (f->type) {
	case T_INT32:
	case T_ENUM:
		if ((__u64)(__s64)(__s32)v != v)
			return fail(w, REASON_WIDTH, f->number);
		break;
	case T_UINT32:
		if (v >> 32)
			return fail(w, REASON_WIDTH, f->number);
		break;
	case T_SINT32:
		if (v >> 32)
			return fail(w, REASON_WIDTH, f->number);
		v = (v >> 1) ^ -(v & 1);
		break;
	case T_SINT64:
		v = (v >> 1) ^ -(v & 1);
		break;
	case T_BOOL:
		if (v > 1)
			return fail(w, REASON_WIDTH, f->number);
		break;
	case T_SFIXED32:
		v = (__u64)(__s64)(__s32)v;
		break;
	}
	key = v ^ f->bias;
	if (f->type == T_DOUBLE) {
		// Numbers in the order of their values: -0 as +0, negative ones reversed.
		key = v << 1 ? v : 0;
		key = key >> 63 ? ~key : key | 1ULL << 63;
	} else if (f->type == T_FLOAT) {
		key = v & 0x7fffffff ? v : 0;
		key = key >> 31 ? (__u32)~key : key | 1ULL << 31;
	}
	__u32 reason = f->type == T_ENUM ? REASON_ENUM : REASON_BOUNDS;

	if (key < f->lo || key > f->hi)
		return fail(w, reason, f->number);
	if (f->flags & (F_BITS | F_SET | F_NONZERO)) {
		if ((f->flags & F_NONZERO) && v == 0)
			return fail(w, REASON_REQUIRED, f->number);
		if ((f->flags & F_BITS) && !(f->bits >> ((key - f->lo) & 63) & 1))
			return fail(w, reason, f->number);
		if (f->flags & F_SET) {
			__u32 lo = f->set, hi = lo + f->nset, found = 0;

			for (int i = 0; i < 16; i++) {
				__u32 mid = (lo + hi) >> 1;
				__u64 *p;

				if (lo >= hi)
					break;
				p = row(&values, mid);
				if (!p)
					break;
				if (*p == key) {
					found = 1;
					break;
				}
				if (*p < key)
					lo = mid + 1;
				else
					hi = mid;
			}
			if (!found)
				return fail(w, reason, f->number);
		}
	}
	w->val = v;
	capture(w, f->cap, v);
	return 0;
}

// Counts an element of the repeated field that is going on.
INLINE int element(struct walk *w, struct level *l, struct field *f)
{
	__u32 n = l->items + 1;

	if (n > f->maxitems || n > 0xffff)
		return fail(w, REASON_BOUNDS, f->number);
	l->items = n;
	if (n >= f->minitems)
		l->seen |= 1ULL << (f->bit & 63);
	capture(w, f->count, n);
	return GO;
}

// The state of the automaton after the bytes of x. Zeros after the end of a
// string keep "accept" and fail what is incomplete.
INLINE __u32 utf8_next(struct dfa *t, __u64 s, __u64 x)
{
#pragma unroll
	for (int i = 0; i < 8; i++) {
		s = t->row[x >> (8 * i) & 0xff] >> (s & 63);
		IN_ORDER(s);
	}
	return s & 63;
}

// Reads the tag of the next field, or ends the message.
noinline int tag(struct __sk_buff *skb, struct walk *w)
{
	struct field *f;
	struct level *l;
	__u32 d, p, n;

	if (!w)
		return STOP;
	d = w->depth;
	if (d >= LEVELS)
		return fail(w, REASON_TOO_DEEP, 0);
	l = &w->level[d];
	if (w->off >= l->end)
		return leave(skb, w, l) ? STOP : NEXT;
	// A tag and a value take 15 bytes at most.
	p = w->off - w->wbase;
	if (p > WINDOW - 16) {
		if (refill(skb, w))
			return fail(w, REASON_TRUNCATED, 0);
		p = 0;
	}
	n = varint(w, w->win + p, l->end - w->off);
	if (!n)
		return STOP;
	w->off += n;
	if (w->val >> 32)
		return fail(w, REASON_UNKNOWN_FIELD, 0);
	if (++w->fields > MAX_FIELDS)
		return fail(w, REASON_TOO_MANY, 0);
	FORGET();
	w->wire = w->val & 7;
	f = find(w, w->val >> 3);
	if (!f)
		return fail(w, REASON_UNKNOWN_FIELD, w->val >> 3);

	__u64 bit = 1ULL << (f->bit & 63);
	__u32 going = l->node >> 10;
	__u32 packed = w->wire == 2 && f->wire != 2 && (f->flags & F_REPEATED);

	if (w->wire != f->wire && !packed)
		return fail(w, REASON_WIRE_TYPE, f->number);
	if (l->items && going != f->bit) {
		// A repeated field ends here; one that comes again later is a duplicate.
		if (!(l->seen >> (going & 63) & 1)) {
			struct field *g = row(&fields, w->base + going);

			return fail(w, REASON_BOUNDS, g ? g->nth : 0);
		}
		l->items = 0;
	}
	w->mode = MODE_VALUE;
	if (f->flags & F_REPEATED) {
		if (!l->items && (l->seen & bit))
			return fail(w, REASON_DUPLICATE, f->number);
		l->node = (l->node & 1023) | f->bit << 10;
		if (!packed)
			return element(w, l, f);
	} else {
		if (l->seen & (bit | f->oneof))
			return fail(w, REASON_DUPLICATE, f->number);
		l->seen |= bit;
	}
	return GO;
}

// Reads a value: of the field whose tag was read, or the next of a packed one.
noinline int value(struct __sk_buff *skb, struct walk *w)
{
	struct field *f;
	struct level *l;
	__u32 d, p, n, end, wire;

	if (!w)
		return STOP;
	d = w->depth;
	f = row(&fields, w->row);
	if (d >= LEVELS || !f)
		return fail(w, REASON_TOO_DEEP, 0);
	l = &w->level[d];
	end = l->end;
	wire = w->wire;
	if (w->mode == MODE_PACKED) {
		if (w->off - w->wbase > WINDOW - 16 && refill(skb, w))
			return fail(w, REASON_TRUNCATED, 0);
		if (element(w, l, f))
			return STOP;
		end = w->send;
		wire = f->wire;
	} else {
		w->mode = MODE_FIELD;
	}
	p = w->off - w->wbase;
	if (w->off >= end || p > WINDOW - 10)
		return fail(w, REASON_TRUNCATED, f->number);
	if (wire != 0 && wire != 2) {
		n = wire == 1 ? 8 : 4;
		if (end - w->off < n)
			return fail(w, REASON_TRUNCATED, f->number);
		w->val = wire == 1 ? *(__u64 *)(w->win + p) : *(__u32 *)(w->win + p);
	} else {
		n = varint(w, w->win + p, end - w->off);
		if (!n)
			return fail(w, w->reason, f->number);
	}
	w->off += n;
	FORGET();
	if (wire != 2) {
		if (w->mode == MODE_PACKED && w->off == end)
			w->mode = MODE_FIELD;
		return scalar(w, f);
	}

	__u64 len = w->val;

	if (len > end - w->off)
		return fail(w, REASON_TRUNCATED, f->number);
	end = w->off + len;
	w->send = end;
	if (f->wire != 2) { // packed: no sender makes an empty one
		if (!len)
			return fail(w, REASON_BOUNDS, f->number);
		w->mode = MODE_PACKED;
		return GO;
	}
	if (len < f->minlen || len > f->maxlen)
		return fail(w, REASON_BOUNDS, f->number);
	if (!len && (f->flags & F_NONZERO))
		return fail(w, REASON_REQUIRED, f->number);
	w->val |= (__u64)w->off << 32;
	capture(w, f->cap, w->val);
	if (f->type == T_NESTED)
		return enter(w, d + 1, f->child, end) ? fail(w, REASON_TOO_DEEP, f->number) : GO;
	w->check = f->check;
	if (f->type == T_BYTES) {
		w->off = end;
		return GO;
	}
	w->mode = f->flags & F_CLASS ? MODE_CLASS : MODE_STRING;
	w->runes = 0;
	w->state = 0;
	return GO;
}

// Makes the window hold a good piece of the string that is going on.
INLINE int ahead(struct __sk_buff *skb, struct walk *w)
{
	__u32 p = w->off - w->wbase, n = w->send - w->off;

	if (p > WINDOW || (p > WINDOW / 2 && p + n > WINDOW)) {
		if (refill(skb, w))
			return fail(w, REASON_TRUNCATED, 0);
	}
	return GO;
}

// After a stretch: is the string at its end, and did it end well?
INLINE int ended(struct walk *w, struct field *f)
{
	FORGET();
	if (w->off != w->send)
		return GO;
	w->mode = MODE_FIELD;
	if (w->state)
		return fail(w, REASON_UTF8, f->number);
	if (w->runes < f->minrunes || (f->maxrunes && w->runes > f->maxrunes))
		return fail(w, REASON_BOUNDS, f->number);
	return GO;
}

// Checks the next stretch of a string, at most a window of it. Returns as tag.
noinline int utf8_stretch(struct __sk_buff *skb, struct walk *w)
{
	struct field *f;
	struct dfa *t;
	__u32 p, n;

	if (!w)
		return STOP;
	if (ahead(skb, w))
		return STOP;
	t = row(&utf8, 0);
	f = row(&fields, w->row);
	if (!f || !t)
		return fail(w, REASON_UNKNOWN_FIELD, 0);
#pragma unroll
	for (int i = 0; i < WINDOW / 8; i++) {
		__u64 x, high;

		FORGET();
		p = w->off - w->wbase;
		n = w->send - w->off;
		if (n > 8)
			n = 8;
		if (p > WINDOW || p + n > WINDOW)
			return GO;
		if (n == 0)
			break;
		x = *(__u64 *)(w->win + p);
		if (n < 8)
			x &= (1ULL << (8 * n)) - 1;
		high = x & CONST(0x8080808080808080ULL);
		w->off += n;
		w->runes += n;
		if (high || w->state) {
			w->state = utf8_next(t, w->state, x);
			if (w->state == UTF8_REJECT)
				return fail(w, REASON_UTF8, f->number);
			// Bytes 10xxxxxx begin no code point.
			high &= ~(x << 1);
			w->runes -= (high >> 7) * CONST(0x0101010101010101ULL) >> 56;
		}
	}
	return ended(w, f);
}

// The same for a string of one class of ASCII characters.
noinline int class_stretch(struct __sk_buff *skb, struct walk *w)
{
	struct field *f;

	if (!w)
		return STOP;
	if (ahead(skb, w))
		return STOP;
	f = row(&fields, w->row);
	if (!f)
		return fail(w, REASON_UNKNOWN_FIELD, 0);
#pragma nounroll
	for (int i = 0; i < WINDOW; i++) {
		__u32 p = w->off - w->wbase, c;

		if (w->off >= w->send)
			break;
		if (p >= WINDOW)
			return GO;
		c = w->win[p];
		if (c > 127 || !((c < 64 ? f->class[0] : f->class[1]) >> (c & 63) & 1))
			return fail(w, REASON_BOUNDS, f->number);
		w->off++;
		w->runes++;
		FORGET();
	}
	return ended(w, f);
}

/* ---- the call table ---- */

#define AUDIT_NEVER 4 // in walk.audit: no record, also if denied

// What a message makes of its slot's word: 0 and the new word in *word, or the
// reason why it may not be sent now.
INLINE __u32 transition(struct walk *w, __u64 *word)
{
	__u64 old = *word, call = (__u64)w->gen | (__u64)(__u16)w->method << 16;
	__u32 phase = old >> 32;

	if (w->kind == KIND_CALL && !K_DIR) {
		if (phase & SLOT_BUSY)
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
	w->root = kind == KIND_ERROR ? NODE_STATUS : m->node;
	// An opening of a client's stream, an end, a cancel and a credit have no body.
	__u32 empty = kind == KIND_END || kind == KIND_CANCEL || kind == KIND_CREDIT || (kind == KIND_CALL && (m->flags & M_CLIENT_STREAM));

	if (flags) {
		__u32 size = *(__u16 *)(w->win + WARD_HEADER);

		if (len < WARD_HEADER + 2 || size > len - WARD_HEADER - 2)
			return deny(w, REASON_METADATA);
		if (empty && size != len - WARD_HEADER - 2)
			return deny(w, REASON_LENGTH);
		w->meta = 1;
		w->off = WARD_HEADER + 2;
		return enter(w, 0, NODE_METADATA, w->off + size) ? deny(w, REASON_METADATA) : H_WALK;
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
INLINE void record(struct __sk_buff *skb, struct walk *w, struct counters *count, int params)
{
	struct method *m = 0;
	struct record *r;
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
	r->to = K_TO;
	r->route = K_ROUTE;
	r->method = w->method;
	r->slot = w->slot;
	r->gen = w->gen;
	r->kind = w->kind;
	r->dir = K_DIR;
	r->reason = w->reason;
	r->detail = w->detail;
	r->length = skb->len;
	// Captures are those of a message's own tree, and complete only after its walk.
	if (params && w->audit && w->method < K_METHODS)
		m = row(&methods, w->method);
	if (m) {
		r->nparams = m->ncap;
		r->present = w->present;
#pragma unroll
		for (__u32 i = 0; i < RECORD_PARAMS; i++)
			r->params[i] = i < m->ncap ? w->cap[i] : 0;
		if (m->strings == 1)
			TEXTS(64);
		else if (m->strings == 2)
			TEXTS(32);
		else if (m->strings <= 4)
			TEXTS(16);
		else
			TEXTS(8);
	}
	bpf_ringbuf_submit(r, 0);
}

// Commits, answers, counts and records. Returns what the filter returns.
noinline int finish(struct __sk_buff *skb, struct walk *w)
{
	struct counters *count = row(&counters, 0);
	struct gate *g = row(&gates, skb->cb[0]);
	__u32 ok, r, ret = 0;

	if (!w || !count || !g)
		return 0;
	ok = w->reason == REASON_PERMIT || w->reason == REASON_ADMIT;
	if (ok || (w->known == 2 && K_DIR && w->kind != KIND_CREDIT)) {
		// A denied last reply, too, ends its call: what the client gets is its header.
		r = commit(skb, w);
		if (r) {
			if (ok) {
				w->reason = r;
				w->detail = 0;
			}
			ok = 0;
		} else {
			ret = ok ? -1 : WARD_HEADER;
		}
	}
	verdict(w, g->block[K_DIR & 1]);
	__sync_fetch_and_add(ok ? &count->allowed : &count->denied, 1);
	if ((!ok && !(w->audit & AUDIT_NEVER)) || (w->audit & 2) || K_AUDIT)
		record(skb, w, count, 1);
	return ret;
}

struct run {
	struct walk w;
	struct __sk_buff *skb;
};

// One turn of the loop: 1 ends it.
static long turn(__u32 i, struct run *x)
{
	int r = 0;

	if (x->w.mode == MODE_FIELD) {
		r = tag(x->skb, &x->w);
		if (r == NEXT)
			return 0;
	}
	if (!r && x->w.mode < MODE_STRING)
		r = value(x->skb, &x->w);
	if (!r && x->w.mode == MODE_STRING)
		r = utf8_stretch(x->skb, &x->w);
	if (!r && x->w.mode == MODE_CLASS)
		r = class_stretch(x->skb, &x->w);
	if (!r && x->w.check) {
		r = check(x->skb, &x->w);
		if (r) {
			x->w.reason = REASON_BOUNDS;
			x->w.detail = r;
		}
		x->w.check = 0;
	}
	x->w.done = r;
	return r != 0;
}

SEC("socket")
int gate(struct __sk_buff *skb)
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
		} else {
			__u64 v = decide(skb, w);

			w->reason = (__u8)v;
			w->audit |= v >> 7 & 2;
			w->detail = v >> 32;
		}
	}
	return finish(skb, w);
}

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
	record(skb, &w, count, 0);
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
