package kernel

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"ward/filter"
)

// An object is the parsed form of filter.Object.
type object struct {
	programs map[string]*ebpf.ProgramSpec
	maps     map[string]bool
}

// loadObject parses the compiled filter, once.
var loadObject = sync.OnceValues(func() (*object, error) {
	cs, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(filter.Object))
	if err != nil {
		return nil, fmt.Errorf("compiled filter: %w", err)
	}
	o := &object{programs: cs.Programs, maps: map[string]bool{}}
	for _, p := range cs.Programs {
		for i := range p.Instructions {
			// Lines of source would be checked, moved and kept by the kernel for each program.
			p.Instructions[i] = p.Instructions[i].WithSource(nil)
		}
	}
	for name := range cs.Maps {
		o.maps[name] = true
	}
	return o, nil
})

// load makes a program of the object: constants put in, functions replaced,
// maps named, verified by the kernel.
func (o *object) load(name string, consts map[int]uint64, funcs map[string]asm.Instructions, maps map[string]*ebpf.Map) (*ebpf.Program, error) {
	spec := o.programs[name].Copy()
	ins, err := replaceFunctions(spec.Instructions, funcs)
	if err != nil {
		return nil, err
	}
	for i := range ins {
		in := &ins[i]
		if in.OpCode == asm.LoadImmOp(asm.DWord) && !in.IsLoadFromMap() && uint64(in.Constant)>>32 == filter.ConstMagic {
			in.Constant = int64(consts[int(uint32(in.Constant))])
		}
		if in.IsLoadFromMap() {
			m, ok := maps[in.Reference()]
			if !ok {
				return nil, fmt.Errorf("program %s: no map %q", name, in.Reference())
			}
			if err := in.AssociateMap(m); err != nil {
				return nil, fmt.Errorf("program %s: map %s: %w", name, in.Reference(), err)
			}
		}
	}
	spec.Instructions = ins
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	return p, nil
}

// replaceFunctions puts other bodies in place of named functions. The new
// body keeps the type of the old one.
func replaceFunctions(ins asm.Instructions, funcs map[string]asm.Instructions) (asm.Instructions, error) {
	var out asm.Instructions
	done := 0
	for i := 0; i < len(ins); {
		fn := btf.FuncMetadata(&ins[i])
		end := i + 1
		for end < len(ins) && btf.FuncMetadata(&ins[end]) == nil {
			end++
		}
		body := ins[i:end]
		if fn != nil {
			if repl, ok := funcs[fn.Name]; ok {
				body = slices.Clone(repl)
				body[0] = btf.WithFuncMetadata(body[0], fn)
				done++
			}
		}
		out = append(out, body...)
		i = end
	}
	if done != len(funcs) {
		return nil, fmt.Errorf("compiled filter: %d of %d functions to replace", done, len(funcs))
	}
	return out, nil
}
