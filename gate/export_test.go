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
