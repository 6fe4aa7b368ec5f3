/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers and layouts that the filter shares with Go: packages abi, image
 * and filter. TestHeaderMirrorsABI compares every #define and struct below
 * with its Go counterpart.
 */
#ifndef WARD_H
#define WARD_H

#include <linux/types.h>

/* abi/wire.go */
#define WARD_VERSION 1
#define WARD_HEADER 24
#define WARD_DENIED 16
#define WARD_MAX_MESSAGE (128 << 10)
#define WARD_SLOTS 64
#define KIND_CALL 1
#define KIND_REPLY 2
#define KIND_ERROR 3
#define KIND_ITEM 4
#define KIND_END 5
#define KIND_CANCEL 6
#define KIND_CREDIT 7
#define FLAG_METADATA 1
#define SLOT_BUSY 1
#define SLOT_CLIENT_DONE 2
#define SLOT_CANCELLED 4
#define SLOT_RESERVED 8

/* abi/verdict.go */
#define NO_POLICY 0xffffffff
#define PAGE_BLOCK 128
#define PAGE_SLOTS 64
#define REASON_NONE 0
#define REASON_PERMIT 1
#define REASON_FORBID 2
#define REASON_DEFAULT 3
#define REASON_ADMIT 4
#define REASON_SHORT 16
#define REASON_VERSION 17
#define REASON_KIND 18
#define REASON_FLAGS 19
#define REASON_METHOD 20
#define REASON_LENGTH 21
#define REASON_DEADLINE 22
#define REASON_SLOT 23
#define REASON_SLOT_BUSY 24
#define REASON_NO_CALL 25
#define REASON_STREAM_DONE 26
#define REASON_SENDER 27
#define REASON_CLOSED 28
#define REASON_RACE 29
#define REASON_UNKNOWN_FIELD 40
#define REASON_WIRE_TYPE 41
#define REASON_VARINT 42
#define REASON_WIDTH 43
#define REASON_DUPLICATE 44
#define REASON_TRUNCATED 45
#define REASON_UTF8 46
#define REASON_BOUNDS 47
#define REASON_REQUIRED 48
#define REASON_TOO_DEEP 49
#define REASON_TOO_MANY 50
#define REASON_ENUM 51
#define REASON_METADATA 52
#define REASON_RATE 64
#define REASON_STATE 65
#define REASON_HANDLE 66

/* abi/record.go */
#define RECORD_SIZE 192
#define RECORD_PARAMS 8
#define RECORD_TEXT 64
struct record {
	__u64 time, seq;
	__u32 gate, from, to, route, method;
	__u16 slot, gen;
	__u8 kind, dir, reason, nparams;
	__u32 detail, length;
	__u8 textlen, word; /* word: 1 + which of the method's words state is; 0: none */
	__u16 present;
	__u64 state, params[RECORD_PARAMS];
	__u8 text[RECORD_TEXT];
};

/* filter/tables.go: limits */
#define LEVELS 9     /* the message and eight nested in each other */
#define CAPTURES 16  /* parameters that a decision looks at */
#define MAX_FIELDS 1024 /* fields walked in one message */
#define MAX_STEPS 4096 /* steps of a walk: fields, packed elements, stretches of a string, ends of messages */
#define MAX_NODES 1024
#define WORDS 4      /* words of state that a decision looks at */
#define RATES 16     /* buckets that a message may be charged to */

/* image/image.go: types of a field */
#define T_INT32 1
#define T_INT64 2
#define T_UINT32 3
#define T_UINT64 4
#define T_SINT32 5
#define T_SINT64 6
#define T_FIXED32 7
#define T_FIXED64 8
#define T_SFIXED32 9
#define T_SFIXED64 10
#define T_BOOL 11
#define T_ENUM 12
#define T_FLOAT 13
#define T_DOUBLE 14
#define T_STRING 15
#define T_BYTES 16
#define T_NESTED 17

/* filter/tables.go: a row for each method of a direction. The layout of struct
 * record is checked by a live test in kernel, those of the others by TestLayouts. */
