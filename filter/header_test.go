package filter

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"ward/abi"
	"ward/image"
)

// defines reads the numbers that ward.h defines.
func defines(t *testing.T) map[string]uint64 {
	t.Helper()
	text, err := os.ReadFile("bpf/ward.h")
	if err != nil {
		t.Fatal(err)
	}
	d := map[string]uint64{}
	for _, m := range regexp.MustCompile(`(?m)^#define ([A-Z0-9_]+) (\(?[0-9][^/\n]*)`).FindAllStringSubmatch(string(text), -1) {
		expr := strings.Trim(strings.TrimSpace(m[2]), "()")
		shift := 0
		if l, r, ok := strings.Cut(expr, " << "); ok {
			expr = l
			shift, _ = strconv.Atoi(r)
		}
		v, err := strconv.ParseUint(expr, 0, 64)
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		d[m[1]] = v << shift
	}
	return d
}

func TestHeaderMirrorsABI(t *testing.T) {
	want := map[string]uint64{
		"WARD_VERSION": abi.Version, "WARD_HEADER": abi.HeaderSize, "WARD_DENIED": abi.DeniedSize, "WARD_MAX_MESSAGE": abi.MaxMessage, "WARD_SLOTS": abi.Slots,
		"KIND_CALL": uint64(abi.KindCall), "KIND_REPLY": uint64(abi.KindReply), "KIND_ERROR": uint64(abi.KindError),
		"KIND_ITEM": uint64(abi.KindStreamItem), "KIND_END": uint64(abi.KindStreamEnd), "KIND_CANCEL": uint64(abi.KindCancel), "KIND_CREDIT": uint64(abi.KindCredit),
		"FLAG_METADATA": uint64(abi.FlagMetadata), "SLOT_BUSY": abi.SlotBusy, "SLOT_CLIENT_DONE": abi.SlotClientDone, "SLOT_CANCELLED": abi.SlotCancelled, "SLOT_RESERVED": abi.SlotReserved,
		"NO_POLICY": uint64(abi.NoPolicy), "PAGE_BLOCK": abi.PageBlock, "PAGE_SLOTS": abi.PageSlots,
		"REASON_NONE": uint64(abi.ReasonNone), "REASON_PERMIT": uint64(abi.ReasonPermit), "REASON_FORBID": uint64(abi.ReasonForbid),
		"REASON_DEFAULT": uint64(abi.ReasonDefault), "REASON_ADMIT": uint64(abi.ReasonAdmit), "REASON_SHORT": uint64(abi.ReasonShort),
		"REASON_VERSION": uint64(abi.ReasonVersion), "REASON_KIND": uint64(abi.ReasonKind), "REASON_FLAGS": uint64(abi.ReasonFlags),
		"REASON_METHOD": uint64(abi.ReasonMethod), "REASON_LENGTH": uint64(abi.ReasonLength), "REASON_DEADLINE": uint64(abi.ReasonDeadline),
		"REASON_SLOT": uint64(abi.ReasonSlot), "REASON_SLOT_BUSY": uint64(abi.ReasonSlotBusy), "REASON_NO_CALL": uint64(abi.ReasonNoCall),
		"REASON_STREAM_DONE": uint64(abi.ReasonStreamDone), "REASON_SENDER": uint64(abi.ReasonSender), "REASON_CLOSED": uint64(abi.ReasonClosed),
		"REASON_RACE": uint64(abi.ReasonRace), "REASON_UNKNOWN_FIELD": uint64(abi.ReasonUnknownField), "REASON_WIRE_TYPE": uint64(abi.ReasonWireType),
		"REASON_VARINT": uint64(abi.ReasonVarint), "REASON_WIDTH": uint64(abi.ReasonWidth), "REASON_DUPLICATE": uint64(abi.ReasonDuplicate),
		"REASON_TRUNCATED": uint64(abi.ReasonTruncated), "REASON_UTF8": uint64(abi.ReasonUTF8), "REASON_BOUNDS": uint64(abi.ReasonBounds),
		"REASON_REQUIRED": uint64(abi.ReasonRequired), "REASON_TOO_DEEP": uint64(abi.ReasonTooDeep), "REASON_TOO_MANY": uint64(abi.ReasonTooMany),
		"REASON_ENUM": uint64(abi.ReasonEnum), "REASON_METADATA": uint64(abi.ReasonMetadata), "REASON_RATE": uint64(abi.ReasonRate), "REASON_STATE": uint64(abi.ReasonState), "REASON_HANDLE": uint64(abi.ReasonHandle),
		"RECORD_SIZE": abi.RecordSize, "RECORD_PARAMS": abi.RecordParams, "RECORD_TEXT": abi.RecordText,
		"WORDS": Words, "RATES": Rates, "GATE_WORD": uint64(image.GateWord), "STATE_BITS": image.StateBits, "LEVELS": Levels, "CAPTURES": Captures, "MAX_FIELDS": MaxFields, "MAX_STEPS": MaxSteps, "MAX_NODES": MaxNodes, "MAX_ONEOFS": MaxOneofs,
		"T_INT32": uint64(image.Int32), "T_INT64": uint64(image.Int64), "T_UINT32": uint64(image.Uint32), "T_UINT64": uint64(image.Uint64),
		"T_SINT32": uint64(image.Sint32), "T_SINT64": uint64(image.Sint64), "T_FIXED32": uint64(image.Fixed32), "T_FIXED64": uint64(image.Fixed64),
		"T_SFIXED32": uint64(image.Sfixed32), "T_SFIXED64": uint64(image.Sfixed64), "T_BOOL": uint64(image.Bool), "T_ENUM": uint64(image.Enum),
		"T_FLOAT": uint64(image.Float), "T_DOUBLE": uint64(image.Double), "T_STRING": uint64(image.String), "T_BYTES": uint64(image.Bytes), "T_NESTED": uint64(image.Nested),
		"M_CLIENT_STREAM": methodClientStream, "M_SERVER_STREAM": methodServerStream, "M_PERMIT": methodPermit, "M_TERSE": methodTerse, "M_SILENT": methodSilent, "M_POST": methodPost, "M_HANDLE": methodHandle, "M_METADATA": methodMetadata,
		"NODE_METADATA": nodeMetadata, "NODE_STATUS": nodeStatus, "NODE_CODE": nodeCode,
		"F_REPEATED": flagRepeated, "F_BITS": flagBits, "F_SET": flagSet, "F_CLASS": flagClass, "F_NONZERO": flagNonzero,
		"U_CLASS": usesClass, "U_SET": usesSet, "U_SPARSE": usesSparse, "U_TEXT1": usesText1, "U_TEXT2": usesText2, "U_TEXT4": usesText4, "U_TEXT8": usesText8, "U_TESTS": usesTests, "U_LIKES": usesLikes, "U_HANDLE": usesHandle, "U_POST": usesPost,
		"HANDLE_STATE": abi.HandleStates, "HANDLE_FREE": abi.HandleFree, "HANDLE_OFFERED": abi.HandleOffered, "HANDLE_RESERVED": abi.HandleReserved, "HANDLE_ADMITTED": abi.HandleAdmitted,
		"HANDLE_KIND": abi.HandleKindAt, "HANDLE_KINDS": uint64(abi.MaxHandleKind), "HANDLE_WRITE": abi.HandleWriteAt, "HANDLE_DIRECTION": abi.HandleDirectionAt,
		"HANDLE_GENERATION": abi.HandleGenerationAt, "HANDLE_GENERATIONS": abi.HandleGenerations, "HANDLE_INCARNATION": abi.HandleIncarnationAt, "HANDLE_ROWS": abi.HandleRowBits,
		"HANDLE_FIELD_ID": image.HandleID, "HANDLE_FIELD_KIND": image.HandleKind, "HANDLE_FIELD_SIZE": image.HandleSize, "HANDLE_FIELD_WRITE": image.HandleWrite,
		"SEEN_FOUND": seenFound, "CHECK_RULE": maxRules, "CHECK_FIRST": checkSeen,
		"STATUS_BUMP": StatusBump, "STATUS_REVOKE": StatusRevoke, "STATUS_RESET": StatusReset, "UTF8_REJECT": utf8Reject,
	}
	local := map[string]bool{"WINDOW": true, "COUNT_DENSE": true, "MODE_FIELD": true, "MODE_VALUE": true, "MODE_PACKED": true, "MODE_STRING": true, "MODE_CLASS": true, "CHECK_GOING": true, "HELD_SLOT": true, "HELD_ALL": true}
	got := defines(t)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %d in ward.h (defined: %v), %d in Go", name, g, ok, v)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !local[name] {
			t.Errorf("%s of ward.h has no counterpart in this test", name)
		}
	}
}
