package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ward/image"
	"ward/monitor/admin"
)

const (
	graceLimit = time.Second     // how long a monitor has to say which times of grace there are
	toldAfter  = 3 * time.Second // after which `ward down` says what it waits for
)

// longestGrace is the longest time that system.yaml gives a domain of a running
// system between SIGTERM and SIGKILL; 0 if none has one of its own, or nobody says.
func longestGrace(ctx context.Context, dir string) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, graceLimit)
	defer cancel()
	encoded, err := admin.Image(ctx, dir)
	if err != nil {
		return 0
	}
	img, err := image.Decode(encoded)
	if err != nil {
		return 0
	}
	return graceIn(img)
}

// graceIn is the longest time of grace that an image states; 0: none.
func graceIn(img *image.Image) time.Duration {
	var longest uint64
	for _, d := range img.Domains {
		longest = max(longest, d.Grace)
	}
	return time.Duration(longest)
}

// awaitStopped waits until a system that was asked to stop has done so: its first
// process, which has the name of the system to itself, is the last to end. The
// sockets of the monitor vanish when the stop begins. holder is nil if that process is
// not to be seen from here: then it is the socket that is waited for. With force those
// that are left after limit are killed.
func awaitStopped(cmd *cobra.Command, dir string, holder *openedHolder, limit time.Duration, force bool) error {
	if holder == nil {
		ctx, cancel := context.WithTimeout(cmd.Context(), limit)
		defer cancel()
		return gone(ctx, filepath.Join(dir, admin.Socket))
	}
	began, told := time.Now(), false
	for time.Since(began) < limit {
		err := holder.await(time.Now().Add(askAgain))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		if !told && time.Since(began) > toldAfter {
			told = true
			then := "'ward down --force " + nameOf(dir) + "' ends them sooner"
			if force {
				then = "they are killed then"
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "ward: waiting for domains that have not ended yet, for up to %v; %s\n", limit.Round(time.Second), then)
		}
	}
	return os.ErrDeadlineExceeded
}

// absent is the error of a question to a monitor that is not there, with what is known
// of its system.
func absent(dir string, err error) error {
	switch {
	case !errors.Is(err, admin.ErrNotRunning):
		return failed("%w", err)
	case lives(dir):
		return failed("the system %s is starting or stopping, and has nobody to ask now; 'ward audit --follow --system %s' tells what happens", nameOf(dir), nameOf(dir))
	}
	return failed("%w; 'ward audit --system %s' and 'ward logs' have what it left", err, nameOf(dir))
}
