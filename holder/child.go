package holder

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// A child is a process of wardd.
type child struct {
	name    string
	process *os.Process
	state   *os.ProcessState
	ended   chan struct{} // closed when state is known
	since   time.Time
}

// manner of a child's life.
type manner uint8

const (
	lives   manner = 0
	dies    manner = 1 << iota // with the holder, by SIGKILL
	netless                    // in the network namespace with nothing in it
)

// spawn starts this program again under another name: with the image as
// link.ImageFD, files from link.FirstFD on, no other descriptors but the standard ones,
// an empty environment, and a session of its own: Ctrl-C is for the holder.
func (h *holder) spawn(name string, m manner, files ...*os.File) (*child, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: "/", Env: []string{}, Files: append([]*os.File{null, null, os.Stderr, h.cfg.Image}, files...), Sys: &syscall.SysProcAttr{Setsid: true}}
	if m&dies != 0 {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	var p *os.Process
	start := func() (err error) {
		args := append([]string{"wardd", name}, h.cfg.Args...)
		if h.deaths[name] > 0 {
			args = append(args, fmt.Sprintf("--again=%d", h.starts))
		}
		p, err = os.StartProcess(h.exe, args, attr)
		return err
	}
	err = h.cfg.Privileged(func() error {
		if m&netless != 0 {
			return h.inEmptyNet(start)
		}
		return start()
	})
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	c := &child{name: name, process: p, ended: make(chan struct{}), since: time.Now()}
	go func() {
		c.state, _ = p.Wait()
		close(c.ended)
		h.endings <- c
	}()
	return c, nil
}

// alive reports whether c was started and has not ended.
func (c *child) alive() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}
