package main

import (
	"context"
	"errors"
	"fmt"

	"ward/gate"
)

// parent makes a child of each template, which may do what clients do, and
// waits: it is an error if one of them ends.
func parent(ctx context.Context, templates []string) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	ended := make(chan error, len(templates))
	for _, t := range templates {
		c, err := d.Spawn(ctx, t, gate.SpawnOptions{Rights: []string{iface + "/Say"}})
		if err != nil {
			return err
		}
		go func() {
			status, err := c.Wait(ctx)
			ended <- errors.Join(fmt.Errorf("%s has ended with status %d", c.Name(), status), err)
		}()
	}
	select {
	case err := <-ended:
		if ctx.Err() == nil {
			return err
		}
	case <-ctx.Done():
	}
	return nil
}
