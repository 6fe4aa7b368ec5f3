package thread

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"ward/kernel/confine"
)

// ErrNested is the error of Run inside of Run.
var ErrNested = errors.New("secure thread: Run inside Run: the inner function would run on a thread that the outer rules do not hold for")

// A PanicError carries a panic of the function over to the caller of Run.
type PanicError struct {
	Value any    // what it panicked with
	Stack []byte // of the panic, as runtime/debug.Stack formats it
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("panic on a secure thread: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// narrowed are the IDs of threads that run under rules.
var narrowed sync.Map

// Run runs f on a thread of its own, which rules hold for, and returns what it
// returns. The thread is gone soon after. Rules hold for what f does itself,
// and not for goroutines that it starts: see the package documentation.
//
// Run waits until f has returned: nothing can take a thread away from a
// function. It is f that should heed ctx. If ctx is done before f starts, f is
// not called and Run returns ctx's error.
//
// Errors: f's own, unchanged; a *PanicError if it panicked; a *MissingError if
// the kernel cannot check what rules need; else what was wrong with rules.
func Run(ctx context.Context, rules Rules, f func(context.Context) error) error {
	if nested() {
		return ErrNested
	}
	abi, err := confine.LandlockABI()
	if err != nil {
		return &MissingError{Linux: "5.13", cause: err}
	}
	return run(ctx, rules, abi, f)
}

// nested reports whether the caller runs on a secure thread. It holds its thread
// meanwhile: else that one could become a secure thread for somebody else between
// the question which it is and the look.
func nested() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, nested := narrowed.Load(unix.Gettid())
	return nested
}

// run is Run for a kernel that has at least the given version of Landlock.
func run(ctx context.Context, rules Rules, abi int, f func(context.Context) error) error {
	if err := rules.check(abi); err != nil {
		return err
	}
	prog, err := confine.Compile(rules.table(abi, unix.Getpid()))
	if err != nil {
		return err
	}
	set, err := rules.ruleset(abi)
	if err != nil {
		return err
	}
	defer set.Close()
	if err := ctx.Err(); err != nil {
		return err
	}
	end := make(chan error, 1)
	onOwnThread(func() {
		// Neither returned nor panicked: runtime.Goexit, as t.FailNow calls it.
		err := errors.New("secure thread: the function ended its goroutine (runtime.Goexit)")
		defer func() { end <- err }()
		if e := narrow(set, prog); e != nil {
			err = e
			return
		}
		tid := unix.Gettid()
		narrowed.Store(tid, nil)
		defer narrowed.Delete(tid) // the number may soon be another thread's
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{v, debug.Stack()}
			}
		}()
		err = f(ctx)
	})
	return <-end
}

// narrow takes rights away from the calling thread, for good.
func narrow(set confine.Ruleset, prog []unix.SockFilter) error {
	if err := confine.NoNewPrivs(); err != nil {
		return fmt.Errorf("secure thread: %w", err)
	}
	if err := set.Restrict(); err != nil {
		return fmt.Errorf("secure thread: %w", err)
	}
	if err := confine.Install(prog, confine.Thread); err != nil {
		return fmt.Errorf("secure thread: %w", err)
	}
	return nil
}

// onOwnThread runs f on a thread that ends with it: a goroutine that ends
// locked takes its thread along (runtime.LockOSThread), and Go never starts a
// thread from a locked one, so nothing inherits what f does to it. Only the
// main thread would not end, but be parked for ever, visible as the whole
// process's in /proc; it is left alone.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread() // another one: the main thread is taken
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}
