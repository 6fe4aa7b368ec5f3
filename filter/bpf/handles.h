// SPDX-License-Identifier: Apache-2.0
//
// Handles in messages. What a message says of its handle are claims: the map
// `handles` has what the sender was entitled to offer, by whom offers are made.
// A message whose claims do not hold is denied before anything is decided on
// it. One that is admitted takes the offer with it: the word goes from offered
// to reserved by a compare-and-swap, beside the slot's and before there are any
// effects, and to admitted at the end, or back if the message is denied after
// all. So an offer goes with one message at most. Part of gate.bpf.c.

INLINE __u32 no_handle(struct walk *w, __u32 field)
{
	w->detail = field;
	return REASON_HANDLE;
}

// Looks up the handle that the message carries, if it carries one: 0, or the
// reason, and in w->detail the field of the handle that claims what is not so.
INLINE __u32 look_up(struct __sk_buff *skb, struct walk *w, struct method *m)
{
	__u32 slot = m->flags >> M_HANDLE & 31;
	struct handle *h;
	struct gate *g;
	__u64 id, word;

	if (!(K_USES & U_HANDLE) || w->held)
		return 0;
	w->e.handle = 0;
	if (!slot || !(w->present >> (slot - 1) & 1))
		return 0; // its id is required
	slot -= 1;
	id = w->cap[slot & (CAPTURES - 1)];
	g = row(&gates, skb->cb[0]);
	h = row(&handles, id & ((1 << HANDLE_ROWS) - 1));
	if (!g || !h)
		return no_handle(w, HANDLE_FIELD_ID);
	// The word before the size: as long as it stays as it is, so does the size.
	word = *(volatile __u64 *)&h->word;
	if ((word & HANDLE_STATE) != HANDLE_OFFERED || word >> HANDLE_INCARNATION != g->incarnation ||
	    (word >> HANDLE_DIRECTION & 1) != K_DIR || (word >> HANDLE_GENERATION & HANDLE_GENERATIONS) != id >> HANDLE_ROWS)
		return no_handle(w, HANDLE_FIELD_ID);
	if ((word >> HANDLE_KIND & HANDLE_KINDS) != w->cap[(slot + 1) & (CAPTURES - 1)])
		return no_handle(w, HANDLE_FIELD_KIND);
	if (*(volatile __u64 *)&h->size != w->cap[(slot + 2) & (CAPTURES - 1)])
		return no_handle(w, HANDLE_FIELD_SIZE);
	if ((word >> HANDLE_WRITE & 1) != w->cap[(slot + 3) & (CAPTURES - 1)])
		return no_handle(w, HANDLE_FIELD_WRITE);
	w->e.row = id & ((1 << HANDLE_ROWS) - 1);
	w->e.handle = word;
	return 0;
}

// Reserves the handle that was looked up, if the message carries one. 0: another
// message has taken it meanwhile, or it was withdrawn, and w->reason says so.
INLINE __u32 take(struct walk *w)
{
	struct handle *h;

	if (!(K_USES & U_HANDLE) || !w->e.handle)
		return 1;
	h = row(&handles, w->e.row);
	if (!h || __sync_val_compare_and_swap(&h->word, w->e.handle, w->e.handle + HANDLE_RESERVED - HANDLE_OFFERED) != w->e.handle) {
		w->reason = no_handle(w, HANDLE_FIELD_ID);
		return 0;
	}
	w->held = HELD_ALL;
	return 1;
}

// Makes a reserved handle what it is to be, or an offer again. It is changed by
// nobody else.
INLINE void hand_over(struct walk *w)
{
	struct handle *h;

	if (!(K_USES & U_HANDLE) || w->held != HELD_ALL)
		return;
	h = row(&handles, w->e.row);
	if (h)
		*(volatile __u64 *)&h->word = w->reason == REASON_PERMIT ? w->e.handle + HANDLE_ADMITTED - HANDLE_OFFERED : w->e.handle;
}
