package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ward/gate"
)

// alternate says to a server what one policy permits, and what another does, by a new gate
// each time, for as long as it is not ended. It minds neither being refused nor
// that it gets no gate for a while.
func alternate(ctx context.Context, server string) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, said := range []string{"a", "b"} {
			short, cancel := context.WithTimeout(ctx, time.Second)
			c, err := d.Open(short, iface, gate.At(server))
			cancel()
			if err != nil {
				continue
			}
			var denied *gate.Error
			if err := say(ctx, c, said); err != nil && ctx.Err() == nil && (!errors.As(err, &denied) || !denied.Denied()) {
				return fmt.Errorf("%s: %w", said, err)
			}
			c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}