struct method {
	__u32 node;    /* root of the message's tree */
	__u32 flags;
	__u32 ncap;    /* parameters that an audit record carries */
	__u32 strings; /* number of these that are strings or bytes; each gets an equal share of a record's text */
	__u8 string[8]; /* their capture slots */
	__u32 word[WORDS]; /* of state that its policy looks at or changes */
	__u32 nwords;
	__u32 rate;        /* first of its rows in rates */
};
#define M_CLIENT_STREAM 1
#define M_SERVER_STREAM 2
#define M_PERMIT 4 /* some permit may match: opening a client stream is admitted */
#define M_TERSE 8  /* not every reply may pass: an error is a code, and it and an end carry no metadata */
#define M_SILENT 16 /* no message of this direction carries metadata */
#define M_POST 32  /* nobody answers: a call that is admitted leaves its slot free */
#define M_HANDLE 8 /* shift: five bits are 1 + the capture slot of a handle's id, 0: the message has none; its kind, size and write have the three slots after it */
#define M_METADATA 16 /* shift: the node of the method's metadata section is in the upper half */

/* a row for each message of the tree */
struct node {
	__u32 base;     /* first row in fields */
	__u32 count;    /* rows */
	__u32 dense;    /* row base+n-1 is field n; else sorted by number */
	__u32 noneof;   /* oneofs of which one member must be present: masks at values[oneof...] */
	__u64 required; /* bits of fields that must be on the wire */
	__u32 oneof;
	__u32 pad;
};
#define NODE_METADATA 0 /* root of the metadata section, but for methods with one of their own */
#define NODE_STATUS 1   /* root of an error's body */
#define NODE_CODE 2     /* the same under M_TERSE */
#define MAX_ONEOFS 16

/* a row for each field */
struct field {
	__u32 number; /* 0: no such field */
	__u8 type, wire, flags, bit;
	__u8 cap, count; /* 1 + capture slot of the value, of the number of elements; 0: none */
	__u16 check;     /* 1 + rule of the generated check function, 0: none; CHECK_FIRST: tests or likes */
	__u32 child;     /* T_NESTED: its node */
	__u64 bias;      /* values are compared as value ^ bias, unsigned */
	__u64 lo, hi;
	__u64 bits;      /* F_BITS: bit (value^bias)-lo is set if the value is allowed */
	__u32 set, nset; /* F_SET: sorted values at values[set...] */
	__u64 oneof;     /* bits of the members of its oneof */
	__u32 minlen, maxlen;
	__u32 minitems, maxitems;
	__u32 minrunes, maxrunes; /* maxrunes 0: not bounded */
	__u64 class[2];
	__u32 nth;  /* number of the field whose bit is this row's position in the node */
	__u32 nthf; /* 1: its absence breaks a bound; else it is required as such */
	/* Constants that its values are looked up among: values[tests...] is the answer for the others,
	 * what the answer must hold for the value to be in bounds, the range of the first keys, and the gap. */
	__u32 tests; /* 0: none */
	/* Patterns of a string: values[likes...] is the first state, the states that stay, and for each byte those it leads to. */
	__u32 likes; /* 0: none */
	__u8 tcap, lcap; /* 1 + capture slots of the answers and of the state */
	__u8 pad[6];
};
#define SEEN_FOUND 63 /* bit of the answers for a value that is among the constants */
#define CHECK_RULE 0x3fff
#define CHECK_GOING 0x4000 /* of the string that is going on some is taken in */
#define CHECK_FIRST 0x8000 /* the value is to be taken in by seen() */
#define F_REPEATED 1
#define F_BITS 2
#define F_SET 4
#define F_CLASS 8
#define F_NONZERO 16 /* required and without presence: a zero value counts as absent */

/* Bits of K_USES: code that a program needs. What is not there denies. */
#define U_CLASS 1   /* F_CLASS in a field's flags */
#define U_SET 2     /* F_SET */
#define U_SPARSE 4  /* a node that is not dense */
#define U_TEXT1 8   /* a method with one string in its records, */
#define U_TEXT2 16  /* with two, */
#define U_TEXT4 32  /* with three or four, */
#define U_TEXT8 64  /* with more */
#define U_TESTS 128 /* a field with constants */
#define U_LIKES 256 /* a string with a pattern */
#define U_HANDLE 512 /* a message with a handle, */
#define U_POST 1024  /* a method with M_POST: template gate_objects */

/* image/image.go: state */
#define GATE_WORD 0xffffffff /* in method.word: the gate's own */
#define STATE_BITS 48

/* filter/effects.go: a row for each bucket that a program charges */
struct rate {
	__u64 every; /* ns that a token takes to come */
	__u64 depth; /* ns that all tokens take */
	__u32 bucket, policy;
};

/* kernel/fabric.go: a row for each gate */
struct gate {
	__u32 prog[2];     /* slot of the program array, by direction */
	__u64 cgroup[2];   /* of client and server; 0: not checked */
	__u32 block[2];    /* on the verdict page of client and server */
	__u32 incarnation; /* of this row; a stub of an earlier gate does not match it */
	__u32 route;
	__u32 receiver[2]; /* abi.DomainID, by direction */
};

