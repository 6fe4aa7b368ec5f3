// Package filterbench measures what a gate's filter costs a message: time in
// the kernel, by BPF_PROG_TEST_RUN, and instructions of the policy's decision.
//
// What is timed is the whole of a message's judgement: stub, tail call, header,
// call table, walk of the body, decision, compare-and-swap, verdict word and
// counter. It is an item of a client's stream: its call stays pending, so the
// same message is admitted any number of times; for a call or a reply the
// compare-and-swap writes another word, and nothing else differs.
package filterbench

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/filter"
	"ward/image"
	"ward/kernel"
)

// A Row is one measurement.
type Row struct {
	Bench    string `json:"bench"` // always "filter"
	Text     string `json:"text,omitempty"`
	Fields   int    `json:"fields"`   // uint32 fields in the message
	Size     int    `json:"size"`     // bytes of its string
	Policies int    `json:"policies"` // in the whole system
	// Check is "full" for a permit with a condition on each of Fields
	// parameters, "spared" for the same permit and a caller who is trusted
	// (`trust: within-ring`): the conditions are left out. Else it is empty.
	Check string `json:"check,omitempty"`
	P50   int64  `json:"p50_ns"` // a message, median of Rounds
	Best  int64  `json:"min_ns"`
	// Instructions of the generated decision that this message executes,
	// counted by stepping through them. The walk's depend on the message only.
	Instructions int `json:"instructions"`
	// Generated is the number of instructions of the decision in the program.
	Generated int `json:"generated"`
}

// Rounds and repeats of a measurement.
const (
	Rounds = 9
	repeat = 20000
)

// a case is one message under one system.
type measure struct {
	fields, size, policies int
	text                   string
	check                  string
}

func cases() []measure {
	var all []measure
	for _, n := range []int{0, 1, 2, 4, 8, 16, 32} {
		all = append(all, measure{fields: n, policies: 10})
	}
	for _, n := range []int{100, 1000, 3000} {
		all = append(all, measure{fields: 1, size: n, policies: 10, text: "ASCII"}, measure{fields: 1, size: n, policies: 10, text: "UTF-8"})
	}
	for _, n := range []int{10, 100, 1000, 10000} {
		all = append(all, measure{fields: 8, policies: n})
	}
	for _, n := range []int{1, 4, 8, 16} {
		all = append(all, measure{fields: n, policies: 10, check: full}, measure{fields: n, policies: 10, check: spared})
	}
	return all
}

const (
	full   = "full"
	spared = "spared"
)

// Cases is the number of rows of a run.
func Cases() int { return len(cases()) }

// Run measures all cases, one after the other, Rounds times each. It needs
// root, for BPF. ctx ends it early, with its error.
func Run(ctx context.Context, each func(Row)) error {
	for _, c := range cases() {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := c.run()
		if err != nil {
			return fmt.Errorf("filter benchmark, %d fields, %d bytes, %d policies: %w", c.fields, c.size, c.policies, err)
		}
		each(row)
	}
	return nil
}

func (c measure) run() (Row, error) {
	return c.judged(c.image(), filter.Atoms{User: -1})
}

// judged measures the message under the first route of img.
func (c measure) judged(img *image.Image, atoms filter.Atoms) (Row, error) {
	row := Row{Bench: "filter", Text: c.text, Fields: c.fields, Size: c.size, Policies: c.policies, Check: c.check}
	spec, err := filter.Build(img, 0, atoms)
	if err != nil {
		return row, err
	}
	f, err := kernel.NewFabric(kernel.FabricConfig{Gates: 1, Programs: 2})
	if err != nil {
		return row, err
	}
	defer f.Close()
	var ends [2]*kernel.Endpoint
	for i := range ends {
		if ends[i], err = f.AddEndpoint(abi.DomainID(i), 0, 1, 4096); err != nil {
			return row, err
		}
		defer ends[i].Close()
	}
	route, err := f.Load(spec, ends[0], ends[1])
	if err != nil {
		return row, err
	}
	defer route.Close()
	gate, err := f.Open(route)
	if err != nil {
		return row, err
	}
	defer gate.Client.Close()
	defer gate.Server.Close()
	run, err := gate.Runner(abi.Request)
	if err != nil {
		return row, err
	}
	defer run.Close()
	admit := func(packet []byte, n int) (time.Duration, error) {
		ret, d, err := run.Run(packet, n)
		if err == nil && ret != -1 {
			err = fmt.Errorf("the filter returned %d for a message that it should admit", ret)
		}
		return d, err
	}
	if _, err := admit(packet(abi.KindCall, nil), 1); err != nil {
		return row, err
	}
	body := c.body()
	item := packet(abi.KindStreamItem, body)
	var times []int64
	for range Rounds {
		d, err := admit(item, repeat)
		if err != nil {
			return row, err
		}
		times = append(times, d.Nanoseconds())
	}
	row.P50, row.Best = median(times)
	decide := spec.Programs[abi.Request].Decide
	row.Generated = len(decide)
	row.Instructions, err = executed(decide, walkOf(spec, body))
	return row, err
}

