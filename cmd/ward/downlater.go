package main

import (
	"context"
	"errors"
	"os"
	"time"

	"ward/kernel"
	"ward/monitor/admin"
)

// askAgain is the time between two questions to a monitor that is not there.
const askAgain = 20 * time.Millisecond

// downLater stops a system that has no monitor to ask though its first process
// lives: it starts, it stops, or it is being killed, which takes a moment for all
// that it has open. Which of them is known when the monitor is there, which is then
// asked, or the process has ended. why is what the monitor's absence was, and the
// result if domains are left then, and also if there is no first process to be seen from here.
func downLater(ctx context.Context, dir string, why error) error {
	holder, err := openHolder(dir)
	if err != nil || holder == nil {
		return why
	}
	defer holder.Close()
	return holder.downLater(ctx, dir, why)
}

// downLater is that for a system whose first process was there when it was looked for.
func (holder *openedHolder) downLater(ctx context.Context, dir string, why error) error {
	for ctx.Err() == nil {
		err := holder.await(time.Now().Add(askAgain))
		if err == nil && os.Geteuid() == 0 && kernel.SystemInUse(nameOf(dir)) {
			return why
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := admin.Down(ctx, dir); !errors.Is(err, admin.ErrNotRunning) {
			return err
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return failed("%s has no monitor to ask, and its first process, %d, has not ended within %v; 'ward down --force' ends it at once", nameOf(dir), holder.pid, downLimit)
}
