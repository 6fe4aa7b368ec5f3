// SPDX-License-Identifier: Apache-2.0
//
// What the policy asks of values while they are read: is an element of a
// repeated field, or a field with a large set of constants, one of them; does
// a string match a pattern with text in the middle. Part of gate.bpf.c.
//
// Constants are a trie of 64-bit keys, each level sorted: a number is one key,
// a string its length and then its bytes, eight by eight, zeros after the end.
// A range of keys is first << 32 | end. What a key leads to stands `gap` rows
// behind it: a range, or at the end of a value the answers, one bit for each
// question, and SEEN_FOUND. Answers of the elements of a field are OR-ed.
//
// A pattern is an automaton of which all states are followed at once, one bit
// each (Baeza-Yates and Gonnet, 1992): a byte moves the bits that it continues
// one up, and the bits of gaps stay.

// Goes on from the range w->val to what key leads to, or to 0.
noinline int seek(struct walk *w, __u64 key)
{
	struct field *f;
	__u64 *p, range;
	__u32 lo, hi;

	if (!w)
		return STOP;
	range = w->val;
	w->val = 0;
	lo = range >> 32;
	hi = (__u32)range;
#pragma nounroll
	for (int i = 0; i < 16; i++) { // at most 32,768 keys
		__u32 mid = (lo + hi) >> 1;

		if (lo >= hi)
			return GO;
		p = row(&values, mid);
		if (!p)
			return GO;
		if (*p == key) {
			lo = mid;
			goto found;
		}
		if (*p < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return GO;
found:
	f = row(&fields, w->row);
	if (!f)
		return GO;
	p = row(&values, f->tests + 3);
	if (!p)
		return GO;
	p = row(&values, lo + *p);
	if (p)
		w->val = *p;
	return GO;
}

// The end of a value: w->val is what the constants say of it.
noinline int answer(struct walk *w)
{
	struct field *f;
	__u64 *p;
	__u32 slot;

	if (!w)
		return STOP;
	w->check = 0;
	f = row(&fields, w->row);
	if (!f)
		return fail(w, REASON_BOUNDS, 0);
	if (!w->val) {
		p = row(&values, f->tests);
		if (!p)
			return fail(w, REASON_BOUNDS, f->number);
		w->val = *p;
	}
	p = row(&values, f->tests + 1);
	if (!p || *p & ~w->val)
		return fail(w, REASON_BOUNDS, f->number);
	slot = f->tcap - 1;
	if (slot < CAPTURES) {
		w->cap[slot] |= w->val;
		w->present |= 1 << slot;
	}
	return GO;
}

// Follows the pattern of a field over the bytes of the window from `from` on.
noinline int follow(struct walk *w, __u32 from)
{
	struct field *f;
	__u64 *p, state, stay;
	__u32 first;

	if (!w || !(K_USES & U_LIKES))
		return STOP;
	f = row(&fields, w->row);
	if (!f || !f->likes || f->lcap - 1 >= CAPTURES)
		return fail(w, REASON_BOUNDS, 0);
	first = f->likes;
	p = row(&values, first);
	if (!p)
		return fail(w, REASON_BOUNDS, f->number);
	state = w->check & CHECK_FIRST ? *p : w->cap[(f->lcap - 1) & (CAPTURES - 1)];
	p = row(&values, first + 1);
	if (!p)
		return fail(w, REASON_BOUNDS, f->number);
	stay = *p;
#pragma nounroll
	for (int i = 0; i < WINDOW; i++) {
		__u32 at = from - w->wbase;

		if (from >= w->off || at >= WINDOW + 8)
			break;
		p = row(&values, first + 2 + w->win[at]);
		if (!p)
			break;
		state = (state << 1 & *p) | (state & stay);
		IN_ORDER(state);
		from++;
	}
	FORGET();
	f = row(&fields, w->row);
	if (!f)
		return fail(w, REASON_BOUNDS, 0);
	w->cap[(f->lcap - 1) & (CAPTURES - 1)] = state;
	w->present |= 1 << ((f->lcap - 1) & (CAPTURES - 1));
	return GO;
}

// Takes in the value that was read, or of a string the stretch that was: from
// `from` to w->off.
noinline int seen(struct walk *w, __u32 from)
{
	struct field *f;
	__u64 *root;

	if (!w || !(K_USES & (U_TESTS | U_LIKES)))
		return STOP;
	f = row(&fields, w->row);
	if (!f)
		return fail(w, REASON_BOUNDS, 0);
	if (f->likes && follow(w, from))
		return STOP;
	if (!f->tests || !(K_USES & U_TESTS)) {
		w->check = w->off == w->send ? 0 : CHECK_GOING;
		return GO;
	}
	if (w->check & CHECK_FIRST) {
		__u64 key = f->type == T_STRING ? (__u32)w->val : w->val;

		root = row(&values, f->tests + 2);
		if (!root)
			return fail(w, REASON_BOUNDS, 0);
		w->val = *root;
		w->check = f->type == T_STRING ? CHECK_GOING : 0;
		seek(w, key);
		if (!w->check)
			return answer(w);
	}
#pragma nounroll
	for (int i = 0; i < WINDOW / 8; i++) {
		__u32 at = from - w->wbase, n = w->off - from;
		__u64 x;

		if (from >= w->off || at > WINDOW || !w->val)
			break;
		x = *(__u64 *)(w->win + at);
		if (n < 8)
			x &= (1ULL << (8 * n)) - 1;
		seek(w, x);
		from += 8;
	}
	return w->off == w->send ? answer(w) : GO;
}
