package filterbench

import (
	"context"
	"fmt"

	"ward/abi"
	"ward/filter"
	"ward/image"
)

// A DepthRow says what a message of a child costs in the one filter that all
// policies over it are folded into.
type DepthRow struct {
	Bench  string  `json:"bench"` // "depth"
	Depth  int     `json:"depth"` // generations below a domain of the system; 0: such a domain itself
	P50    int64   `json:"p50_ns"`
	Best   int64   `json:"min_ns"`
	Ratio  float64 `json:"ratio"`        // of P50 to that of depth 0
	Run    int     `json:"instructions"` // of the decision, that the message executes
	Length int     `json:"generated"`    // of the decision, in the program
}

// depths are those that are measured.
var depths = []int{0, 1, 2, 4}

// Depths measures a message of a client, of its child, and so on: at each level
// one permit and one forbid, each with a condition on a parameter of its own
// constant. It needs root.
func Depths(ctx context.Context) (rows []DepthRow, err error) {
	for _, depth := range depths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c := measure{fields: 8, policies: 10}
		img := c.image()
		atoms := filter.Atoms{User: -1}
		if depth > 0 {
			atoms.Chain = filter.Chain{Client: image.FirstChild, Methods: []uint32{0}, Levels: []image.Level{{Route: 0, Sender: image.FirstChild}}}
			for i := range depth {
				atoms.Chain.Levels = append(atoms.Chain.Levels, levelOver(img, i+1))
			}
		}
		r, err := c.judged(img, atoms)
		if err != nil {
			return nil, fmt.Errorf("filter benchmark, depth %d: %w", depth, err)
		}
		row := DepthRow{Bench: "depth", Depth: depth, P50: r.P50, Best: r.Best, Run: r.Instructions, Length: r.Generated, Ratio: 1}
		if len(rows) > 0 {
			row.Ratio = float64(r.P50) / float64(rows[0].P50)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// levelOver gives another client of the server policies like the first one's,
// with constants of their own, and returns them as a level.
func levelOver(img *image.Image, i int) image.Level {
	r := &img.Routes[i]
	d := &img.Routes[0].Methods[0].Request
	below := func(rule image.Rule) image.Expr {
		e := rule.When
		if e.Op == image.Not {
			e.Args = []image.Expr{e.Args[0]}
			e.Args[0].Right.Value.Long += int64(i)
		} else {
			e.Right.Value.Long += int64(i)
		}
		return e
	}
	r.Methods = []image.MethodPolicy{{Request: image.Decision{
		Forbid: []image.Rule{{Policy: d.Forbid[0].Policy, When: below(d.Forbid[0])}},
		Permit: []image.Rule{{Policy: d.Permit[0].Policy, When: below(d.Permit[0])}},
	}}}
	return image.Level{Route: uint32(i), Sender: abi.DomainID(i + 1)}
}
