package gate

import (
	"context"
	"time"
)

// SetRest replaces how Open rests between two tries, and returns what undoes that.
func SetRest(f func(ctx context.Context, d time.Duration) error) (undo func()) {
	before := rest
	rest = f
	return func() { rest = before }
}

// SetRepublish replaces the bound of one attempt to ask again, likewise.
func SetRepublish(d time.Duration) (undo func()) {
	before := republish
	republish = d
	return func() { republish = before }
}