func packet(kind abi.Kind, body []byte) []byte {
	h := abi.Header{Kind: kind, Gen: 1, Length: uint32(len(body))}
	b := make([]byte, abi.HeaderSize, abi.HeaderSize+len(body))
	h.Put(b)
	return append(b, body...)
}

// body is the message: fields 1 to n, and the string.
func (c measure) body() []byte {
	var b []byte
	for i := range c.fields {
		b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType), uint64(100+i))
	}
	if c.size > 0 {
		s := strings.Repeat("a", c.size)
		if c.text == "UTF-8" {
			s = strings.Repeat("ü", c.size/2)
		}
		b = protowire.AppendString(protowire.AppendTag(b, 100, protowire.BytesType), s)
	}
	return b
}

// image is a system of one client stream and the given number of policies: two
// of them about this message's method, the others about other domains.
func (c measure) image() *image.Image {
	m := image.Message{Name: "bench.v1.Item"}
	for i := range max(c.fields, 2) {
		m.Fields = append(m.Fields, image.Field{Number: uint32(i + 1), Name: fmt.Sprint("f", i+1), Type: image.Uint32, HasRange: true, Max: math.MaxUint32})
	}
	m.Fields = append(m.Fields, image.Field{Number: 100, Name: "s", Type: image.String, MaxLen: 65536})
	below := func(field uint32, v int64) image.Expr {
		return image.Expr{Op: image.LessEq, Left: image.Operand{What: image.Scalar, Path: []uint32{field}}, Right: image.Operand{Value: image.Value{Long: v}}}
	}
	img := &image.Image{
		Interfaces: []image.Interface{{Name: "bench.v1.Bench", Methods: []image.Method{{Name: "Put", ClientStream: true, Request: 0, Reply: 1}}}},
		Messages:   []image.Message{m, {Name: "bench.v1.Done"}},
		Routes: []image.Route{{Client: 0, Server: 1, Methods: []image.MethodPolicy{{Request: image.Decision{
			Forbid: []image.Rule{{Policy: 0, When: image.Expr{Op: image.Not, Args: []image.Expr{below(1, 4096)}}}},
			Permit: []image.Rule{{Policy: 1, When: below(2, 4096)}},
		}}}}},
	}
	if c.check != "" {
		permit := image.Expr{Op: image.True}
		if c.check == full {
			permit = image.Expr{Op: image.And}
			for i := range c.fields {
				permit.Args = append(permit.Args, below(uint32(i+1), 4096))
			}
		}
		img.Routes[0].Methods[0].Request = image.Decision{Permit: []image.Rule{{Policy: 1, When: permit}}}
	}
	for i := range c.policies {
		img.Policies = append(img.Policies, image.Policy{ID: fmt.Sprint("policy ", i), Forbid: i == 0})
		img.Domains = append(img.Domains, image.Domain{Name: fmt.Sprint("domain-", i)})
		if i >= 2 {
			img.Routes = append(img.Routes, image.Route{Client: abi.DomainID(i), Server: 1, Methods: []image.MethodPolicy{{Request: image.Decision{
				Permit: []image.Rule{{Policy: uint32(i), When: below(1, int64(i))}}}}}})
		}
	}
	return img
}
