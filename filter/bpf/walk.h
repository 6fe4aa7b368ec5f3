// SPDX-License-Identifier: Apache-2.0
//
// The walk over a message's body: part of gate.bpf.c.

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

		if (!count || !(K_USES & U_SPARSE))
			return 0;
		w->row = base; // of a number below the lowest: never the row of an earlier field
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
			if (!(K_USES & U_SET))
				return fail(w, reason, f->number);
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
	if (K_USES & U_TESTS)
		w->check = f->check;
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

// The lesser of n and 8, without a branch: the verifier would follow both ways
// through the rest of a stretch. n is below 2^31.
INLINE __u32 least8(__u32 n)
{
	__u32 d = n - 8, below = (__s32)d >> 31;

	IN_ORDER(below);
	return (d & below) + 8;
}

// The same for a string of one class of ASCII characters.
noinline int class_stretch(struct __sk_buff *skb, struct walk *w)
{
	struct field *f;

	if (!w)
		return STOP;
	// The verifier's costliest function is not there for those without such strings.
	if (!(K_USES & U_CLASS))
		return fail(w, REASON_BOUNDS, 0);
	if (ahead(skb, w))
		return STOP;
	f = row(&fields, w->row);
	if (!f)
		return fail(w, REASON_UNKNOWN_FIELD, 0);
#pragma nounroll
	for (int i = 0; i < WINDOW / 8; i++) {
		__u32 p, n;
		__u64 x, in = 0;

		FORGET();
		p = w->off - w->wbase;
		n = least8(w->send - w->off);
		if (p > WINDOW || p + n > WINDOW)
			return GO;
		if (n == 0)
			break;
		x = *(__u64 *)(w->win + p);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			in |= (f->class[x >> 6 & 1] >> (x & 63) & ~(x >> 7) & 1) << j;
			IN_ORDER(in);
			x >>= 8;
			IN_ORDER(x);
		}
		if (~in & ((1ULL << n) - 1))
			return fail(w, REASON_BOUNDS, f->number);
		w->off += n;
		w->runes += n;
	}
	return ended(w, f);
}