struct calls {
	__u64 slot[WARD_SLOTS];
};

/* abi/handle.go: a row for each handle. Its word has the state, what the message
 * that carries it may say of it, and the gate that it is for. */
struct handle {
	__u64 word, size;
};
#define HANDLE_STATE 3
#define HANDLE_FREE 0
#define HANDLE_OFFERED 1
#define HANDLE_RESERVED 2 /* by a message that is being admitted: nobody else changes it */
#define HANDLE_ADMITTED 3
#define HANDLE_KIND 2         /* shift, */
#define HANDLE_KINDS 7        /* mask of what is left */
#define HANDLE_WRITE 5        /* shift of one bit */
#define HANDLE_DIRECTION 6    /* shift of one bit */
#define HANDLE_GENERATION 8   /* shift, */
#define HANDLE_GENERATIONS 0xffffff
#define HANDLE_INCARNATION 32 /* shift */
#define HANDLE_ROWS 16        /* shift of the generation in the id of a handle; the row is below it */
/* proto/ward/v1/handle.proto */
#define HANDLE_FIELD_ID 1
#define HANDLE_FIELD_KIND 2
#define HANDLE_FIELD_SIZE 3
#define HANDLE_FIELD_WRITE 4

/* kernel/fabric.go: one row for each endpoint */
struct counters {
	__u64 seq, lost, allowed, denied;
};

/* kernel/page.go: argument of the program that changes a status word */
struct status {
	__u32 block, op;
};
#define STATUS_BUMP 0
#define STATUS_REVOKE 1
#define STATUS_RESET 2

/* kernel/fabric_state.go: argument of the program that changes a word of state */
struct exchange {
	__u64 old, next;
	__u32 row, pad;
};

/* The state of a walk, on the stack of the filter. decide and check read it
 * at the offsets that filter/tables.go gives. */
#define WINDOW 64
struct level {
	__u64 seen;  /* bits of the fields that have occurred (repeated: often enough) */
	__u32 end;   /* first byte after the message */
	__u16 node;  /* bits 0-9: node; bits 10-15: bit of the repeated field that is going on */
	__u16 items; /* its elements so far; 0: none is going on */
};
/* What admitting a message would do. It takes the place of what the walk, which
 * is over by then, had there. */
struct effects {
	__u64 word[WORDS]; /* the method's words, as the decision sees them */
	__u64 mask, next;  /* bits that get a value, and their values */
	__u64 was, busy;   /* the slot's word before it was reserved, and as it will be */
	__u64 now, wait;   /* ns; wait: until the emptiest bucket has a token, 0: now */
	__u32 rates;       /* bit k: a token from row k of the method's rates */
	__u32 charged;     /* those that were taken */
	__u32 target;      /* 1 + which of word is changed; 0: none */
	__u32 row;         /* of the handle that the message carries, */
	__u64 handle;      /* and its word before it was reserved; 0: it carries none */
};
struct walk {
	union {
		struct {
			__u8 win[WINDOW + 8]; /* bytes of the packet from wbase on */
			struct level level[LEVELS];
		};
		struct effects e;
	};
	__u64 cap[CAPTURES]; /* a scalar, or offset << 32 | length */
	__u64 val;           /* last varint or fixed value; a string: offset << 32 | length */
	__u32 off, wbase;    /* next byte to read; first byte in win */
	__u32 send, runes;   /* end of the string or packed field; its code points so far */
	__u32 method, detail;
	__u16 present;       /* bit i: cap[i] was in the message */
	__u16 base, count;   /* rows of the current node; COUNT_DENSE in count: as in struct node */
	__u16 root, row;     /* node of the body; row of the current field */
	__u16 slot, gen, fields, check;
	__u8 depth, mode, state, kind, phase, known, audit, meta, done, reason, wire;
	__u8 held;  /* HELD_*: what is changed already */
	__u8 words; /* 1: e.word is what the decision saw */
};
#define HELD_SLOT 1 /* the slot's word, */
#define HELD_ALL 2  /* and that of the handle */
/* filter/utf8.go */
#define UTF8_REJECT 6
#define COUNT_DENSE 0x8000
#define MODE_FIELD 0
#define MODE_VALUE 1
#define MODE_PACKED 2
#define MODE_STRING 3
#define MODE_CLASS 4 /* a string of one class of ASCII characters */

#endif
