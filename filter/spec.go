package filter

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"ward/abi"
	"ward/image"
)

// Atoms is what is known of a client outside Ward when it connects.
type Atoms struct {
	User   int   // index in Image.Users, or -1
	Groups []int // indexes in Image.Groups of the groups that the user belongs to
	Chain  Chain // of a client that the system made while it runs
}

// A Spec is a blueprint of the two programs of a route.
type Spec struct {
	Route          uint32
	Client, Server abi.DomainID
	Interface      uint32
	State          uint64     // word of a gate at its beginning
	Programs       [2]Program // by abi.Direction
}

// A Program is a blueprint of what judges the messages of one direction.
type Program struct {
	NMethods                       uint32
	Methods, Nodes, Fields, Values []byte // contents of the tables; none is empty
	Uses                           uint64 // the constant ConstUses
	Decide, Check                  asm.Instructions
	Params                         [][]Param  // by method, in the order of an audit record's parameters
	Words                          [][]uint32 // by method: the words of state that its policy looks at or changes, as image.Cell.Word
	Terse                          []bool     // by method; of what the server sends
	NWords, NRates                 uint32     // greatest number of words, of rates, of a method
	Rates                          []Rate     // of all methods; the table rates has a row for each
}

// A Param is a parameter that the policy of a method looks at.
type Param struct {
	Path    []uint32 // field numbers from the message down, or to metadata beside it
	Name    string   // dotted field names
	Count   bool     // the number of elements of a repeated field
	Text    bool     // a string or bytes: the record carries its start
	Type    image.Type
	Message uint32 // index in Image.Messages of the message whose field it is; of metadata: of no account
	Field   uint32 // index in its Fields; of metadata: in Image.Metadata
}

// Build makes the blueprint of a route. Errors name the message, method or
// field that exceeds a limit of the filter.
//
// Preconditions: img passes its Check; route is an index of Image.Routes.
func Build(img *image.Image, route uint32, atoms Atoms) (*Spec, error) {
	if int(route) >= len(img.Routes) {
		return nil, fmt.Errorf("filter: route %d of %d", route, len(img.Routes))
	}
	r := &img.Routes[route]
	iface := &img.Interfaces[r.Interface]
	if len(r.Methods) != len(iface.Methods) {
		return nil, fmt.Errorf("filter: route %d has policies for %d methods of %s, which has %d", route, len(r.Methods), iface.Name, len(iface.Methods))
	}
	if err := atoms.Chain.check(img, route); err != nil {
		return nil, err
	}
	s := &Spec{Route: route, Client: r.Client, Server: r.Server, Interface: r.Interface, State: img.Initial(image.GateWord)}
	if atoms.Chain.on() {
		s.Client = atoms.Chain.Client
	}
	for dir := range s.Programs {
		p, err := buildProgram(img, r, abi.Direction(dir), atoms)
		if err != nil {
			return nil, fmt.Errorf("filter: %s: %w", iface.Name, err)
		}
		s.Programs[dir] = *p
	}
	return s, nil
}

func buildProgram(img *image.Image, r *image.Route, dir abi.Direction, atoms Atoms) (*Program, error) {
	t := newTree(img, img.Section(atoms.Chain.routes(img, r)...))
	iface := &img.Interfaces[r.Interface]
	p := &Program{NMethods: uint32(len(iface.Methods))}
	posts := img.Domains[r.Server].Mailbox
	var decisions []method
	var rows []methodRow
	for i := range iface.Methods {
		m := &iface.Methods[i]
		root := m.Request
		if dir == abi.Reply {
			root = m.Reply
		}
		ds := atoms.Chain.decisions(img, r, i, dir, atoms)
		if posts && dir == abi.Reply {
			ds = []image.Decision{{}} // a mailbox answers nothing
		}
		d := together(ds)
		handle := handleOf(img, root, ds)
		caps, err := captures(img, root, d, handle)
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		node, err := t.message(root, caps.body(), 0)
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		beside, err := t.metadata(caps.beside())
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		eff, err := stateOf(img, d)
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		buckets, of, err := atoms.Chain.rates(img, iface.Name+"."+m.Name, dir, ds)
		if err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		if buckets, eff.quotas, err = atoms.Chain.quotas(img, r, dir, ds, buckets); err != nil {
			return nil, fmt.Errorf("method %s: %w", m.Name, err)
		}
		row := methodRow{words: eff.words, rate: uint32(len(p.Rates)), node: node, ncap: uint32(min(len(caps.params), abi.RecordParams))}
		row.flags |= beside << methodMetadata
		row.flags |= handleFlags(caps, handle)
		if m.ClientStream {
			row.flags |= methodClientStream
		}
		if m.ServerStream {
			row.flags |= methodServerStream
		}
		if permitted(ds) {
			row.flags |= methodPermit
		}
		if d.Silent {
			row.flags |= methodSilent
		}
		if posts && dir == abi.Request {
			row.flags |= methodPost
		}
		p.Terse = append(p.Terse, dir == abi.Reply && terse(ds))
		if p.Terse[i] {
			row.flags |= methodTerse
		}
		eff.rateOf = of
		for j, c := range caps.params[:row.ncap] {
			if c.Text {
				row.strings[row.nstrs] = uint8(j)
				row.nstrs++
			}
		}
		rows = append(rows, row)
		p.Methods = row.append(p.Methods)
		p.Params = append(p.Params, caps.params)
		p.Words = append(p.Words, eff.words)
		p.Rates = append(p.Rates, buckets...)
		p.NWords, p.NRates = max(p.NWords, uint32(len(eff.words))), max(p.NRates, uint32(len(buckets)))
		decisions = append(decisions, method{d, ds, caps, eff})
	}
	if len(p.Methods) == 0 {
		p.Methods = make([]byte, MethodRow)
	}
	p.Nodes, p.Fields, p.Values = t.tables()
	p.Uses = t.uses(rows)
	var err error
	if p.Decide, err = decide(decisions, &atoms.Chain, dir); err != nil {
		return nil, err
	}
	if p.Check, err = check(t.rules); err != nil {
		return nil, err
	}
	return p, nil
}
