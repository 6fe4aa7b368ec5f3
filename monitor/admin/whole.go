package admin

import (
	"context"
	"errors"
	"fmt"
)

// An answer of lines is whole if its last one is a Trailer. The monitor may die
// at any moment, and what it had said until then looks like a shorter answer.

// A Trailer is the last line of an answer: its end, or why there is none.
type Trailer struct {
	Error string `json:"error,omitempty"`
	End   bool   `json:"end,omitempty"`
}

// End is the last line of an answer that is whole.
var End = Trailer{End: true}

// ErrCut: the monitor has ended before its answer had. Nothing of it is used.
var ErrCut = errors.New("the monitor has ended in the middle of its answer, or it is of another version of Ward, which 'ward upgrade' replaces. " +
	"What it said is not whole and not shown: ask again; 'ward audit' tells whether it has come back")

// errBusy: nobody has read the question.
var errBusy = errors.New("the monitor has just ended, or answers as many questions as it may: ask again")

// tries is how often a question that changes nothing is asked in all, if the
// monitor ends while it is answered.
const tries = 3

// repeat asks until an answer is whole: for what may be asked twice.
func repeat(ctx context.Context, question func() error) error {
	for n := 1; ; n++ {
		err := question()
		if n == tries || ctx.Err() != nil || !errors.Is(err, ErrCut) && !errors.Is(err, errBusy) {
			return err
		}
	}
}

// list asks for lines, which add takes one by one after begin; both again if the
// answer was not whole.
func list(ctx context.Context, runDir string, request []byte, begin func(), add func([]byte) error) error {
	return repeat(ctx, func() error {
		begin()
		return ask(ctx, runDir, request, func(line []byte) error {
			if err := add(line); err != nil {
				return fmt.Errorf("answer of the monitor: %w", err)
			}
			return nil
		})
	})
}
