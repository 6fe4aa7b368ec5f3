package admin

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// SetStateSize is the length of an OpSetState: operation, 1 to insist, cell,
// gate and value (uint32 each, little endian), hash of the image that must be in force.
const SetStateSize = 2 + 3*4 + 32

// A State is one instance of a state of the running system.
type State struct {
	Cell      uint32   `json:"-"` // index in the image
	Name      string   `json:"state"`
	Per       string   `json:"per"` // system, domain or gate
	Domain    string   `json:"domain,omitempty"`
	Gate      uint32   `json:"gate"` // its number; 4294967295: none
	Interface string   `json:"interface,omitempty"`
	From      string   `json:"from,omitempty"`
	To        string   `json:"to,omitempty"`
	Value     string   `json:"value"`
	Values    []string `json:"values"`
	Moves     []string `json:"moves,omitempty"` // values that it may get from here
	Changes   uint64   `json:"changes"`         // of the word that it is in, modulo 65,536: as in audit records
}

// States asks for all instances of all states, in the order of the image's
// cells, and of gates within one.
func States(ctx context.Context, runDir string) ([]State, error) {
	var all []State
	err := list(ctx, runDir, []byte{byte(OpStates)}, func() { all = nil }, func(line []byte) error {
		var s stateLine
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		s.State.Cell = s.Cell
		all = append(all, s.State)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// A stateLine is a State on its way from the monitor: with its cell.
type stateLine struct {
	State
	Cell uint32 `json:"cell"`
}

// MarshalLine is the form in which the monitor sends s.
func (s *State) MarshalLine() any { return stateLine{*s, s.Cell} }

// SetState sets an instance to a value by its index. force: also without a declared move.
func SetState(ctx context.Context, runDir, running string, s *State, value uint32, force bool) (*State, error) {
	hash, err := hex.DecodeString(running)
	if err != nil || len(hash) != 32 {
		return nil, fmt.Errorf("%q is not the hash of an image", running)
	}
	request := []byte{byte(OpSetState), 0}
	if force {
		request[1] = 1
	}
	for _, v := range []uint32{s.Cell, s.Gate, value} {
		request = binary.LittleEndian.AppendUint32(request, v)
	}
	now := new(State)
	err = ask(ctx, runDir, append(request, hash...), func(line []byte) error { return json.Unmarshal(line, now) })
	if errors.Is(err, ErrCut) {
		err = fmt.Errorf("%w. Whether the state is set is not known: see 'ward state', and 'ward audit', where it is said when the system answers again", err)
	}
	return now, err
}
