package filter

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// TestObjectIsBuiltFromSource rebuilds the committed object. Another release
// of clang may emit other instructions: then the test says so and skips.
func TestObjectIsBuiltFromSource(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil {
		t.Skip("needs clang, llvm-strip and libbpf-dev to rebuild bpf/gate.bpf.o")
	}
	if m := regexp.MustCompile(`version (\d+)`).FindSubmatch(version); m == nil || string(m[1]) != "14" {
		t.Skipf("needs clang 14, with which the object was built; this is %s", bytes.SplitN(version, []byte("\n"), 2)[0])
	}
	out := filepath.Join(t.TempDir(), "gate.bpf.o")
	if msg, err := exec.Command("sh", "bpf/build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, msg)
	}
	built, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, Object) {
		t.Error("bpf/gate.bpf.o is not what bpf/build.sh makes of gate.bpf.c: run it and commit the object")
	}
}

func TestObjectHoldsNoPath(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{wd, "/home/", "/root/", "/tmp/", "/usr/"} {
		if bytes.Contains(Object, []byte(path)) {
			t.Errorf("the object holds a path of the machine that built it: %s", path)
		}
	}
}

// layout returns the offsets of the members of a struct of the object.
func layout(t *testing.T, spec *ebpf.CollectionSpec, name string) (map[string]uint32, uint32) {
	t.Helper()
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatalf("struct %s: %v", name, err)
	}
	m := map[string]uint32{}
	for _, f := range s.Members {
		m[f.Name] = f.Offset.Bytes()
	}
	return m, s.Size
}

// The rows and the offsets in struct walk are what the compiler laid out.
func TestLayouts(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(Object))
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]uint32{"method": MethodRow, "node": NodeRow, "field": FieldRow, "dfa": UTF8Size, "gate": 48, "counters": 32, "status": 8, "rate": RateRow, "exchange": 24, "handle": 16} {
		if _, got := layout(t, spec, name); got != size {
			t.Errorf("struct %s has %d bytes, Go says %d", name, got, size)
		}
	}
	walk, _ := layout(t, spec, "walk")
	for name, off := range map[string]uint32{"cap": walkCap, "val": walkVal, "method": walkMethod, "present": walkPresent, "check": walkCheck} {
		if walk[name] != off {
			t.Errorf("walk.%s is at %d, Go says %d", name, walk[name], off)
		}
	}
	effects, _ := layout(t, spec, "effects")
	for name, off := range map[string]uint32{"word": walkWord, "mask": walkMask, "next": walkNext, "rates": walkRates, "target": walkTarget} {
		if effects[name] != off {
			t.Errorf("effects.%s is at %d, Go says %d", name, effects[name], off)
		}
	}
	field, _ := layout(t, spec, "field")
	row := (&fieldRow{number: 1, typ: 2, wire: 3, flags: 4, bit: 5, cap: 6, count: 7, check: 8, child: 9, bias: 10, lo: 11, hi: 12, bits: 13, set: 14, nset: 15,
		oneof: 16, minLen: 17, maxLen: 18, minItems: 19, maxItems: 20, minRunes: 21, maxRunes: 22, class: [2]uint64{23, 0}, nth: 24, nthFlag: 25, tests: 26, likes: 27, tcap: 28, lcap: 29}).append(nil)
	for i, name := range []string{"number", "type", "wire", "flags", "bit", "cap", "count", "check", "child", "bias", "lo", "hi", "bits", "set", "nset",
		"oneof", "minlen", "maxlen", "minitems", "maxitems", "minrunes", "maxrunes", "class", "nth", "nthf", "tests", "likes", "tcap", "lcap"} {
		if row[field[name]] != byte(i+1) {
			t.Errorf("field.%s is at %d, where Go writes %d", name, field[name], row[field[name]])
		}
	}
}

// stackLimit is the kernel's limit for all frames of a chain of calls. Linux
// 6.1 rounds each frame up to 32 bytes (kernel/bpf/verifier.c, check_max_stack_depth).
const stackLimit = 512

func TestStackFitsLinux61(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(Object))
	if err != nil {
		t.Fatal(err)
	}
	frames := map[string]int{}
	for _, p := range spec.Programs {
		fn := ""
		for i := range p.Instructions {
			in := &p.Instructions[i]
			if f := btf.FuncMetadata(in); f != nil {
				fn = f.Name
				frames[fn] = max(frames[fn], 1)
			}
			if in.Dst == asm.RFP {
				frames[fn] = max(frames[fn], -int(in.Offset))
			}
			if in.Src == asm.RFP && in.OpCode.Class().IsLoad() {
				frames[fn] = max(frames[fn], -int(in.Offset))
			}
			if i > 0 && in.OpCode.Class() == asm.ALU64Class && in.OpCode.ALUOp() == asm.Add && in.Constant < 0 && p.Instructions[i-1].Src == asm.RFP {
				frames[fn] = max(frames[fn], -int(in.Constant))
			}
		}
	}
	frames["decide"], frames["check"] = chunk, chunk
	round := func(fn string) int {
		if frames[fn] == 0 {
			t.Errorf("no function %s", fn)
		}
		return (frames[fn] + 31) / 32 * 32
	}
	for _, chain := range [][]string{{"gate", "header"}, {"gate", "decide"}, {"gate", "finish"}, {"gate", "turn", "tag"}, {"gate", "turn", "value"},
		{"gate", "turn", "utf8_stretch"}, {"gate", "turn", "class_stretch"}, {"gate", "turn", "check"}, {"gate_effects", "decide"}, {"gate_effects", "prepare"}, {"gate_effects", "settle"}, {"gate_effects", "finish_effects"},
		{"gate_objects", "decide"}, {"gate_objects", "prepare_objects"}, {"gate_objects", "settle_objects"}, {"gate_objects", "finish_objects"}, {"gate_objects", "turn", "seen", "follow"},
		{"gate_effects", "header"}, {"gate_effects", "turn", "utf8_stretch"}, {"gate_effects", "turn", "value"}, {"gate_effects", "turn", "seen", "follow"},
		{"gate", "turn", "seen", "follow"}, {"gate", "turn", "seen", "seek"}, {"gate", "turn", "seen", "answer"}, {"stub"}} {
		sum := 0
		for _, fn := range chain {
			sum += round(fn)
		}
		if sum > stackLimit {
			t.Errorf("the frames of %v take %d bytes, the limit is %d: %v", chain, sum, stackLimit, frames)
		}
	}
	t.Logf("frames, bytes: %v", frames)
}
